"""Where a batch of long sequences is cut."""

from keras import ops
from keras import tree


class SegmentCut:
    """A batch's inputs, targets and weights, a segment at a time.

    `N` tokens are `count` segments of `size` tokens, of which the last may be
    shorter, in `groups` groups of `per_group` segments, of which the last may
    have fewer. Each is a number, or a tensor where the engine does not know
    the length while it traces.

    Args:
        x: Flat list of the model's inputs.
        is_sequence: For each input, whether its axis 1 is the tokens'.
        y, sample_weight: As `fit` takes them; None for none.
        size: Tokens of a segment.
        per_group: Segments of a group.
    """

    def __init__(self, x, is_sequence, y, sample_weight, size, per_group):
        tokens = next(v for v, cut in zip(x, is_sequence) if cut)
        self.rows, self.length = ops.shape(tokens)[:2]
        self.x, self.is_sequence = x, is_sequence
        self.y, self.sample_weight = y, sample_weight
        self.size = size
        self.count = -(-self.length // size)
        self.per_group = per_group
        self.groups = -(-self.count // per_group)
        self.last = self.length - (self.count - 1) * size
        # Segments of the last group.
        self.remaining = self.count - (self.groups - 1) * per_group
        self._check()

    @property
    def known(self):
        """Whether the length is a number."""
        return isinstance(self.length, int)

    @property
    def even(self):
        """Whether all groups are known to be alike."""
        return (
            self.known
            and self.last == self.size
            and self.remaining == self.per_group
        )

    def piece(self, i, length):
        """`(x, y, sample_weight)` of the first `length` tokens of segment `i`.

        The inputs as a flat list.
        """
        index = i * self.size + ops.arange(length, dtype="int32")
        take = lambda v: ops.take(v, index, axis=1)
        x = [
            take(v) if cut else v
            for v, cut in zip(self.x, self.is_sequence, strict=True)
        ]
        y = tree.map_structure(lambda v: None if v is None else take(v), self.y)
        weight = tree.map_structure(
            lambda v: take(v) if self.has_tokens(v) else v, self.sample_weight
        )
        return x, y, weight

    def has_tokens(self, weight):
        """Whether weights have an entry for each token."""
        if weight is None or len(weight.shape) < 2:
            return False
        return weight.shape[1] != 1 or self.length == 1

    def _check(self):
        for name, values in (("y", self.y), ("x", self._sequences())):
            for v in tree.flatten(values):
                if v is None:
                    continue
                fits = len(v.shape) > 1 and (
                    not self.known
                    or v.shape[1] is None
                    or v.shape[1] == self.length
                )
                if not fits:
                    raise ValueError(
                        f"Argument `{name}` must have an entry for each of "
                        f"the {self.length} tokens, (batch, length, ...). "
                        f"Received: shape {tuple(v.shape)}."
                    )

    def _sequences(self):
        return [v for v, cut in zip(self.x, self.is_sequence) if cut]
