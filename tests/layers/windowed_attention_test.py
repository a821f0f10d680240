"""Windowed and segmented attention against the loop over tokens."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_titans.layers import WindowedAttention
from tests.blocks_reference import attention_row
from tests.helpers import close
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, WIDTH = 2, 8


def attention(num_heads=2, window_size=3, **options):
    layer = WindowedAttention(
        num_heads, window_size, dtype="float64", **options
    )
    layer.build((None, None, WIDTH))
    return randomized(layer)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def reference(layer, x, prefix=None, memory_tokens=None):
    return np.stack(
        [
            attention_row(
                row,
                layer_weights(layer),
                layer.num_heads,
                layer.window_size,
                layer.segmented,
                prefix,
                None if memory_tokens is None else memory_tokens[i],
            )
            for i, row in enumerate(x)
        ]
    )


@given(
    tokens=st.integers(1, 11),
    window=st.integers(1, 5),
    segmented=st.booleans(),
    persistent=st.integers(0, 2),
    with_memory_tokens=st.booleans(),
    groups=st.sampled_from([1, 2, 4]),
)
def test_equals_the_loop(
    tokens, window, segmented, persistent, with_memory_tokens, groups
):
    layer = attention(
        4,
        window,
        head_dim=6,
        num_key_value_heads=groups,
        segmented=segmented,
        with_memory_tokens=with_memory_tokens,
    )
    x = draw(ROWS, tokens, WIDTH)
    sides = {}
    if persistent:
        sides["prefix"] = draw(persistent, WIDTH, seed=1)
    if with_memory_tokens:
        sides["memory_tokens"] = draw(ROWS, tokens, WIDTH, seed=2)
    have = traced(layer)(x, **sides)
    close(have, reference(layer, x, **sides), 1e-11)


OPTIONS = {
    "window": {},
    "segments": {"segmented": True},
    "memory tokens": {"segmented": True, "with_memory_tokens": True},
    "grouped": {"num_key_value_heads": 1},
}


def sides_of(layer, x):
    sides = {"prefix": draw(2, WIDTH, seed=1)}
    if layer.with_memory_tokens:
        sides["memory_tokens"] = keras.ops.roll(x, 1, axis=-1)
    return sides


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cuts", [(3, 6), (1, 2), (4,), tuple(range(1, 11))])
def test_pieces_equal_the_whole(cuts, options):
    layer = attention(return_state=True, **options)
    x = draw(ROWS, 11, WIDTH)
    run = traced(
        lambda x, state: layer(x, initial_state=state, **sides_of(layer, x))
    )
    state, parts = layer.get_initial_state(ROWS), []
    whole, last = run(x, state)
    for start, end in zip((0, *cuts), (*cuts, 11)):
        y, state = run(x[:, start:end], state)
        parts.append(to_numpy(y))
    close(np.concatenate(parts, axis=1), whole, 1e-12)
    close(state, last, 1e-12)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_masked_tokens_are_as_if_not_there(options):
    layer = attention(return_state=True, **options)
    mask = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], bool)
    x = draw(ROWS, 7, WIDTH)
    have, state = layer(x, mask=mask, **sides_of(layer, x))
    more, _ = layer(x, initial_state=state, **sides_of(layer, x))
    for row in range(ROWS):
        real = x[row : row + 1, mask[row]]
        want, alone = layer(real, **sides_of(layer, real))
        close(to_numpy(have)[row, mask[row]], to_numpy(want)[0], 1e-12)
        next_ = x[row : row + 1]
        want, _ = layer(next_, initial_state=alone, **sides_of(layer, next_))
        close(to_numpy(more)[row], to_numpy(want)[0], 1e-12)


def test_nothing_outside_the_window_is_seen():
    layer = traced(attention(2, 4))
    x = draw(1, 12, WIDTH)
    start = to_numpy(layer(x))
    for token in range(12):
        changed = x.copy()
        changed[0, token] += 1.0
        by = np.abs(to_numpy(layer(changed)) - start).max(axis=-1)[0]
        seen = slice(token, token + 4)
        assert np.all(by[seen] > 1e-9)
        by[seen] = 0.0
        assert np.all(by == 0.0)


def test_far_positions_are_as_sharp_as_near_ones():
    """float32 angles of absolute positions would be off by now."""
    layer = WindowedAttention(2, 4, return_state=True)
    x = draw(1, 8, WIDTH).astype("float32")
    want, state = layer(np.tile(x, (1, 2, 1)))
    for _ in range(5):
        have, state = layer(np.tile(x, (1, 500, 1)), initial_state=state)
    close(to_numpy(have)[:, -8:], to_numpy(want)[:, -8:], 1e-6)


def test_stateful_and_half_precision():
    layer = WindowedAttention(2, 4, stateful=True, dtype="mixed_bfloat16")
    layer.build((ROWS, None, WIDTH))
    x = draw(ROWS, 3, WIDTH).astype("float32")
    first, second = layer(x), layer(x)
    assert keras.backend.standardize_dtype(first.dtype) == "bfloat16"
    assert list(to_numpy(layer.state["seen"])) == [6, 6]  # full, and 2 on
    assert np.abs(to_numpy(second) - to_numpy(first)).max() > 1e-2


@pytest.mark.parametrize(
    "options, names",
    [
        ({"num_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_heads": 3}, "num_heads=3"),
    ],
)
def test_heads_that_do_not_fit_are_named(options, names):
    with pytest.raises(ValueError, match=names):
        attention(**options)


def test_bad_calls_are_named():
    layer = attention(return_state=True)
    other = attention(window_size=4, return_state=True)
    x = draw(ROWS, 5, WIDTH)
    with pytest.raises(ValueError, match="prefix"):
        layer(x, prefix=draw(2, WIDTH + 1))
    with pytest.raises(ValueError, match="memory_tokens"):
        layer(x, memory_tokens=x)
    with pytest.raises(ValueError, match="initial_state"):
        layer(x, initial_state=other.get_initial_state(ROWS))
    wants = attention(with_memory_tokens=True)
    with pytest.raises(ValueError, match="memory_tokens"):
        wants(x)
    with pytest.raises(ValueError, match="memory_tokens"):
        wants(x, memory_tokens=x[:, :2])
