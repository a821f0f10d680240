"""A cache of the last `w` tokens in which none ever moves.

The token that is the `i`-th of its row lies in slot `i % w`, where the one
lay that is too old now. So a new token is one write, whatever the window.
"""

from keras import ops

from keras_titans.ops.alignment import take_tokens


def oldest_first(ring, following):
    """The cached tokens in the order in which they were read.

    Args:
        ring: `(batch, w, ...)`.
        following: `(batch,)`, int32: the slot of the token that comes next.

    Returns:
        `(batch, w, ...)`.
    """
    window = ring.shape[1]
    return take_tokens(ring, (_slots(window) + following[:, None]) % window)


def in_slots(x, following, window):
    """The inverse of `oldest_first`, of `window` tokens."""
    return take_tokens(x, (_slots(window) - following[:, None]) % window)


def put(ring, token, slot, count=None):
    """The ring once it holds one more token.

    Args:
        ring: `(batch, w, ...)`.
        token: `(batch, 1, ...)`.
        slot: `(batch,)`, int32.
        count: `(batch,)`, int32: 0 in rows that have no token, or None.

    Returns:
        `(batch, w, ...)`.
    """
    here = _slots(ring.shape[1]) == slot[:, None]
    if count is not None:
        here = ops.logical_and(here, count[:, None] > 0)
    rest = [1] * (len(ring.shape) - 2)
    here = ops.reshape(here, (-1, ring.shape[1], *rest))
    return ops.where(here, token, ring)


def _slots(window):
    return ops.arange(window, dtype="int32")[None, :]
