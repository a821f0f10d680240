"""An attention and a memory beside it, of the same tokens."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers.carried_states import carrying
from tests.helpers import close
from tests.helpers import gradients
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, TOKENS, WIDTH = 2, 7, 8
LENGTHS = (1, 4, 7)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, TOKENS, WIDTH)).astype("float32")


def make(attention="MHA", memory=None, scale=0.3):
    if attention == "MHA":
        attention = keras.layers.MultiHeadAttention(2, 4)
    elif attention == "GQA":
        attention = keras.layers.GroupQueryAttention(4, 4, 2)
    memory = memory or NeuralMemory(2, 4, memory_depth=1, chunk_size=3)
    layer = AttentionWithMemory(attention, memory)
    layer.build((None, None, WIDTH), (None, None, WIDTH))
    return randomized(layer, scale=scale) if scale else layer


def by_hand(layer, x, real=None, **options):
    """The two, each called on its own; in float64 what is done with them."""
    attention = to_numpy(layer.attention(x, x, **options))
    memory = to_numpy(traced(layer.memory)(x, mask=real))
    gate = to_numpy(layer.gate.value)
    want = np.array(attention, "float64")
    for b in range(len(x)):
        for t in range(x.shape[1]):
            for i in range(WIDTH):
                want[b, t, i] += float(gate[i]) * float(memory[b, t, i])
    return want


@pytest.mark.parametrize("attention", ["MHA", "GQA"])
@pytest.mark.parametrize(
    "memory",
    [lambda: None, lambda: SlotMemory(2, 3, 4)],
    ids=["neural", "slots"],
)
def test_is_the_attention_and_the_gated_memory(attention, memory):
    layer = make(attention, memory())
    have = layer(X, X, use_causal_mask=True)
    close(have, by_hand(layer, X, use_causal_mask=True), 1e-6)
    alone = to_numpy(layer.attention(X, X, use_causal_mask=True))
    assert np.abs(to_numpy(have) - alone).max() > 0.05


@pytest.mark.parametrize("attention", ["MHA", "GQA"])
def test_begins_as_the_attention_alone(attention):
    layer = make(attention, scale=None)
    same(layer(X, X), layer.attention(X, X))


def test_gate_learns_first_then_the_memory():
    layer = make(scale=None)
    loss = lambda y: keras.ops.sum(y * y)
    names = [w.path.split("/")[-1] for w in layer.trainable_variables]
    in_memory = [
        any(w is m for m in layer.memory.trainable_variables)
        for w in layer.trainable_variables
    ]
    _, found = gradients(layer, loss, X[:, :4], X[:, :4])
    sizes = [np.abs(g).max() for g in found]
    assert sizes[names.index("gate")] > 1e-3
    assert not any(np.array(sizes)[in_memory])
    gate = layer.gate
    gate.assign(gate - 0.1 * found[names.index("gate")])
    _, found = gradients(layer, loss, X[:, :4], X[:, :4])
    sizes = np.array([np.abs(g).max() for g in found])
    assert np.all(sizes[in_memory] > 0), "nothing reaches a part of the memory"


MASKS = ["keys", "causal", "heads", "query_mask", "both"]


@pytest.fixture(scope="module")
def shared():
    """A layer; and what it makes of one row of so many tokens, on its own."""
    layer = make()
    run = traced(lambda x: layer(x, x, use_causal_mask=True))
    alone = {
        (row, length): to_numpy(run(X[row : row + 1, :length]))
        for row in range(ROWS)
        for length in LENGTHS
    }
    return layer, alone


@pytest.mark.parametrize("kind", MASKS)
@settings(max_examples=4)
@given(lengths=st.lists(st.sampled_from(LENGTHS), min_size=ROWS, max_size=ROWS))
def test_padding_changes_nothing(shared, kind, lengths):
    """Whatever says what is padding, a row is as it is on its own."""
    layer, alone = shared
    real = np.arange(TOKENS)[None] < np.array(lengths)[:, None]
    causal = np.tril(np.ones((TOKENS, TOKENS), bool))
    options = {
        "keys": {"attention_mask": real[:, None, :], "use_causal_mask": True},
        "causal": {"attention_mask": (real[:, None, :] & causal)},
        "heads": {"attention_mask": (real[:, None, :] & causal)[:, None]},
        "query_mask": {"query_mask": real, "use_causal_mask": True},
        "both": {
            "query_mask": real,
            "attention_mask": (real[:, None, :] & causal).astype("int32"),
        },
    }[kind]
    x = np.where(real[..., None], X, 9.0).astype("float32")
    causally = options.pop("use_causal_mask", False)
    have = _run(layer, causally)(x, **options)
    for row, length in enumerate(lengths):
        close(have[row : row + 1, :length], alone[row, length], 1e-5)


@functools.cache
def _run(layer, causally):
    return traced(
        lambda x, **masks: layer(x, x, use_causal_mask=causally, **masks)
    )


def test_a_mask_without_a_batch_leaves_all_tokens_real():
    layer = make()
    causal = np.tril(np.ones((TOKENS, TOKENS), bool))
    have = layer(X, X, attention_mask=causal)
    close(have, by_hand(layer, X, attention_mask=causal), 1e-6)


def test_mask_of_an_embedding_reaches_the_memory():
    ids = np.array([[3, 1, 2, 0, 0], [1, 2, 3, 4, 5]])
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, WIDTH, mask_zero=True)(tokens)
    layer = AttentionWithMemory(
        keras.layers.MultiHeadAttention(2, 4),
        NeuralMemory(2, 4, memory_depth=1, chunk_size=3),
    )
    model = keras.Model(tokens, layer(x, x, use_causal_mask=True))
    randomized(model)
    have = model.predict(ids, verbose=0)
    alone = model.predict(ids[:1, :3], verbose=0)
    close(have[:1, :3], alone, 1e-5)
    # Padding stands before the real tokens too.
    turned = model.predict(np.array([[0, 0, 3, 1, 2]]), verbose=0)
    close(turned[:, 2:], alone, 1e-5)


def test_returns_scores_as_the_attention_does():
    layer = make()
    have, scores = layer(X, X, return_attention_scores=True)
    _, wanted = layer.attention(X, X, return_attention_scores=True)
    same(scores, wanted)
    close(have, by_hand(layer, X), 1e-6)


def test_goes_on_from_a_carried_state():
    class Words(keras.layers.Layer):
        """An attention of each token to itself alone."""

        def call(self, hidden_states, training=None):
            return 2.0 * hidden_states

    layer = AttentionWithMemory(
        Words(), NeuralMemory(2, 4, memory_depth=1, chunk_size=3)
    )
    layer.build((None, None, WIDTH))
    randomized(layer)
    whole = to_numpy(layer(hidden_states=X))
    states = [layer.memory.get_initial_state(ROWS)]
    real = np.arange(4)[None] < np.array([[4], [4]])
    with carrying([layer], states, real) as carried:
        first = layer(hidden_states=X[:, :4])
    with carrying([layer], carried.states) as carried:
        second = layer(hidden_states=X[:, 4:])
    close(first, whole[:, :4], 1e-5)
    close(second, whole[:, 4:], 1e-5)


def test_saves_and_loads(tmp_path):
    x = keras.Input((None, WIDTH))
    layer = AttentionWithMemory(
        keras.layers.MultiHeadAttention(2, 4),
        NeuralMemory(2, 4, memory_depth=1, chunk_size=3),
    )
    model = keras.Model(x, layer(x, x, use_causal_mask=True))
    layer.attention.trainable = False
    randomized(model)
    wanted = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded.predict(X, verbose=0), wanted, 1e-6)
    assert not loaded.layers[-1].attention.trainable_variables
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert len(loaded.variables) > len(loaded.trainable_variables)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
def test_computes_in_the_policys_dtype(policy):
    attention = keras.layers.MultiHeadAttention(2, 4, dtype=policy)
    memory = NeuralMemory(2, 4, memory_depth=1, chunk_size=3, dtype=policy)
    layer, exact = make(attention, memory, scale=None), make()
    for weight, other in zip(layer.weights, exact.weights, strict=True):
        weight.assign(np.array(to_numpy(other.value)))
    have = layer(X, X, use_causal_mask=True)
    wanted = exact(X, X, use_causal_mask=True)
    compute = keras.DTypePolicy(policy).compute_dtype
    assert keras.backend.standardize_dtype(have.dtype) == compute
    variable = keras.DTypePolicy(policy).variable_dtype
    assert layer.gate.dtype == variable
    close(to_numpy(keras.ops.cast(have, "float32")), wanted, 0.05)


def test_what_cannot_be_put_together_is_refused():
    attention = keras.layers.MultiHeadAttention(2, 4)
    with pytest.raises(ValueError, match="`memory` must be a `NeuralMemory`"):
        AttentionWithMemory(attention, keras.layers.Dense(3))
    with pytest.raises(ValueError, match="stateful=True"):
        AttentionWithMemory(attention, NeuralMemory(2, stateful=True))

    class Other(keras.layers.Layer):
        def call(self, x, positions=None):
            return x

    with pytest.raises(ValueError, match="also takes positions"):
        AttentionWithMemory(Other(), NeuralMemory(2))
