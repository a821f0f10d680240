"""Causal attention over the last few tokens, at a cost linear in the length.

The sequence is cut into blocks as long as the window, and each block attends
to itself and to the one before it. So no token ever meets a key outside these
two, and what would be an N x N mask is N / w small ones.

Legend: `B` batch, `N` tokens, `w` window, `b` tokens of a block, `n` blocks,
`H` heads, `G` heads of keys and values, `K` keys that each token brings, `P`
tokens of the prefix, `S` keys that a block sees, `d` head width.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_titans.ops.alignment import pad_tokens
from keras_titans.ops.rotary import rotate
from keras_titans.ops.rotary import still


class Pairs(NamedTuple):
    """Keys and values, `(B, tokens, K, G, d)` each."""

    key: Any
    value: Any


def windowed_attention(query, pairs, reach, window, earlier=None, prefix=None):
    """Attend from each token to itself and to those shortly before it.

    Args:
        query: `(B, N, H, d)`.
        pairs: `Pairs` of `N` tokens: what the tokens themselves bring.
        reach: `(B, N)`, int32: how many tokens back each token sees, at most
            `w - 1`, and no further than there are.
        window: `w`.
        earlier: `Pairs` of the `w` tokens before the first, the oldest
            first, or None where no token reaches back so far.
        prefix: `Pairs` of `P` tokens, `(1 or B, P, 1, G, d)`, that every
            token sees and that stand nowhere, or None.

    Returns:
        `(B, N, H, d)`.
    """
    rows, length, heads, width = ops.shape(query)
    short = isinstance(length, int) and length <= window
    size = length if short else window
    slots = -(-length // size) * size
    back = 0 if short and earlier is None else window

    def blocks(x, size):
        """`(B, n size, ...)` to `(B n, size, ...)`."""
        count = ops.shape(x)[1] // size
        return ops.reshape(x, (rows * count, size, *x.shape[2:]))

    def seen(own, before):
        """`(B n, S, K, G, d)`: each block, behind the one before it."""
        own = pad_tokens(own, slots)
        if not back:
            return own
        if before is None:
            before = ops.zeros_like(own[:, :window])
        own = ops.concatenate([before, own], axis=1)
        return ops.concatenate(
            [
                blocks(own[:, : slots + window - size], window),
                blocks(own[:, window:], size),
            ],
            axis=1,
        )

    query = blocks(pad_tokens(query, slots), size)
    query = rotate(query, np.arange(back, back + size))
    key = seen(pairs.key, earlier and earlier.key)
    key = _side_by_side(key, lambda x: rotate(x, np.arange(back + size)))
    value = _side_by_side(seen(pairs.value, earlier and earlier.value))
    reach = blocks(pad_tokens(reach, slots), size)
    mask = _mask(reach, back, size, pairs.key.shape[2])
    if prefix is not None:
        key = _behind(still(prefix.key), key, rows)
        value = _behind(prefix.value, value, rows)
        # ONNX pads no booleans.
        first = ops.repeat(
            ops.ones_like(mask[..., :1]), prefix.key.shape[1], axis=-1
        )
        mask = ops.concatenate([first, mask], axis=-1)
    y = _attend(query, key, value, mask)
    return ops.reshape(y, (rows, slots, heads, width))[:, :length]


def _attend(query, key, value, mask):
    """`ops.dot_product_attention`, also for shared heads and in float64."""
    # Not every engine shares one head among all.
    shared = query.shape[2] // key.shape[2]
    if shared > 1:
        key, value = (ops.repeat(x, shared, axis=2) for x in (key, value))
    if keras.backend.standardize_dtype(query.dtype) != "float64":
        return ops.dot_product_attention(query, key, value, mask=mask)
    # JAX's attention computes in float32 whatever it is handed.
    scores = ops.einsum("bthd,bshd->bhts", query, key)
    scores = scores / query.shape[-1] ** 0.5
    share = ops.softmax(ops.where(mask, scores, -1e30), axis=-1)
    return ops.einsum("bhts,bshd->bthd", share, value)


def _side_by_side(x, turn=lambda x: x):
    """`(B, S, K, G, d)` to `(B, S K, G, d)`."""
    rows, tokens, each, heads, width = ops.shape(x)
    x = turn(ops.reshape(x, (rows, tokens, each * heads, width)))
    return ops.reshape(x, (rows, tokens * each, heads, width))


def _behind(prefix, x, rows):
    """Each row's blocks, after its prefix or the one for all rows."""
    prefix = ops.squeeze(prefix, 2)[:, None]
    blocks = ops.shape(x)[0] // rows
    rest = prefix.shape[2:]
    prefix = ops.broadcast_to(prefix, (rows, blocks, *rest))
    prefix = ops.reshape(prefix, (rows * blocks, *rest))
    return ops.concatenate([ops.cast(prefix, x.dtype), x], axis=1)


def _mask(reach, back, size, each):
    """`(B n, 1, b, S K)`: which keys each token of a block sees."""
    offset = np.arange(back, back + size)[:, None] - np.arange(back + size)
    offset = np.repeat(offset, each, axis=1)[None, None]
    offset = ops.convert_to_tensor(offset, "int32")
    reach = reach[:, None, :, None]
    return ops.logical_and(offset >= 0, offset <= reach)
