"""What the benchmarks compare with is tested on one engine.

PyTorch, which compiles nothing. Their runs on the others are the benchmarks'.
"""

import pathlib

import keras
import pytest

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    if keras.backend.backend() != "torch":
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.slow)
