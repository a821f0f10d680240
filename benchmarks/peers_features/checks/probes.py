"""What checks ask with: inputs, differences, and names of arguments."""

import inspect

import numpy as np

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH

LENGTH = 3 * CHUNK


def vectors(length, scale=1.0, rows=2):
    x = np.random.default_rng(0).normal(size=(rows, length, WIDTH))
    return (scale * x).astype("float32")


def words(length, rows=2):
    return np.random.default_rng(0).integers(0, TOKENS, (rows, length))


def error(got, wanted):
    """The largest difference, as a share of the largest value."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def describe(problem):
    text = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {text[0][:100]}"


def has(thing, name):
    return callable(getattr(thing, name, None))


def argument(subject, word):
    """Of the memory's call: the name that has `word` in it, or None."""
    call = getattr(subject.memory_class, subject.call_name)
    names = inspect.signature(call).parameters
    return next((name for name in names if word in name), None)
