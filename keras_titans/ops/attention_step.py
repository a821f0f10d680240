"""Attention from one token to a cache, as generation does it.

What `keras_titans.ops.attention` computes for one token. There keys are turned
to their places and put in a row behind the cache; here the token's query is
turned to each place instead, and the cache is read where it lies.

Legend: `B` batch, `w` window, `H` heads, `G` heads of keys and values, `K` keys
that each token brings, `P` tokens of the prefix, `d` head width.
"""

import keras
from keras import ops

from keras_titans.ops.rotary import rotate_by_distance
from keras_titans.ops.rotary import still


def attention_step(query, ring, slot, reach, prefix=None):
    """Attend from one token to itself and to those shortly before it.

    Args:
        query: `(B, 1, H, d)`.
        ring: `Pairs` of `w` tokens, the token's own among them, in the order
            of `keras_titans.ops.ring`.
        slot: `(B, 1)`, int32: where in the ring the token's own are.
        reach: `(B, 1)`, int32: how many tokens back it sees.
        prefix: `Pairs` of `P` tokens, `(1 or B, P, 1, G, d)`, or None.

    Returns:
        `(B, 1, H, d)`.
    """
    heads, width = query.shape[2:]
    window = ring.key.shape[1]
    distance = (slot - ops.arange(window, dtype="int32")[None, :]) % window
    turned = rotate_by_distance(query, distance, window)
    scores = [_scores(turned, ring.key, distance <= reach)]
    values = [ring.value]
    if prefix is not None:
        scores.append(_scores(query, still(prefix.key)))
        shape = (ops.shape(query)[0], *prefix.value.shape[1:])
        values.append(ops.broadcast_to(prefix.value, shape))
    shares = ops.softmax(ops.concatenate(scores, axis=1), axis=1)
    y, first = 0, 0
    for score, value in zip(scores, values, strict=True):
        share = shares[:, first : first + score.shape[1]]
        y += _weighted(value, ops.cast(share, value.dtype))
        first += score.shape[1]
    return ops.reshape(y, (-1, 1, heads, width))


def _scores(query, key, seen=None):
    """`(B, T K, G, H / G)`, where `query` has one token, or `T` as `key`.

    Args:
        seen: `(B, T)`: whether a key is seen, or None if all are.
    """
    _, tokens, each, groups, width = key.shape
    shared = query.shape[2] // groups
    wide = keras.backend.result_type(query.dtype, "float32")
    query = ops.reshape(query, (-1, query.shape[1], 1, groups, shared, width))
    products = ops.cast(query, wide) * ops.cast(key[..., None, :], wide)
    # A product with a column, because XLA's sums of products are slow.
    column = ops.full((width, 1), width**-0.5, wide)
    scores = ops.squeeze(ops.matmul(products, column), -1)
    if seen is not None:
        scores = ops.where(seen[..., None, None, None], scores, -1e30)
    return ops.reshape(scores, (-1, tokens * each, groups, shared))


def _weighted(value, share):
    """`(B, G, H / G, d)`: the sum of the values by their shares."""
    _, tokens, each, groups, width = value.shape
    value = ops.reshape(value, (-1, tokens * each, groups, width))
    return ops.einsum("bsgr,bsgd->bgrd", share, value)
