"""A kept state is no weight, and belongs to a fixed number of rows."""

import keras
import numpy as np
import pytest

from keras_titans.layers import MemoryAsGate
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same

ROWS, TOKENS, WIDTH = 2, 5, 4
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
X = X.astype("float32")
# TensorFlow finds the wrong number when the compiled step already runs.
ERROR = ValueError
LAST_BATCH = rf"stateful.* batches of {ROWS}.*Received: a batch of 1"
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    ERROR = tf.errors.InvalidArgumentError
    LAST_BATCH = rf"\[1,5,4\] is not compatible .* \[{ROWS},5,4\]"


def memory(**options):
    return NeuralMemory(2, 2, memory_depth=1, chunk_size=4, **options)


def union(stateful=False):
    return MemoryAsGate(2, window_size=3, memory=memory(), stateful=stateful)


LAYERS = {
    "memory": memory,
    "without_convolution": lambda **options: memory(kernel_size=1, **options),
    "slots": lambda **options: SlotMemory(2, 3, 2, **options),
    "union": union,
    "block": lambda **options: TitansBlock(memory(**options), 6),
}
every_layer = pytest.mark.parametrize(
    "make", LAYERS.values(), ids=LAYERS.keys()
)


def model_of(layer, rows):
    x = keras.Input((TOKENS, WIDTH), batch_size=rows)
    return keras.Model(x, layer(x))


@every_layer
def test_the_state_is_no_weight(make):
    kept, plain = model_of(make(stateful=True), ROWS), model_of(make(), None)
    assert kept.count_params() == plain.count_params()
    shapes = lambda model: [w.shape for w in model.get_weights()]
    assert shapes(kept) == shapes(plain)
    assert len(kept.variables) > len(kept.weights)


@every_layer
@pytest.mark.parametrize("rows", [1, ROWS + 1])
def test_another_batch_size(make, rows):
    layer = make(stateful=True)
    layer.build((ROWS, TOKENS, WIDTH))
    says = rf"stateful.* batches of {ROWS}.*Received: a batch of {rows}"
    with pytest.raises(ValueError, match=says):
        layer(np.ones((rows, TOKENS, WIDTH), "float32"))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_last_smaller_batch(jit_compile):
    model = model_of(memory(kernel_size=1, stateful=True), ROWS)
    model.compile(jit_compile=jit_compile)
    with pytest.raises(ERROR, match=LAST_BATCH):
        model.predict(X[[0, 1, 0]], batch_size=ROWS, verbose=0)


def test_weights_of_other_batch_sizes_and_of_none(tmp_path):
    path = tmp_path / "of.weights.h5"
    for rows, stateful in ((None, False), (ROWS, True)):
        model = model_of(memory(stateful=stateful), rows)
        randomized(model)
        wanted = model.predict(X, batch_size=ROWS, verbose=0)
        model.save_weights(path)
        one = model_of(memory(stateful=True), 1)
        one.load_weights(path)  # and the state starts from what was loaded
        close(one.predict(X[:1], verbose=0), wanted[:1], 1e-5)


@every_layer
def test_reset_states_as_recurrent_layers_have_it(make):
    layer = make(stateful=True)
    first = layer(X)
    assert np.abs(keras.ops.convert_to_numpy(layer(X) - first)).max() > 1e-4
    layer.reset_states()
    same(layer(X), first)
