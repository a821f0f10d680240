"""Bringing each row's real tokens together, and putting results back.

Chunk borders and convolution taps count real tokens, row by row. Once every
row's real tokens stand at its front, in order, padding on either side, holes
and no padding at all are the same case.
"""

from keras import ops


def real_tokens_first(mask):
    """Where each row's real tokens are, and where they go.

    Args:
        mask: `(batch, tokens)`, boolean.

    Returns:
        `order`, `(batch, tokens)`: the tokens' indices, real ones first, both
        kinds in order; `slot`, `(batch, tokens)`: the place of each real
        token in that order; `count`, `(batch,)`: the real tokens. All int32.
    """
    real = ops.cast(mask, "int32")
    tokens = ops.shape(mask)[1]
    index = ops.arange(tokens, dtype="int32")[None, :]
    order = ops.cast(ops.argsort(index + tokens * (1 - real), axis=1), "int32")
    slot = ops.maximum(ops.cumsum(real, axis=1) - 1, 0)
    return order, slot, ops.sum(real, axis=1)


def take_tokens(x, index):
    """`x[row, index[row, t]]`.

    Args:
        x: `(batch, tokens, ...)`.
        index: `(batch, slots)`, int32.

    Returns:
        `(batch, slots, ...)`.
    """
    for _ in x.shape[2:]:
        index = index[..., None]
    return ops.take_along_axis(x, index, axis=1)


def shifted_index(phase, tokens, slots):
    """For each slot, the token that stands there after a shift to the right.

    Args:
        phase: `(batch,)`, int32: how far each row is shifted.
        tokens: How many tokens there are.
        slots: How many slots there are, at least `tokens + max(phase)`.

    Returns:
        `(batch, slots)`, int32. It is negative, or `tokens` and more, where
        no token stands.
    """
    return ops.arange(slots, dtype="int32")[None, :] - phase[:, None]


def is_one_token(length):
    """Whether a sequence is one token, and is known to be.

    A length that is known at run time only is no number yet.
    """
    return isinstance(length, int) and length == 1


def pad_tokens(x, slots):
    """Zeros after the last token, up to `slots` of them."""
    missing = slots - ops.shape(x)[1]
    if isinstance(missing, int) and missing == 0:
        return x
    widths = [(0, 0), (0, missing)] + [(0, 0)] * (len(x.shape) - 2)
    return ops.pad(x, widths)


def last_tokens(x, earlier, count=None):
    """The last tokens of all, as many as `earlier` has: the next `earlier`.

    Args:
        x: `(batch, tokens, ...)`, each row's real tokens first.
        earlier: `(batch, kept, ...)`, those before them.
        count: `(batch,)`: each row's real tokens, or None if all are.

    Returns:
        `(batch, kept, ...)`.
    """
    kept = earlier.shape[1]
    x = ops.concatenate([earlier, x], axis=1)
    if count is None:
        return x[:, ops.shape(x)[1] - kept :]
    index = count[:, None] + ops.arange(kept, dtype="int32")[None, :]
    return take_tokens(x, index)
