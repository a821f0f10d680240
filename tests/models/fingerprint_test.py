"""A fingerprint tells what matters to a memory from what does not."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.layers import TitansBlock
from keras_titans.models.fingerprint import fingerprint


def block(dropout=0.1, dtype=None, **options):
    keras.utils.set_random_seed(0)
    memory = NeuralMemory(2, 2, dtype=dtype, **options)
    block = TitansBlock(memory, 6, dropout=dropout, dtype=dtype)
    block.build((None, None, 4))
    return block


@pytest.fixture(scope="module")
def plain():
    return block()


@pytest.mark.parametrize(
    "options",
    [
        {"remat": False},
        {"dropout": 0.3},
        {"kernel_initializer": "he_normal"},
        {"dtype": "mixed_bfloat16"},
        {"name": "other"},
        {"stateful": False, "return_state": True},
    ],
)
def test_what_does_not_matter(options, plain):
    other = block(**options)
    other.set_weights(plain.get_weights())
    assert fingerprint(other) == fingerprint(plain)


@pytest.mark.parametrize(
    "options", [{"chunk_size": 8}, {"anchor": "chunk"}, {"memory_depth": 2}]
)
def test_what_matters(options, plain):
    other = fingerprint(block(**options))
    assert other.architecture != fingerprint(plain).architecture


def test_weights_tell_by_the_bit(plain):
    other = block()
    assert fingerprint(other) == fingerprint(plain)
    for weight in other.weights:
        start = np.array(keras.ops.convert_to_numpy(weight.value))
        value = start.copy()
        value.flat[-1] = np.nextafter(value.flat[-1], np.float32(9))
        weight.assign(value)
        found = fingerprint(other)
        assert found.architecture == fingerprint(plain).architecture
        assert found.weights != fingerprint(plain).weights, weight.path
        weight.assign(start)
    assert fingerprint(other) == fingerprint(plain)


def test_training_calls_do_not_tell(plain):
    """Dropout's random state is no weight."""
    before = fingerprint(plain)
    plain(np.ones((1, 3, 4), "float32"), training=True)
    assert fingerprint(plain) == before
