"""Tokens that are not finite: found, filled, and moved out of the way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.ops import finite
from tests.helpers import close
from tests.helpers import to_numpy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e31])
def test_tokens_that_are_not_finite_in_any_tensor_are_zeros_in_all(bad):
    x, y = np.ones((2, 3, 4)), np.ones((2, 3, 1, 2))
    x[0, 1, 2] = y[1, 2, 0, 1] = bad
    wanted = np.ones((2, 3))
    wanted[0, 1] = wanted[1, 2] = 0.0
    filled, found = finite.finite_or_zero(
        [ops.convert_to_tensor(part) for part in (x, y)]
    )
    close(filled[0], wanted[..., None] * np.ones_like(x), 0.0)
    close(filled[1], wanted[..., None, None] * np.ones_like(y), 0.0)
    blank = to_numpy(finite.blank_tokens(filled[0], found))
    np.testing.assert_array_equal(np.isnan(blank[..., 0]), wanted == 0.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_large_numbers_are_finite(dtype):
    x = ops.full((1, 2, 3), 60000.0, dtype)
    _, found = finite.finite_or_zero([x])
    assert to_numpy(found.tokens).all()


@given(
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.sampled_from([None, 0, 3]),
)
def test_finite_first_and_back(kept, count):
    tokens = np.array([kept, [True] * 5])
    x = np.arange(20.0).reshape(2, 5, 2)
    missing = ops.convert_to_tensor(tokens)
    counts = None
    if count is not None:
        counts = ops.convert_to_tensor([count, 5], "int32")
    (front,), after, back = finite.finite_first(
        [ops.convert_to_tensor(x)],
        finite.Finite(missing, not tokens.all()),
        counts,
    )
    row = tokens[0]
    close(front[0], np.concatenate([x[0, row], x[0, ~row]]), 0.0)
    close(front[1], x[1], 0.0)
    close(back(front), x, 0.0)
    if count is None and row.all():
        assert after is None
    else:
        assert list(to_numpy(after)) == [row[:count].sum(), 5]
