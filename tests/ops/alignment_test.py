"""Real tokens to the front, and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.ops import alignment
from tests.helpers import close
from tests.helpers import to_numpy


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_real_tokens_first_and_back(real):
    mask = np.array([real, [True] * 5])
    x = np.arange(20.0).reshape(2, 5, 2)
    order, slot, count = alignment.real_tokens_first(
        ops.convert_to_tensor(mask)
    )
    front = to_numpy(alignment.take_tokens(ops.convert_to_tensor(x), order))
    assert list(to_numpy(count)) == [sum(real), 5]
    for row in range(2):
        n = mask[row].sum()
        close(front[row, :n], x[row, mask[row]], 0.0)
        close(front[row, n:], x[row, ~mask[row]], 0.0)
    back = alignment.take_tokens(ops.convert_to_tensor(front), slot)
    close(to_numpy(back)[mask], x[mask], 0.0)


def test_shifted_index():
    index = alignment.shifted_index(
        ops.convert_to_tensor([0, 2], "int32"), tokens=3, slots=6
    )
    wanted = [[0, 1, 2, 3, 4, 5], [-2, -1, 0, 1, 2, 3]]
    np.testing.assert_array_equal(to_numpy(index), wanted)


def test_pad_tokens():
    x = ops.ones((2, 3, 4))
    padded = to_numpy(alignment.pad_tokens(x, 5))
    assert padded.shape == (2, 5, 4)
    assert np.all(padded[:, :3] == 1.0) and np.all(padded[:, 3:] == 0.0)
    assert alignment.pad_tokens(x, 3) is x


def test_one_token_is_known_to_be_one():
    assert alignment.is_one_token(1)
    assert not alignment.is_one_token(2)
    assert not alignment.is_one_token(ops.convert_to_tensor(1))
