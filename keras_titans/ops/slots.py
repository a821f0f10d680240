"""A bank of slots: read by attention, written gradually, token by token.

The values `V` of the slots follow, for each slot `s`, with the attention
`w_t[s]` that token `t`'s key pays to it, the token's rate `r_t` and value
`v_t`,

    b_t[s] = r_t w_t[s]
    V_t[s] = (1 - b_t[s]) V_{t-1}[s] + b_t[s] v_t
    y_t    = sum_s a_t[s] V_t[s]

where `a_t` is the attention of its query. As in `keras_titans.ops.chunk` a
chunk of tokens is done in matrix products:

    y_t = sum_s a_t[s] A_t[s] V_0[s] + sum_{i<=t} P[t, i] v_i
    P[t, i] = sum_s a_t[s] b_i[s] A_t[s] / A_i[s]

with `A_t = prod_{j<=t} (1 - b_j)`.

Legend: `B` batch, `H` heads, `N` tokens, `b` tokens of a chunk, `S` slots, `k`
slots that a token attends to, `d` head width.
"""

import functools

import numpy as np
from keras import ops

from keras_titans import backend
from keras_titans.ops.alignment import pad_tokens
from keras_titans.ops.rows import shared_product
from keras_titans.ops.sequence import from_chunks
from keras_titans.ops.sequence import to_chunks

# 1 / A grows by at most 1 / (1 - MAX_RATE) a token. Over a chunk it must stay
# a float32 number: 20^16 = 7e20.
CHUNK_SIZE = 16
MAX_RATE = 0.95


