"""What every test process needs before Keras is imported."""

import gc
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
# XLA's newer way to write loops takes it several times longer than its older.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(os.path.dirname(__file__), ".pytest_cache", "jax"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import keras
import pytest

# No deadline: the first example compiles. Few examples where each of them
# does. The same examples every time in CI, so that a change fails by its own
# fault.
hypothesis.settings.register_profile(
    "keras_titans",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=15 if keras.backend.backend() == "torch" else 5,
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


def pytest_collection_finish():
    """Keras collects garbage for each layer that it quantizes.

    What was imported until now stays, and is not searched each time.
    """
    gc.collect()
    gc.freeze()


ROOT = pathlib.Path(__file__).parent
# Where most of a test is its trace and its compilation, for minutes in all.
SHARED = [ROOT / "tests/models", ROOT / "tests/callbacks"]
TRACED = [*SHARED, ROOT / "tests/layers", ROOT / "integration_tests"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What takes long on one engine is `slow` there, and runs on the others.

    PyTorch runs everything. The engines that compile run one case of each
    test that is traced, and share the tests of models between them. Which case
    and which engine is drawn from names: all mixers and modes have their turn.
    """
    backend = keras.backend.backend()
    cases = defaultdict(list)
    for item in items:
        if any(backend in mark.args for mark in item.iter_markers("slow_on")):
            item.add_marker(pytest.mark.slow)
        elif any(folder in item.path.parents for folder in TRACED):
            cases[item.path, item.originalname].append(item)
    if backend == "torch":
        return
    for (path, name), group in cases.items():
        kept = _drawn(backend + name, group)
        shared = any(folder in path.parents for folder in SHARED)
        one_engines = any(item.get_closest_marker("skipif") for item in group)
        if shared and not one_engines:
            if backend != _drawn(name, ["jax", "tensorflow"]):
                kept = None
        for item in group:
            if item is not kept:
                item.add_marker(pytest.mark.slow)


def _drawn(name, choices):
    """The same choice every time."""
    return choices[zlib.crc32(name.encode()) % len(choices)]
