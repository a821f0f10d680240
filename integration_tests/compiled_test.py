"""What engines compile, with all their optimizations, is what was meant."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory

WIDTH = 16


# Up to 64 tokens are one chunk, for which XLA leaves out the loop.
@pytest.mark.parametrize("length", [1, 32, 48, 64, 65])
def test_compiled_equals_eager(length):
    x = np.random.default_rng(length).normal(size=(2, length, WIDTH))
    x = x.astype("float32")
    layer = NeuralMemory(2, 8, chunk_size=64)
    eager = keras.ops.convert_to_numpy(layer(x))
    for _ in range(3):  # a library in XLA was wrong in every second program
        inputs = keras.Input((length, WIDTH))
        model = keras.Model(inputs, layer(inputs))
        compiled = model.predict(x, verbose=0)
        np.testing.assert_allclose(compiled, eager, rtol=0, atol=1e-4)
