"""The learned tokens stand before the sequence, and so does their mask."""

import keras
import numpy as np

from keras_titans.layers import PersistentTokens
from tests.helpers import same
from tests.helpers import to_numpy

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


def test_they_stand_before_the_sequence():
    layer = PersistentTokens(2, initializer="glorot_uniform")
    y = to_numpy(layer(X))
    for row in range(2):
        same(y[row, :2], layer.tokens.value)
    same(y[:, 2:], X)


def test_they_are_never_masked():
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(ids)
    x = PersistentTokens(2)(x)
    assert x.shape == (None, None, 4)
    total = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(ids, total)
    short, padded = np.array([[1, 2]]), np.array([[1, 2, 0, 0]])
    np.testing.assert_allclose(
        model.predict(short, verbose=0),
        model.predict(padded, verbose=0),
        rtol=1e-5,
        atol=1e-6,
    )


def test_config_and_shapes():
    layer = PersistentTokens(2, initializer="glorot_uniform")
    again = PersistentTokens.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert layer(keras.Input((7, 4))).shape == (None, 9, 4)
