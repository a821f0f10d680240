"""What every test process needs before Keras is imported."""

import os
import pathlib
import zlib
from collections import defaultdict

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "agg")

# Compiling is what most of the time goes to on JAX. It need not be thorough,
# and what one process has compiled, the others and later runs find. (With a
# limit to its size, JAX would search the whole cache whenever it adds to it.)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(os.path.dirname(__file__), ".pytest_cache", "jax"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

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
    """The same weights in whatever order and processes the tests run."""
    keras.utils.set_random_seed(0)


def pytest_fixture_setup(fixturedef):
    """And in what several tests share, which is made before the above."""
    if fixturedef.scope != "function":
        keras.utils.set_random_seed(0)


ROOT = pathlib.Path(__file__).parent
# Where most of a test is its trace and its compilation, for minutes in all.
TRACED = [
    ROOT / "tests/layers",
    ROOT / "tests/models",
    ROOT / "tests/callbacks",
    ROOT / "integration_tests",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What takes long on one engine is `slow` there, and runs on the others.

    Of what is traced, PyTorch runs all cases of a test, the engines that
    compile run one each. Which one is drawn from the names of both, so that
    all mixers and modes have their turn.
    """
    backend = keras.backend.backend()
    cases = defaultdict(list)
    for item in items:
        if any(backend in mark.args for mark in item.iter_markers("slow_on")):
            item.add_marker(pytest.mark.slow)
        elif hasattr(item, "callspec") and any(
            folder in item.path.parents for folder in TRACED
        ):
            cases[item.path, item.originalname].append(item)
    if backend != "torch":
        for (_, name), group in cases.items():
            kept = zlib.crc32((backend + name).encode()) % len(group)
            for item in group[:kept] + group[kept + 1 :]:
                item.add_marker(pytest.mark.slow)
