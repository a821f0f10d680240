"""The bank of slots against its definition, token by token."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import SlotMemory
from tests.helpers import check_gradients
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced
from tests.reference import projected
from tests.reference import put_out
from tests.reference import sigmoid
from tests.reference import unit

ROWS, TOKENS, WIDTH = 2, 7, 4


def slot_memory(num_slots=5, **options):
    layer = SlotMemory(2, num_slots, 2, dtype="float64", **options)
    layer.build((ROWS if layer.stateful else None, None, WIDTH))
    return randomized(layer)


def inputs(seed=0, tokens=TOKENS):
    return np.random.default_rng(seed).normal(size=(ROWS, tokens, WIDTH))


def attention(x, keys, top_k):
    scores = keys @ x
    if top_k is not None:
        scores[np.argsort(scores)[:-top_k]] = -np.inf
    share = np.exp(scores - scores.max())
    return share / share.sum()


def reference_row(x, weights, num_heads, top_k, fixed_rate=None):
    """One row: outputs, surprises, and the slots' values by head."""
    by_head = lambda w: np.split(weights[f"slots/{w}"], num_heads, axis=1)
    query = unit(projected(x, weights, "query", num_heads))
    key = unit(projected(x, weights, "key", num_heads))
    value = projected(x, weights, "value", num_heads)
    if fixed_rate is None:
        logits = x @ weights["write_rate/kernel"] + weights["write_rate/bias"]
        rate = 0.95 * sigmoid(logits)
    else:
        rate = np.full((len(x), num_heads), fixed_rate)
    reads, surprises = np.zeros_like(query), np.zeros_like(rate)
    held = [v.copy() for v in by_head("initial_values")]
    for head, keys in enumerate(by_head("slot_keys")):
        keys = unit(keys) * np.exp(weights["slots/log_sharpness"][head])
        for t in range(len(x)):
            found = attention(key[t, head], keys, top_k)
            error = value[t, head] - found @ held[head]
            surprises[t, head] = np.sqrt(np.sum(error**2))
            for s in range(len(keys)):
                by = rate[t, head] * found[s]
                held[head][s] += by * (value[t, head] - held[head][s])
            share = attention(query[t, head], keys, top_k)
            reads[t, head] = share @ held[head]
    return put_out(x, reads, weights), surprises, held


@given(
    tokens=st.sampled_from([1, 2, 9, 16, 17, 35]),
    num_slots=st.integers(2, 6),
    top_k=st.sampled_from([None, 1, 2]),
    fixed=st.sampled_from([None, 0.9]),
)
def test_equals_its_definition(tokens, num_slots, top_k, fixed):
    rate = {"write_rate": fixed, "learn_write_rate": False} if fixed else {}
    layer = slot_memory(num_slots, top_k=top_k, return_state=True, **rate)
    x = inputs(tokens=tokens)
    y, found, state = traced(lambda x: layer(x, return_diagnostics=True))(x)
    surprise = found["surprise"]
    for row in range(ROWS):
        want = reference_row(x[row], layer_weights(layer), 2, top_k, fixed)
        close(to_numpy(y)[row], want[0], 1e-9)
        close(to_numpy(surprise)[row], want[1], 1e-5)  # 1e-12 under the root
        close(to_numpy(state["memory"])[row], np.stack(want[2]), 1e-9)


SOME_AND_ALL = pytest.mark.parametrize("top_k", [None, 2])


@SOME_AND_ALL
def test_compiled_equals_eager(top_k):
    layer = slot_memory(top_k=top_k)
    run = lambda x: layer(x, training=True)
    close(compiled(run)(inputs()), run(inputs()), 1e-12)


@SOME_AND_ALL
@pytest.mark.parametrize("cuts", [(3,), (1, 2, 6)])
def test_pieces_equal_the_whole(cuts, top_k):
    layer = slot_memory(top_k=top_k, return_state=True)
    whole, last = layer(inputs())
    state, parts = None, []
    for start, end in zip((0, *cuts), (*cuts, TOKENS)):
        y, state = layer(inputs()[:, start:end], initial_state=state)
        parts.append(to_numpy(y))
    close(np.concatenate(parts, axis=1), whole, 1e-12)
    close(state, last, 1e-12)


