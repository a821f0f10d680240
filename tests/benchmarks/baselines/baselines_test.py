"""Every baseline against its recurrence, and as a mixer of a `TitansBlock`."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from benchmarks.baselines import FullAttention
from benchmarks.baselines import GatedDelta
from benchmarks.baselines import GatedLinearRNN
from benchmarks.baselines import Mamba2
from keras_titans.layers import TitansBlock
from tests.benchmarks.baselines import reference
from tests.helpers import check_gradients
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import gradient
from tests.helpers import gradients
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, WIDTH, HEADS = 2, 8, 2

RECURRENT = {
    GatedLinearRNN: {"recurrent_dim": 12, "chunk_size": 4},
    Mamba2: {"state_dim": 3, "chunk_size": 4},
    GatedDelta: {"head_dim": 3, "chunk_size": 4},
}
BASELINES = {**RECURRENT, FullAttention: {"num_key_value_heads": 1}}
ROW = {
    FullAttention: reference.full_attention_row,
    GatedDelta: reference.gated_delta_row,
    GatedLinearRNN: reference.gated_linear_rnn_row,
    Mamba2: reference.mamba2_row,
}
# The engines' fused attention computes in float32 whatever it is handed.
DTYPE = {FullAttention: "float32"}
TOLERANCE = {"float32": 2e-6, "float64": 1e-11}

every = pytest.mark.parametrize("kind", BASELINES, ids=lambda k: k.__name__)
recurrent = pytest.mark.parametrize("kind", RECURRENT, ids=lambda k: k.__name__)


def baseline(kind, **options):
    options = {
        "num_heads": HEADS,
        "dtype": DTYPE.get(kind, "float64"),
        **BASELINES[kind],
        **options,
    }
    layer = kind(**options)
    layer.build((None, None, WIDTH))
    return randomized(layer)


def draw(layer, *shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return x.astype(layer.compute_dtype)


def tolerance(layer):
    return TOLERANCE[layer.compute_dtype]


def check_rows(layer, tokens, within=None):
    x = draw(layer, ROWS, tokens, WIDTH)
    want = reference.rows(
        ROW[type(layer)], layer_weights(layer), layer.num_heads, x
    )
    close(traced(layer)(x), want, within or tolerance(layer))


few = settings(max_examples=4)


@few
@given(tokens=st.integers(1, 9), groups=st.sampled_from([1, 2, 4]))
def test_full_attention_equals_the_loop(tokens, groups):
    layer = baseline(
        FullAttention, num_heads=4, head_dim=6, num_key_value_heads=groups
    )
    check_rows(layer, tokens)


@few
@given(
    tokens=st.integers(1, 11),
    heads=st.sampled_from([1, 2, 4]),
    chunk_size=st.integers(1, 5),
)
def test_gated_linear_rnn_equals_the_loop(tokens, heads, chunk_size):
    layer = baseline(GatedLinearRNN, num_heads=heads, chunk_size=chunk_size)
    # TensorFlow's GELU has a constant of float32. The recurrence itself is held
    # to the loop more closely by its own tests.
    check_rows(layer, tokens, within=1e-8)


@few
@given(
    tokens=st.integers(1, 11),
    heads=st.sampled_from([1, 4]),
    state_dim=st.integers(1, 4),
    chunk_size=st.integers(1, 5),
)
def test_mamba2_equals_the_loop(tokens, heads, state_dim, chunk_size):
    layer = baseline(
        Mamba2, num_heads=heads, state_dim=state_dim, chunk_size=chunk_size
    )
    check_rows(layer, tokens)


@few
@given(
    tokens=st.integers(1, 11),
    heads=st.integers(1, 3),
    expansion=st.integers(1, 2),
    chunk_size=st.integers(1, 5),
)
def test_gated_delta_equals_the_loop(tokens, heads, expansion, chunk_size):
    layer = baseline(
        GatedDelta, num_heads=heads, expansion=expansion, chunk_size=chunk_size
    )
    check_rows(layer, tokens)


@every
def test_the_future_is_not_seen_and_the_past_is(kind):
    """Row by row, and across the borders of chunks."""
    layer = baseline(kind)
    run = traced(layer)
    x = draw(layer, ROWS, 10, WIDTH)
    start = to_numpy(run(x))
    for token in range(10):
        changed = x.copy()
        changed[0, token] += 1.0
        by = np.abs(to_numpy(run(changed)) - start).max(axis=-1)
        assert np.all(by[0, token:] > 100 * tolerance(layer))
        by[0, token:] = 0.0
        assert np.all(by == 0.0)


@every
def test_masked_tokens_are_as_if_not_there(kind):
    layer = baseline(kind)
    mask = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], bool)
    x = draw(layer, ROWS, 7, WIDTH)
    have = to_numpy(traced(lambda x: layer(x, mask=mask))(x))
    for row in range(ROWS):
        want = to_numpy(traced(layer)(x[row : row + 1, mask[row]]))[0]
        close(have[row, mask[row]], want, tolerance(layer))


@recurrent
def test_masked_tokens_leave_the_state_as_it_is(kind):
    layer = baseline(kind, return_state=True)
    run = traced(
        lambda x, state, mask: layer(x, mask=mask, initial_state=state)
    )
    mask = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], bool)
    x = draw(layer, ROWS, 7, WIDTH)
    _, start = run(x, layer.get_initial_state(ROWS), None)
    _, state = run(x, start, mask)
    for row in range(ROWS):
        of_row = keras.tree.map_structure(lambda s: s[row : row + 1], start)
        _, want = run(x[row : row + 1, mask[row]], of_row, None)
        have = keras.tree.map_structure(lambda s: s[row : row + 1], state)
        close(have, want, tolerance(layer))


@recurrent
def test_pieces_equal_the_whole(kind):
    cuts = (3, 4, 5, 8)
    layer = baseline(kind)
    x = draw(layer, ROWS, 11, WIDTH)
    run = traced(
        lambda x, state: layer(x, initial_state=state, return_state=True)
    )
    state, parts = layer.get_initial_state(ROWS), []
    whole, last = run(x, state)
    close(whole, traced(layer)(x), tolerance(layer))
    for start, end in zip((0, *cuts), (*cuts, 11)):
        y, state = run(x[:, start:end], state)
        parts.append(to_numpy(y))
    close(np.concatenate(parts, axis=1), whole, tolerance(layer))
    close(state, last, tolerance(layer))


@recurrent
def test_gradients_are_right_and_reach_every_weight(kind):
    layer = baseline(kind)
    x = draw(layer, ROWS, 7, WIDTH)
    target = ops.convert_to_tensor(draw(layer, ROWS, 7, WIDTH, seed=1))
    check_gradients(layer, lambda y: ops.mean((y - target) ** 2), x)


def test_gradients_reach_every_weight_of_full_attention():
    layer = baseline(FullAttention)
    x = draw(layer, ROWS, 7, WIDTH)
    _, found = gradients(layer, lambda y: ops.mean(y**2), x)
    assert len(found) == 4
    assert all(np.abs(g).max() > 1e-5 for g in found)


@every
def test_gradients_are_the_same_by_xla(kind):
    layer = baseline(kind)
    x = draw(layer, ROWS, 7, WIDTH)

    def slope(x):
        return gradient(lambda x: ops.sum(layer(x) ** 2), (x,))

    x = ops.convert_to_tensor(x)
    close(compiled(slope)(x), traced(slope)(x), 10 * tolerance(layer))


@every
def test_any_length_in_one_model(kind):
    """TensorFlow compiles once for all lengths after the first."""
    layer = baseline(kind, dtype="float32")
    inputs = keras.Input((None, WIDTH))
    model = keras.Model(inputs, layer(inputs))
    for tokens in (3, 9):
        x = draw(layer, ROWS, tokens, WIDTH)
        want = traced(layer)(x)
        close(model.predict(x, verbose=0), want, 2e-6)


@recurrent
def test_a_long_past_stays_finite(kind):
    """Products of many decays underflow; their quotients must not."""
    layer = baseline(kind, dtype="float32", return_state=True)
    x = 10.0 * draw(layer, 1, 2000, WIDTH)
    y, state = traced(layer)(x)
    for result in keras.tree.flatten((y, state)):
        assert np.all(np.isfinite(to_numpy(result)))


@recurrent
def test_half_precision_keeps_a_precise_state(kind):
    precise = baseline(kind, dtype="float32", return_state=True)
    half = baseline(kind, dtype="mixed_bfloat16", return_state=True)
    half.set_weights(precise.get_weights())
    x = draw(precise, ROWS, 9, WIDTH)
    want, _ = traced(precise)(x)
    have, state = traced(half)(x)
    assert keras.backend.standardize_dtype(have.dtype) == "bfloat16"
    dtypes = {
        keras.backend.standardize_dtype(s.dtype)
        for s in keras.tree.flatten(state)
    }
    assert dtypes == {"float32"}
    close(ops.cast(have, "float32"), want, 0.05)


@every
def test_config_and_model_file(kind, tmp_path):
    layer = baseline(kind, dtype="float32")
    again = kind.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = keras.Input((None, WIDTH))
    model = keras.Model(inputs, TitansBlock(layer, 6)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = draw(layer, ROWS, 5, WIDTH)
    close(traced(loaded)(x), traced(model)(x), 1e-6)


@pytest.mark.parametrize(
    "kind, options, names",
    [
        (FullAttention, {"num_heads": 0}, "num_heads"),
        (FullAttention, {"head_dim": 3}, "head_dim"),
        (FullAttention, {"num_key_value_heads": 3}, "num_key_value_heads"),
        (GatedLinearRNN, {"num_heads": 5}, "num_heads=5"),
        (GatedLinearRNN, {"recurrent_dim": 0}, "recurrent_dim"),
        (GatedLinearRNN, {"kernel_size": 0}, "kernel_size"),
        (Mamba2, {"num_heads": 3}, "num_heads=3"),
        (Mamba2, {"state_dim": 0}, "state_dim"),
        (Mamba2, {"expansion": 1.5}, "expansion"),
        (GatedDelta, {"head_dim": 0}, "head_dim"),
        (GatedDelta, {"chunk_size": 0}, "chunk_size"),
    ],
)
def test_bad_options_are_named(kind, options, names):
    with pytest.raises(ValueError, match=names):
        baseline(kind, **options)


def test_full_attention_carries_no_state():
    layer = baseline(FullAttention)
    x = draw(layer, ROWS, 3, WIDTH)
    with pytest.raises(ValueError, match="no state of fixed size"):
        layer(x, return_state=True)
    with pytest.raises(ValueError, match="no state of fixed size"):
        layer(x, initial_state={})
