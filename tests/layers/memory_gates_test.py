"""Gates of any steepness start alike, and steeper ones learn faster."""

import keras
import numpy as np

from keras_titans.layers.memory_gates import MemoryGates
from keras_titans.memory import UpdateRule


def gates_of(scale, x):
    """The gates before and after their kernels have moved by 0.01."""
    keras.utils.set_random_seed(0)
    layer = MemoryGates(2, UpdateRule(gate_scale=scale), slope=2.0)
    before = [keras.ops.convert_to_numpy(gate) for gate in layer(x)]
    for gate in layer.maps.values():
        gate.kernel.assign_add(keras.ops.full(gate.kernel.shape, 0.01))
    after = [keras.ops.convert_to_numpy(gate) for gate in layer(x)]
    return before, after


def test_steep_gates_start_as_flat_ones_do():
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    flat, flat_moved = gates_of(1.0, x)
    steep, steep_moved = gates_of(5.0, x)
    for gate, other in zip(flat, steep, strict=True):
        assert np.ptp(gate) > 0
        np.testing.assert_allclose(gate, other, rtol=1e-4)
    # Theta: the first. As steep, as far, where the gate is still straight.
    ratio = (steep_moved[0] - steep[0]) / (flat_moved[0] - flat[0])
    np.testing.assert_allclose(ratio, 5.0, rtol=0.2)


def test_heads_start_apart_where_a_pair_is_given():
    def forgetting(num_heads):
        rule = UpdateRule(initial_forgetting=(1e-4, 1e-2))
        layer = MemoryGates(num_heads, rule, slope=2.0)
        layer.build((None, None, 8))
        logits = keras.ops.convert_to_numpy(layer.maps["forgetting"].bias)
        return 1 / (1 + np.exp(-logits))

    # Of small rates equal steps of the logit are nearly equal ratios.
    np.testing.assert_allclose(forgetting(3), [1e-4, 1e-3, 1e-2], rtol=0.01)
    np.testing.assert_allclose(forgetting(1), [1e-4], rtol=1e-4)