@SOME_AND_ALL
def test_masked_tokens_are_as_if_not_there(top_k):
    layer = slot_memory(top_k=top_k, return_state=True)
    mask = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], bool)
    y, state = layer(inputs(), mask=mask)
    for row in range(ROWS):
        want, alone = layer(inputs()[row : row + 1, mask[row]])
        close(to_numpy(y)[row, mask[row]], to_numpy(want)[0], 1e-12)
        close(
            to_numpy(state["memory"])[row], to_numpy(alone["memory"])[0], 1e-12
        )


@SOME_AND_ALL
def test_past_reaches_future_and_nothing_else(top_k):
    run = traced(slot_memory(3, top_k=top_k, kernel_size=1))
    start = to_numpy(run(inputs()))
    for token in range(TOKENS):
        changed = inputs()
        changed[1, token] += 1.0
        by = np.abs(to_numpy(run(changed)) - start).max(axis=-1)
        assert np.all(by[0] == 0.0)
        assert np.all(by[1, :token] < 1e-12)
        assert by[1, token] > 1e-6
        if token < TOKENS - 1:  # how far depends on who shares its slots
            assert by[1, token + 1 :].max() > 1e-9


@SOME_AND_ALL
def test_gradients_equal_finite_differences(top_k):
    layer = slot_memory(4, top_k=top_k)
    loss = lambda y: keras.ops.sum(keras.ops.sin(y))
    check_gradients(layer, loss, inputs())


def test_what_was_written_is_found_again():
    """Sharp keys, a high rate: the value comes back, the surprise is gone."""
    layer = SlotMemory(
        1,
        512,
        32,
        kernel_size=1,
        top_k=4,
        write_rate=0.9,
        learn_write_rate=False,
    )
    x = np.random.default_rng(0).normal(size=(1, 20, 32)).astype("float32")
    _, found = layer(np.tile(x, (1, 6, 1)), return_diagnostics=True)
    surprise = found["surprise"]
    surprise = to_numpy(surprise)[0, :, 0].reshape(6, 20).mean(axis=1)
    assert surprise[-1] < 0.5 * surprise[0]


@pytest.mark.parametrize("union", [MemoryAsGate, MemoryAsContext])
def test_beside_attention(union):
    layer = union(
        2,
        4,
        memory=SlotMemory(2, 6, 2, dtype="float64"),
        return_state=True,
        dtype="float64",
    )
    whole, last = layer(inputs())
    first, state = layer(inputs()[:, :3])
    second, state = layer(inputs()[:, 3:], initial_state=state)
    both = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    close(both, whole, 1e-12)
    close(state, last, 1e-12)


def test_a_model_is_trained_saved_and_loaded(tmp_path):
    x = keras.Input((None, WIDTH))
    layer = SlotMemory(2, 8, 2, top_k=3, write_rate=0.3, kernel_size=2)
    model = keras.Model(x, layer(x))
    jit_compile = keras.backend.backend() != "torch"
    model.compile(keras.optimizers.Adam(0.03), "mse", jit_compile=jit_compile)
    data = inputs().astype("float32")
    losses = model.fit(data, np.roll(data, 1, 1), epochs=10, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(data, verbose=0)
    close(again.predict(data, verbose=0), wanted, 1e-5)
    assert again.layers[-1].top_k == 3
    assert again.layers[-1].write_rate == 0.3


def test_stateful_goes_on_and_is_reset():
    layer = slot_memory(stateful=True)
    layer.reset_state()
    first = to_numpy(layer(inputs()))
    assert np.abs(to_numpy(layer(inputs())) - first).max() > 1e-4
    layer.reset_state()
    close(layer(inputs()), first, 0.0)


def test_there_must_be_as_many_slots_as_are_attended_to():
    with pytest.raises(ValueError, match="`top_k` must be at most"):
        slot_memory(top_k=6)
