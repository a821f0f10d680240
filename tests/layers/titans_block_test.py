"""The block takes every mixer, as an object or by name."""

import keras
import numpy as np
import pytest

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from tests.helpers import close
from tests.helpers import gradients
from tests.helpers import randomized
from tests.helpers import to_numpy

ROWS, TOKENS, WIDTH = 2, 9, 4
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
X = X.astype("float32")

BY_NAME = {
    "MAC": MemoryAsContext,
    "MAG": MemoryAsGate,
    "MAL": MemoryAsLayer,
    "LMM": NeuralMemory,
    "attention": WindowedAttention,
}
every_mixer = pytest.mark.parametrize("name", BY_NAME)


@every_mixer
def test_a_mixer_by_name(name):
    block = TitansBlock(name, 6, num_heads=2, window_size=5)
    assert isinstance(block.mixer, BY_NAME[name])
    assert block.mixer.num_heads == (None if name == "LMM" else 2)
    size = {"MAC": "segment_length", "LMM": "chunk_size"}
    expected = 64 if name == "LMM" else 5
    assert getattr(block.mixer, size.get(name, "window_size")) == expected
    assert block(X).shape == X.shape


def with_state(name):
    options = {"return_state": True}
    if name == "MAC":
        options["segment_length"] = 4
    elif name != "LMM":
        options["window_size"] = 4
    if name == "LMM":
        options["head_dim"] = 2
    elif name != "attention":
        options["memory"] = NeuralMemory(2, 2)
    return TitansBlock(BY_NAME[name](2, **options), 6)


@every_mixer
def test_pieces_equal_the_whole(name):
    block = with_state(name)
    whole, last = block(X)
    first, state = block(X[:, :5])
    second, state = block(X[:, 5:], initial_state=state)
    both = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    close(both, whole, 1e-5)
    close(state, last, 1e-5)
    start = block.get_initial_state(ROWS)
    close(block(X, initial_state=start)[0], whole, 1e-5)


@every_mixer
def test_a_model_in_the_place_of_attention(name, tmp_path):
    """As a block around `MultiHeadAttention` would stand in it."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(7, WIDTH, mask_zero=True)(ids)
    memory = None if name == "attention" else NeuralMemory(2, 2)
    x = TitansBlock(name, 6, 2, 4, memory, dropout=0.1)(x)
    model = keras.Model(ids, keras.layers.Dense(7)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    tokens = np.tile(np.arange(1, 7), (4, 2))
    losses = model.fit(tokens[:, :-1], tokens[:, 1:], epochs=16, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    padded = np.pad(tokens, [(0, 0), (3, 0)])
    have = model.predict(padded, verbose=0)[:, 3:]
    close(have, model.predict(tokens, verbose=0), 1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(tokens, verbose=0)
    close(again.predict(tokens, verbose=0), wanted, 1e-5)


@every_mixer
@pytest.mark.parametrize("masked", [False, True])
def test_recomputing_changes_no_gradient(name, masked):
    calls = []

    def counted(x):
        calls.append(x)
        return keras.ops.silu(x)

    def found(remat):
        keras.utils.set_random_seed(0)
        memory = None if name == "attention" else NeuralMemory(2, 2)
        block = TitansBlock(
            name, 6, 2, 4, memory, activation=counted, remat=remat
        )
        block.build(X.shape)
        randomized(block)
        calls.clear()
        mask = np.arange(TOKENS)[None] < [[5], [9]] if masked else None
        value, by_weight = gradients(
            block,
            lambda y: keras.ops.sum(keras.ops.square(y)),
            keras.ops.convert_to_tensor(X),
            mask=mask,
            training=True,
        )
        return value, by_weight, len(calls)

    *kept, once = found(False)
    *again, more = found(True)
    close(again, kept, 1e-5)
    assert more > once


def test_a_state_is_returned_whether_recomputed_or_not():
    block = TitansBlock("MAG", 6, num_heads=2, window_size=4, remat=True)
    plain, state = block(X, training=True, return_state=True)
    close(block(X, training=True), plain, 1e-5)
    block(X[:, :2], training=True, initial_state=state)


@every_mixer
def test_a_state_needs_a_built_layer(name):
    with pytest.raises(ValueError, match="once it is built: call it first"):
        with_state(name).get_initial_state(ROWS)


def test_surprise_needs_a_memory():
    block = TitansBlock("attention", 6, num_heads=2)
    block(X)
    with pytest.raises(ValueError, match="return_diagnostics"):
        block(X, return_diagnostics=True)
    block = TitansBlock("MAG", 6, 2, memory=NeuralMemory(3, 2))
    y, diagnostics = block(X, return_diagnostics=True)
    surprise = diagnostics["surprise"]
    assert (y.shape, surprise.shape) == (X.shape, (ROWS, TOKENS, 3))


@pytest.mark.parametrize("name", ["LMM", "MAG"])
def test_an_embeddings_mask_arrives_beside_a_state(name):
    ids = np.array([[3, 5, 2, 0, 0], [4, 0, 1, 2, 0]])
    x = keras.layers.Embedding(6, WIDTH, mask_zero=True)(ids)
    block = with_state(name)
    block.build(x.shape)
    start = {"initial_state": block.get_initial_state(ROWS)}
    for layer in (block, block.mixer):
        wanted = layer(x, mask=ids > 0, **start)
        close(layer(x, **start), wanted, 1e-6)
        maskless = to_numpy(layer(to_numpy(x), **start)[0])
        assert np.abs(maskless - to_numpy(wanted[0])).max() > 1e-4


@pytest.mark.parametrize(
    "arguments, names",
    [
        (("MAC", 6), "num_heads"),
        ((NeuralMemory(2), 6, 2), "num_heads"),
        ((NeuralMemory(2), 6, None, 4), "window_size"),
        ((NeuralMemory(2), 6, None, None, NeuralMemory(2)), "memory"),
        (("attention", 6, 2, None, NeuralMemory(2)), "memory"),
    ],
)
def test_a_mixers_sizes_go_with_its_name(arguments, names):
    with pytest.raises(ValueError, match=names):
        TitansBlock(*arguments)
