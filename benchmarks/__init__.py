"""Benchmarks run on JAX, unless `KERAS_BACKEND` says otherwise."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
