"""Cutting a sequence into segments, wherever the last call has stopped."""

from keras import ops

from keras_titans.ops.alignment import pad_tokens
from keras_titans.ops.alignment import take_tokens


class Segments:
    """The pieces of a sequence that lie in one segment each.

    Rows may stand at different places in their segments and have different
    numbers of tokens. Each row's first piece goes on with the segment that
    it is in; every later one begins its own. The tokens of a piece are at its
    front.

    Args:
        length: Tokens, `N`.
        size: Tokens of a segment, `C`.
        phase: `(batch,)`, int32: tokens that each row has already seen of its
            first segment, or None for none.
        count: `(batch,)`, int32: each row's real tokens. Needed with `phase`.
    """

    def __init__(self, length, size, phase=None, count=None):
        self.length, self.size, self.phase, self.count = (
            length,
            size,
            phase,
            count,
        )
        room = length if phase is None else length + size - 1
        self.pieces = -(-room // size)

    def cut(self, x):
        """`(batch, N, ...)` to `(pieces, batch, C, ...)`."""
        slots = self.pieces * self.size
        if self.phase is None:
            x = pad_tokens(x, slots)
        else:
            slot = ops.arange(slots, dtype="int32")[None, :]
            late = ops.cast(slot >= self.size, "int32")
            index = slot - late * self.phase[:, None]
            x = take_tokens(x, ops.minimum(index, self.length - 1))
        rows = ops.shape(x)[0]
        x = ops.reshape(x, (rows, self.pieces, self.size, *x.shape[2:]))
        return ops.transpose(x, (1, 0, *range(2, len(x.shape))))

    def counts(self):
        """`(pieces, batch)`, int32: the real tokens of each piece."""
        first = ops.minimum(self.count, self.size - self.phase)
        start = ops.arange(self.pieces, dtype="int32")[:, None] * self.size
        later = self.count[None, :] - (start - self.phase[None, :])
        later = ops.clip(later, 0, self.size)
        return ops.where(start == 0, first[None, :], later)

    def joined(self, y):
        """`(pieces, batch, C, ...)` to `(batch, N, ...)`."""
        y = ops.transpose(y, (1, 0, *range(2, len(y.shape))))
        rows = ops.shape(y)[0]
        y = ops.reshape(y, (rows, self.pieces * self.size, *y.shape[3:]))
        if self.phase is None:
            return y[:, : self.length]
        token = ops.arange(self.length, dtype="int32")[None, :]
        place = token + self.phase[:, None]
        return take_tokens(y, ops.where(place < self.size, token, place))
