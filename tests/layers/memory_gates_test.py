"""Gates of any steepness start alike, and steeper ones learn faster."""

import keras
import numpy as np
import pytest

from keras_titans.layers.memory_gates import MemoryGates
from keras_titans.memory import Gate
from keras_titans.memory import Spread
from keras_titans.memory import Titans
from tests.helpers import to_numpy


def logits_of(scale, x):
    """The learning rate's logits before and after its kernel has moved."""
    keras.utils.set_random_seed(0)
    rule = Titans(Gate(initial=0.3, logit_scale=scale), None, None)
    layer = MemoryGates(2, rule)
    before = to_numpy(layer(x)["learning_rate"])
    kernel = layer.maps["learning_rate"].kernel
    kernel.assign_add(keras.ops.full(kernel.shape, 0.01))
    return before, to_numpy(layer(x)["learning_rate"])


def test_steep_gates_start_as_flat_ones_do():
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    flat, flat_moved = logits_of(1.0, x)
    steep, steep_moved = logits_of(5.0, x)
    assert np.ptp(flat) > 0
    np.testing.assert_allclose(flat, steep, rtol=1e-4)
    ratio = (steep_moved - steep) / (flat_moved - flat)
    np.testing.assert_allclose(ratio, 5.0, rtol=1e-2)


@pytest.mark.parametrize(
    "initial, wanted",
    [
        (Spread(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        ([0.3, 0.2, 0.1], [0.3, 0.2, 0.1]),
        (0.2, [0.2, 0.2, 0.2]),
    ],
)
def test_each_head_starts_where_it_is_told_to(initial, wanted):
    layer = MemoryGates(3, Titans(forgetting=Gate(initial=initial)))
    layer.build((None, None, 8))
    logits = to_numpy(layer.maps["forgetting"].bias)
    # Of small rates equal steps of the logit are nearly equal ratios.
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), wanted, rtol=0.01)


def test_a_constant_has_no_weights():
    layer = MemoryGates(2, Titans(0.1, momentum=0.9, forgetting=None))
    layer.build((None, None, 8))
    assert not layer.weights and layer(np.zeros((1, 1, 8))) == {}