def recall_and_store(
    query,
    key,
    value,
    rate,
    keys,
    values,
    top_k=None,
    surprise=False,
    remat=False,
):
    """Write every token into the slots and read them at every token.

    Args:
        query, key: `(B, N, H, d)`. Their products with `keys` are the scores.
        value: `(B, N, H, d)`.
        rate: `(B, N, H)`, at most `MAX_RATE`; 0 for a token that is not
            there.
        keys: `(H, S, d)`.
        values: `(B, H, S, d)`, the slots' before the first token.
        top_k: `k`, or None for all slots.
        surprise: Whether the surprises are asked for.
        remat: Whether to recompute, and not keep, what the backward pass
            needs of each chunk.

    Returns:
        What was read, `(B, N, H, d)`; the surprises `(B, N, H)`, how far each
        value was from what its key found just before, or None; the slots'
        values after the last token.
    """
    length = ops.shape(query)[1]
    size = CHUNK_SIZE
    if isinstance(length, int):
        size = min(size, length)
    slots = -(-length // size) * size
    chunked = [
        to_chunks(pad_tokens(x, slots), size) for x in (query, key, value, rate)
    ]
    step = functools.partial(_chunk, top_k=top_k, surprise=surprise)
    values, (read, *norms) = backend.scan(step, values, chunked, keys, remat)
    joined = lambda x: from_chunks(x)[:, :length]
    if surprise:
        return joined(read), joined(norms[0][..., None])[..., 0], values
    return joined(read), None, values


def recall(query, keys, values, top_k=None):
    """What the slots hold for each query `(B, N, H, d)`; writes nothing."""
    share, index = _attend(ops.transpose(query, (0, 2, 1, 3)), keys, top_k)
    if index is None:
        read = ops.matmul(share, values)
    else:
        read = ops.sum(share[..., None] * _taken(values, index), axis=-2)
    return ops.transpose(read, (0, 2, 1, 3))


def _chunk(values, chunk, keys, top_k, surprise):
    query, key, value, rate = chunk
    share, place = _attend(query, keys, top_k)
    found, target = _attend(key, keys, top_k)
    written = rate[..., None] * found
    if top_k is None:
        reads = [_read_all(share, written, value, values)]
        if surprise:
            before = _read_all(found, written, value, values, strictly=True)
        values = _store_all(written, value, values)
    else:
        reads = [_read_few(share, place, written, target, value, values)]
        if surprise:
            before = _read_few(
                found, target, written, target, value, values, strictly=True
            )
        values = _store_few(written, target, value, values)
    if surprise:
        reads.append(ops.sqrt(ops.sum(ops.square(value - before), -1) + 1e-12))
    return values, tuple(reads)


def _attend(x, keys, top_k):
    """How much each token attends to which slots: `(B, H, b, S or k)`."""
    scores = shared_product(x, ops.transpose(keys, (0, 2, 1)))
    if top_k is None:
        return ops.softmax(scores), None
    scores, index = ops.top_k(scores, top_k, sorted=False)
    return ops.softmax(scores), ops.cast(index, "int32")


def _causal(size, strictly):
    return np.tril(np.ones((size, size), bool), -1 if strictly else 0)


def _read_all(share, written, value, values, strictly=False):
    log_kept = ops.log1p(-written)
    after = ops.cumsum(log_kept, axis=-2)
    seen = after - log_kept if strictly else after
    share = share * ops.exp(seen)
    match = ops.matmul(share, ops.swapaxes(written * ops.exp(-after), -1, -2))
    match = ops.where(_causal(match.shape[-1], strictly), match, 0.0)
    return ops.matmul(share, values) + ops.matmul(match, value)


def _store_all(written, value, values):
    after = ops.cumsum(ops.log1p(-written), axis=-2)
    whole = after[..., -1:, :]
    kept = ops.swapaxes(ops.exp(whole), -1, -2)
    written = ops.swapaxes(written * ops.exp(whole - after), -1, -2)
    return kept * values + ops.matmul(written, value)


def _taken(values, index):
    """`(B, H, b, k, d)`: the values of the slots that `index` names."""
    rows, heads, size, k = ops.shape(index)
    flat = ops.reshape(index, (rows, heads, size * k, 1))
    taken = ops.take_along_axis(values, flat, axis=2)
    return ops.reshape(taken, (rows, heads, size, k, values.shape[-1]))


def _sums_at(place, target, *weights):
    """For each slot at `place`, what each token of `target` adds to it.

    Returns:
        `(B, H, b, k, b)` for each of the `weights`, `(B, H, b, k)`.
    """
    same = place[..., None, None] == target[:, :, None, None]
    return [
        ops.sum(ops.where(same, w[:, :, None, None], 0.0), axis=-1)
        for w in weights
    ]


def _read_few(share, place, written, target, value, values, strictly=False):
    kept, amount = _sums_at(place, target, ops.log1p(-written), written)
    causal = _causal(kept.shape[-1], strictly)[:, None, :]
    kept = ops.where(causal, kept, 0.0)
    upto = ops.cumsum(kept, axis=-1)
    whole = upto[..., -1:]
    match = ops.where(causal, amount * ops.exp(whole - upto), 0.0)
    match = ops.sum(share[..., None] * match, axis=-2)
    share = share[..., None] * ops.exp(whole)
    old = ops.sum(share * _taken(values, place), axis=-2)
    return old + ops.matmul(match, value)


def _store_few(written, target, value, values):
    log_kept = ops.log1p(-written)
    (kept,) = _sums_at(target, target, log_kept)
    later = np.triu(np.ones((kept.shape[-1],) * 2, bool), 1)[:, None, :]
    after = ops.sum(ops.where(later, kept, 0.0), axis=-1)
    amount = written * ops.exp(after)
    added = amount[..., None] * value[..., None, :]
    rows, heads, slots, width = ops.shape(values)
    first = ops.arange(rows * heads, dtype="int32") * slots
    index = ops.reshape(target, (rows * heads, -1)) + first[:, None]
    index = ops.reshape(index, (-1, 1))
    flat = ops.reshape(values, (rows * heads * slots, width))
    log_kept = ops.scatter_update(
        ops.zeros_like(flat[:, 0]),
        index,
        ops.reshape(log_kept, (-1,)),
        reduction="add",
    )
    flat = ops.scatter_update(
        flat * ops.exp(log_kept)[:, None],
        index,
        ops.reshape(added, (-1, width)),
        reduction="add",
    )
    return ops.reshape(flat, (rows, heads, slots, width))
