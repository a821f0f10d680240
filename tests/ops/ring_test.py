"""The ring, against a list that loses its first entry."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.ops import ring
from tests.helpers import to_numpy


@given(
    window=st.integers(1, 5),
    read=st.lists(st.integers(0, 12), min_size=2, max_size=2),
)
def test_holds_the_last_tokens_in_their_slots(window, read):
    rows, width = len(read), 3
    stream = np.random.default_rng(0).normal(size=(rows, 20, width))
    cache = ops.zeros((rows, window, width))
    for t in range(max(read)):
        here = np.array([t < n for n in read], "int32")
        slot = np.minimum(t, read).astype("int32") % window
        token = ops.convert_to_tensor(stream[:, t : t + 1], "float32")
        count = None if here.all() else ops.convert_to_tensor(here)
        cache = ring.put(cache, token, ops.convert_to_tensor(slot), count)
    following = ops.convert_to_tensor(np.array(read, "int32") % window)
    ordered = to_numpy(ring.oldest_first(cache, following))
    for row, n in enumerate(read):
        kept = stream[row, max(0, n - window) : n]
        assert np.allclose(ordered[row, window - len(kept) :], kept)
        assert not ordered[row, : window - len(kept)].any()
    back = ring.in_slots(ops.convert_to_tensor(ordered), following, window)
    assert np.array_equal(to_numpy(back), to_numpy(cache))
