"""The outer gradient: right, everywhere, and the same with less memory."""

import numpy as np
import pytest
from keras import ops

from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import MLPMemory
from keras_titans.memory import Titans
from tests.helpers import check_gradients
from tests.helpers import gradients
from tests.helpers import randomized

ROWS, TOKENS, WIDTH = 2, 7, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, TOKENS, WIDTH))
PROBE = RNG.normal(size=(ROWS, TOKENS, WIDTH))
MASK = np.ones((ROWS, TOKENS), bool)
MASK[0, :2] = MASK[1, 4] = False


def memory_layer(**options):
    options = {
        "num_heads": 2,
        "head_dim": 2,
        "chunk_size": 3,
        "network": MLPMemory(2, 1.5, "tanh"),
        "update_rule": Titans(
            learning_rate=Gate(maximum=0.3), forgetting=Gate(initial=0.1)
        ),
        "use_bias": True,
        "dtype": "float64",
        **options,
    }
    layer = NeuralMemory(**options)
    layer.build((None, None, WIDTH))
    return randomized(layer)


def loss(outputs):
    return ops.sum(outputs * ops.convert_to_tensor(PROBE))


def state_loss(results):
    """Of everything that a call returns."""
    outputs, diagnostics, state = results
    total = loss(outputs) + ops.sum(diagnostics["surprise"])
    for name in ("memory", "momentum", "anchor", "convolution"):
        for entry in state[name]:
            total = total + ops.sum(ops.sin(3.0 * entry))
    return total


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize(
    "remat, mask", [(True, None), (False, MASK)], ids=["remat", "kept-masked"]
)
def test_gradient_equals_finite_differences(anchor, remat, mask):
    layer = memory_layer(anchor=anchor, remat=remat, return_state=True)
    options = {"mask": mask, "return_diagnostics": True}
    check_gradients(layer, state_loss, X, **options)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_remat_changes_no_gradient(anchor):
    layer = memory_layer(anchor=anchor)
    found = []
    for layer.remat in (True, False):
        found.append(gradients(layer, loss, X, training=True))
    assert abs(found[0][0] - found[1][0]) < 1e-12
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 1e4])
def test_gradients_are_finite_at_the_edges(value):
    """Inputs of nothing, and inputs that saturate every gate."""
    layer = memory_layer(dtype="float32", return_state=True)
    x = np.full((ROWS, TOKENS, WIDTH), value, "float32")
    _, found = gradients(
        layer,
        lambda results: ops.sum(results[0]),
        x,
        training=True,
        mask=MASK,
    )
    for g in found:
        assert g is None or np.all(np.isfinite(g))
