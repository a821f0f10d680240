"""A sequence through the memory: cut into chunks, scanned, put together.

Legend: `B` batch, `H` heads, `N` tokens, `b` chunk size, `n` chunks, `d` head
width.
"""

import functools
from typing import Any, NamedTuple

from keras import ops

from keras_titans import backend
from keras_titans.ops import alignment
from keras_titans.ops.chunk import Chunk
from keras_titans.ops.chunk import Memory
from keras_titans.ops.chunk import update_and_read
from keras_titans.ops.decay import chunk_decay
from keras_titans.ops.token import memorize_one


class Tokens(NamedTuple):
    """What the memory sees of a sequence, each row's real tokens first.

    Attributes:
        query, key, value: `(B, N, H, d)`.
        learning_rate: `theta`, `(B, N, H)`.
        log_momentum: `log(eta)`, likewise, or None for no momentum.
        log_retention: `log(1 - alpha)`, likewise, or None for no forgetting.
    """

    query: Any
    key: Any
    value: Any
    learning_rate: Any
    log_momentum: Any
    log_retention: Any


def memorize(
    tokens,
    memory,
    shared,
    recipe,
    count=None,
    phase=None,
    return_surprise=False,
    remat=False,
):
    """Write every token into the memory and read it at every token.

    Args:
        tokens: A `Tokens`.
        memory: The `Memory` to start from. With `anchor=()` it starts a
            chunk, and what is returned cannot be continued inside one.
        shared: A `Shared`.
        recipe: A `Recipe`.
        count: `(B,)`, int32: each row's real tokens, or None if all are.
        phase: `(B,)`, int32: how many tokens of the current chunk each row
            has already seen, or None for none.
        return_surprise: Whether the surprises' norms are asked for.
        remat: Whether to recompute, and not keep, what the backward pass
            needs of each chunk.

    Returns:
        What was read, `(B, N, H, d)`; the norms of the surprises,
        `(B, N, H)`, or None; the `Memory` after the last token.
    """
    length = ops.shape(tokens.query)[1]
    one = alignment.is_one_token(length)
    if one and memory.anchor and phase is not None:
        return memorize_one(
            tokens, memory, shared, recipe, count, phase, return_surprise
        )
    size, slots, shift = _layout(length, recipe.chunk_size, phase)
    if shift:
        index = alignment.shifted_index(phase, length, slots)
        here = ops.logical_and(index >= 0, index < _column(count, length))
        index = ops.clip(index, 0, length - 1)
        place = lambda x: alignment.take_tokens(x, index)
    else:
        here = ops.arange(slots, dtype="int32")[None, :] < _column(
            count, length
        )
        place = lambda x: alignment.pad_tokens(x, slots)
    chunked = lambda x: to_chunks(place(x), size)

    query, key, value = (chunked(x) for x in tokens[:3])
    theta, log_momentum, log_retention = (
        None if x is None else chunked(x) for x in tokens[3:]
    )
    mask = to_chunks(ops.cast(here, query.dtype)[..., None], size)
    if log_retention is not None:
        log_retention = log_retention * mask
    decay = chunk_decay(theta, log_momentum, log_retention, mask)
    forget_first = recipe.rule.forget_first and recipe.rule.forgetting
    chunks = Chunk(
        query=query,
        key=key,
        value=value,
        decay=decay,
        log_retention=log_retention if forget_first else (),
        continues=_continues(mask, phase) if memory.anchor else (),
    )
    step = functools.partial(
        update_and_read, recipe=recipe, return_surprise=return_surprise
    )
    memory, (read, norms) = backend.scan(step, memory, chunks, shared, remat)

    def gathered(x):
        x = from_chunks(x)
        if not shift:
            return x[:, :length]
        index = ops.arange(length, dtype="int32")[None, :] + phase[:, None]
        return alignment.take_tokens(x, index)

    surprise = None
    if return_surprise:
        surprise = ops.squeeze(gathered(norms[..., None]), -1)
    return gathered(read), surprise, memory


def _layout(length, chunk_size, phase):
    """Tokens to a chunk, slots in all, and whether rows must be shifted.

    A single token never crosses a chunk's border, and a short sequence that
    starts a chunk doesn't either: they are one chunk of their own length.
    """
    short = isinstance(length, int) and length <= chunk_size
    if short and (phase is None or alignment.is_one_token(length)):
        return length, length, False
    room = length if phase is None else length + chunk_size - 1
    slots = -(-room // chunk_size) * chunk_size
    return chunk_size, slots, phase is not None


def _column(count, length):
    return length if count is None else count[:, None]


def _continues(mask, phase):
    """Whether a chunk goes on from the anchor that was carried to it.

    It does where it is the first and the row is inside a chunk; and where it
    has no real token, and so must change nothing.

    Args:
        mask: `(n, B, 1, b)`.
        phase: `(B,)` or None.

    Returns:
        `(n, B, 1, 1, 1)`.
    """
    empty = ops.max(mask, axis=-1) == 0
    continues = empty[..., None, None]
    if phase is not None:
        first = ops.arange(ops.shape(mask)[0]) == 0
        first = ops.reshape(first, (-1, 1, 1, 1, 1))
        inside = ops.reshape(phase > 0, (1, -1, 1, 1, 1))
        continues = ops.logical_or(continues, ops.logical_and(first, inside))
    return ops.cast(continues, mask.dtype)


def to_chunks(x, size):
    """`(B, n b, H, ...)` to `(n, B, H, b, ...)`."""
    rows, slots, heads = ops.shape(x)[:3]
    rest = x.shape[3:]
    x = ops.reshape(x, (rows, slots // size, size, heads, *rest))
    axes = (1, 0, 3, 2, *range(4, 4 + len(rest)))
    return ops.transpose(x, axes)


def from_chunks(x):
    """`(n, B, H, b, d)` to `(B, n b, H, d)`."""
    n, rows, heads, size, width = ops.shape(x)
    x = ops.transpose(x, (1, 0, 3, 2, 4))
    return ops.reshape(x, (rows, n * size, heads, width))


def fresh_memory(weights, batch_size, momentum, anchor):
    """A `Memory` at its learned start, one copy for each row.

    Args:
        weights: `(H, i, o)` for each dense map.
        batch_size: `B`.
        momentum: Whether the memory has momentum. It starts at 0.
        anchor: Whether the memory shall be continued inside chunks.

    Returns:
        A `Memory` of `(B, H, i, o)` tensors.
    """
    start = [ops.broadcast_to(w[None], (batch_size, *w.shape)) for w in weights]
    # Not `zeros_like`: what XLA knows to be zeros it multiplies with as a
    # broadcast number, and that product (jaxlib 0.10, CPU) comes out wrong.
    zeros = [0.0 * w for w in start] if momentum else ()
    return Memory(start, zeros, start if anchor else ())
