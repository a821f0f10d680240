"""Rotary positions, for distances that a window or a segment bounds.

Only the offset between two tokens counts, and inside a window it is small. So
positions are counted from the window's edge, not from the sequence's start:
the angles are constants, and as sharp after millions of tokens as after ten.
"""

import numpy as np
from keras import ops


def rotated_width(head_dim):
    """How many of a head's channels turn: half, in pairs.

    The other half carries no position. There live the keys of a prefix that
    stands nowhere, and matches of content whatever the distance.
    """
    return min(2 * -(-head_dim // 4), head_dim // 2 * 2)


def rotate(x, positions, base=10_000.0):
    """Turn the first channels of each head by angles that grow with position.

    Args:
        x: `(batch, tokens, heads, head_dim)`.
        positions: `(tokens,)`, NumPy integers, from the window's edge.
        base: The longest wavelength, in units of 2 pi tokens.

    Returns:
        As `x`. The product of a query and a key so turned depends on the
        difference of their positions alone.
    """
    half = rotated_width(x.shape[-1]) // 2
    if half == 0:
        return x
    cosine, sine = (
        ops.convert_to_tensor(f(_angles(positions, half, base)), x.dtype)
        for f in (np.cos, np.sin)
    )
    return _turned(x, cosine[:, None, :], sine[:, None, :])


def rotate_by_distance(x, distance, longest, base=10_000.0):
    """One token's heads as keys see them that lie some tokens back.

    Args:
        x: `(batch, 1, heads, head_dim)`.
        distance: `(batch, tokens)`, int32, below `longest`.
        longest: A whole number.
        base: As in `rotate`.

    Returns:
        `(batch, tokens, heads, head_dim)`. The product with a key that is not
        turned is that of both turned to their positions.
    """
    shape = (*ops.shape(distance), *x.shape[2:])
    half = rotated_width(x.shape[-1]) // 2
    if half == 0:
        return ops.broadcast_to(x, shape)
    angles = _angles(np.arange(longest), half, base)
    cosine, sine = (
        ops.take(ops.convert_to_tensor(f(angles), x.dtype), distance, axis=0)
        for f in (np.cos, np.sin)
    )
    x = ops.broadcast_to(x, shape)
    return _turned(x, cosine[:, :, None, :], sine[:, :, None, :])


def _angles(positions, half, base):
    return np.outer(positions, base ** -(np.arange(half) / half))


def _turned(x, cosine, sine):
    """The pairs of the first channels, turned."""
    half = cosine.shape[-1]
    one, other, still = (
        x[..., :half],
        x[..., half : 2 * half],
        x[..., 2 * half :],
    )
    return ops.concatenate(
        [one * cosine - other * sine, one * sine + other * cosine, still],
        axis=-1,
    )


def still(x):
    """`x` with 0 in the channels that turn: a key that stands nowhere."""
    turning = np.arange(x.shape[-1]) < rotated_width(x.shape[-1])
    return ops.where(turning, ops.zeros_like(x), x)
