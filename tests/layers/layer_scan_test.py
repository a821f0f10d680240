"""A loop of layers equals the same layers called one after another."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.layers.layer_scan import layer_scan
from tests.helpers import close
from tests.helpers import gradients


class Walk(keras.layers.Layer):
    """A state that a Dense layer moves, and a count of the steps."""

    def __init__(self, how, **kwargs):
        super().__init__(dtype="float64", **kwargs)
        self.how = how
        self.dense = keras.layers.Dense(3, dtype="float64")

    def build(self, input_shape):
        self.dense.build((None, 6))

    def call(self, xs):
        def step(carry, x):
            state, count = carry
            state = ops.tanh(self.dense(ops.concatenate([state, x], -1)))
            return (state, count + 1), state * ops.cast(count, state.dtype)

        carry = ops.zeros((2, 3), "float64"), ops.zeros((2, 1), "int32")
        if self.how != "unrolled":
            (state, count), ys = layer_scan(
                step, self.dense.variables, carry, xs, remat=self.how == "remat"
            )
        else:
            ys = []
            for i in range(xs.shape[0]):
                carry, y = step(carry, xs[i])
                ys.append(y)
            (state, count), ys = carry, ops.stack(ys)
        assert keras.backend.standardize_dtype(count.dtype) == "int32"
        return ops.sum(ys) + ops.sum(state) * ops.cast(count[0, 0], "float64")


@pytest.mark.parametrize("how", ["remat", "kept"])
def test_equals_the_steps_one_by_one(how):
    xs = np.random.default_rng(0).normal(size=(4, 2, 3))
    layers = Walk(how), Walk("unrolled")
    for layer in layers:
        layer.build(xs.shape)
    layers[1].set_weights(layers[0].get_weights())
    have, want = (gradients(layer, ops.sum, xs) for layer in layers)
    close(list(have[1]), list(want[1]), 1e-12)
    assert abs(have[0] - want[0]) < 1e-12
