"""Tests of `keras_titans`, file for file."""
