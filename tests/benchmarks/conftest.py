"""What the benchmarks compare with is slow to test on TensorFlow."""

import pathlib

import keras
import pytest

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        for item in items:
            if (HERE / "baselines") in item.path.parents:
                item.add_marker(pytest.mark.slow)
