"""Cut by rows at different places, worked on piece by piece, joined again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.ops.segments import Segments
from tests.helpers import same
from tests.helpers import to_numpy


@given(length=st.integers(1, 12), size=st.integers(1, 5), data=st.data())
def test_pieces_lie_in_one_segment_each(length, size, data):
    rows = 3
    draw = lambda most: np.array(
        [data.draw(st.integers(0, most)) for _ in range(rows)], "int32"
    )
    phase, count = draw(size - 1), draw(length)
    x = np.arange(rows * length).reshape(rows, length, 1)
    segments = Segments(
        length, size, *map(ops.convert_to_tensor, (phase, count))
    )
    pieces, counts = map(to_numpy, (segments.cut(x), segments.counts()))
    joined = to_numpy(segments.joined(pieces))
    for row in range(rows):
        place = phase[row]
        found = []
        for piece, real in zip(pieces[:, row, :, 0], counts[:, row]):
            assert 0 <= real <= size - place
            if len(found) < count[row]:
                assert real == min(size - place, count[row] - len(found))
            found += list(piece[:real])
            place = 0
        assert found == list(x[row, : count[row], 0])
        same(joined[row, : count[row]], x[row, : count[row]])


@given(length=st.integers(1, 12), size=st.integers(1, 5))
def test_whole_segments(length, size):
    x = np.arange(2 * length * 3).reshape(2, length, 3)
    segments = Segments(length, size)
    pieces = segments.cut(x)
    assert tuple(pieces.shape) == (-(-length // size), 2, size, 3)
    same(segments.joined(pieces), x)
