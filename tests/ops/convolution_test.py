"""The causal convolution against loops, whole and in pieces."""

import numpy as np
import pytest
from keras import ops

from keras_titans.ops.alignment import last_tokens
from keras_titans.ops.convolution import causal_convolution
from tests.helpers import close
from tests.helpers import same
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)
TAPS, TOKENS = 3, 7
X = RNG.normal(size=(2, TOKENS, 4))
KERNEL = RNG.normal(size=(TAPS, 4))
EARLIER = RNG.normal(size=(2, TAPS - 1, 4))


def convolved(x, earlier):
    return to_numpy(
        causal_convolution(
            *map(ops.convert_to_tensor, (x, KERNEL)),
            ops.convert_to_tensor(earlier),
        )
    )


def test_equals_the_sum():
    have = convolved(X, EARLIER)
    seen = np.concatenate([EARLIER, X], axis=1)
    for row, t, c in np.ndindex(2, TOKENS, 4):
        wanted = sum(KERNEL[k, c] * seen[row, t + k, c] for k in range(TAPS))
        assert abs(have[row, t, c] - wanted) < 1e-12


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_pieces_equal_the_whole(cut):
    first, second = X[:, :cut], X[:, cut:]
    tail = to_numpy(last_tokens(first, EARLIER))
    pieces = [convolved(first, EARLIER), convolved(second, tail)]
    close(np.concatenate(pieces, axis=1), convolved(X, EARLIER), 1e-12)


def test_last_tokens_counts_real_tokens():
    count = ops.convert_to_tensor([0, 1], "int32")
    tail = to_numpy(
        last_tokens(*map(ops.convert_to_tensor, (X, EARLIER)), count)
    )
    same(tail[0], EARLIER[0])
    same(tail[1], np.stack([EARLIER[1, 1], X[1, 0]]))
