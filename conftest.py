"""What every test process needs before Keras is imported."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import keras
import pytest

# No deadline: the first example compiles. The same examples every time in CI,
# so that a change fails by its own fault.
hypothesis.settings.register_profile(
    "keras_titans",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("keras_titans")

# Whatever the user's own Keras configuration says.
keras.config.set_floatx("float32")


@pytest.fixture(autouse=True)
def same_random_numbers():
    keras.utils.set_random_seed(0)
