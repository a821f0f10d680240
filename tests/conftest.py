"""Fixtures of the unit tests."""

import keras
import pytest
from keras.src.backend.common import dtypes

from tests.helpers import compiled


@pytest.fixture(autouse=True, scope="module")
def what_is_compiled_is_let_go():
    """Thousands of small programs would take gigabytes."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
    if keras.backend.backend() == "tensorflow":
        # TensorFlow keeps the graph around every custom gradient, silu's too.
        from tensorflow.python.framework import ops

        registry = ops.gradient_registry._registry
        for name in [n for n in registry if n.startswith("CustomGradient")]:
            del registry[name]


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """float64 tensors stay float64 through `keras.ops`.

    Keras turns them into float32 on JAX and PyTorch, JAX itself does too.
    Many tests compare with float64. What asks for no dtype stays float32.
    The integration tests are without this, as users are.
    """
    narrower = dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    if keras.backend.backend() == "jax":
        import jax

        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
    assert keras.config.floatx() == "float32"
    yield
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = narrower
    if keras.backend.backend() == "jax":
        jax.config.update("jax_enable_x64", before)


# PyTorch is used eagerly: `torch.compile` takes minutes for a loop.
_RUN_MODES = (
    ["eager"] if keras.backend.backend() == "torch" else ["eager", "compiled"]
)


@pytest.fixture(params=_RUN_MODES, scope="module")
def run_mode(request):
    """Each way a function of tensors can be run: `run_mode(fn)(*tensors)`."""
    return compiled if request.param == "compiled" else lambda fn: fn
