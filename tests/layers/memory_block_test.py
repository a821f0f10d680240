"""The block against its formula; its state, masks, files and training."""

import keras
import numpy as np
import pytest

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from tests.helpers import close
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.reference import silu

ROWS, TOKENS, WIDTH = 2, 6, 4
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))


def block(memory=(), **options):
    options = {"intermediate_dim": 5, "dtype": "float64", **options}
    memory = {"dtype": options["dtype"], **dict(memory)}
    layer = MemoryBlock(NeuralMemory(2, 2, chunk_size=4, **memory), **options)
    layer.build((ROWS if layer.memory.stateful else None, None, WIDTH))
    return randomized(layer)


def test_equals_its_formula():
    layer = block()
    weights = layer_weights(layer)

    def norm(x, name):
        size = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x / size * weights[f"{name}/scale"]

    x = X + to_numpy(layer.memory(norm(X, "mixer_norm")))
    h = norm(x, "mlp_norm")
    gate = silu(h @ weights["mlp_gate/kernel"])
    h = gate * (h @ weights["mlp_up/kernel"])
    close(layer(X), x + h @ weights["mlp_down/kernel"], 1e-10)


def test_pieces_masks_and_surprises_go_through():
    layer = block({"return_state": True})
    whole, found, state = layer(X, return_diagnostics=True)
    surprise = found["surprise"]
    assert surprise.shape == (ROWS, TOKENS, 2)
    padded = np.concatenate([np.full((ROWS, 2, WIDTH), 9.0), X], axis=1)
    mask = np.ones((ROWS, TOKENS + 2), bool)
    mask[:, :2] = False
    have, padded_state = layer(padded, mask=mask)
    close(to_numpy(have)[:, 2:], whole, 1e-11)
    close(padded_state, state, 1e-11)
    first, middle = layer(X[:, :3])
    second, last = layer(X[:, 3:], initial_state=middle)
    both = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    close(both, whole, 1e-11)
    close(last, state, 1e-11)
    _, unchanged = layer(X, initial_state=state, update=False)
    same(unchanged["memory"], state["memory"])


def test_stateful_memory_can_be_reset():
    layer = block({"stateful": True})
    layer.reset_state()
    first = to_numpy(layer(X))
    assert np.abs(to_numpy(layer(X)) - first).max() > 1e-4
    layer.reset_state()
    same(layer(X), first)


def test_dropout_in_training_only():
    layer = block(dropout=0.5)
    same(layer(X, training=False), layer(X))
    dropped = to_numpy(layer(X, training=True))
    assert np.abs(dropped - to_numpy(layer(X))).max() > 1e-3


@pytest.mark.slow_on("tensorflow")
def test_a_language_model_learns_and_is_saved(tmp_path):
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(7, WIDTH, mask_zero=True)(tokens)
    for _ in range(2):
        memory = NeuralMemory(2, 2, chunk_size=4)
        x = MemoryBlock(memory, 8, activation="gelu", dropout=0.1)(x)
    model = keras.Model(tokens, keras.layers.Dense(7)(x))
    model.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    ids = np.tile(np.arange(1, 7), (4, 2))
    history = model.fit(ids[:, :-1], ids[:, 1:], epochs=12, verbose=0)
    loss = history.history["loss"]
    assert loss[-1] < 0.8 * loss[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    same(again.predict(ids, verbose=0), model.predict(ids, verbose=0))
    blocks = [la for la in again.layers if isinstance(la, MemoryBlock)]
    assert blocks[0].dropout == 0.1
    assert blocks[0].activation is keras.activations.gelu
    assert blocks[0].intermediate_dim == 8


def test_half_precision_keeps_a_float32_state():
    layer = block({"return_state": True}, dtype="mixed_bfloat16")
    x = X.astype("float32")
    _, state = layer(x[:, :3])
    outputs, state = layer(x[:, 3:], initial_state=state)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    for entry in (*state["memory"], *state["convolution"]):
        assert keras.backend.standardize_dtype(entry.dtype) == "float32"


def test_symbolic_results_are_shaped_as_the_real_ones():
    layer = block({"return_state": True})
    outputs, state = layer(keras.Input((None, WIDTH), dtype="float64"))
    assert outputs.shape == (None, None, WIDTH)
    real, real_state = layer(X)
    assert list(state) == list(real_state)
    assert outputs.dtype == keras.backend.standardize_dtype(real.dtype)


def test_the_residual_is_kept_where_branches_give_nothing():
    layer = block()
    for dense in (layer.mlp_down, layer.memory.output_projection):
        dense.kernel.assign(np.zeros(dense.kernel.shape))
    close(layer(X), X, 0.0)
