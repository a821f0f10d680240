"""A sequence through the memory: cut into chunks, scanned, put together.

Legend: `B` batch, `H` heads, `N` tokens, `b` chunk size, `n` chunks, `d` head
width.
"""

import functools
from typing import Any

from keras import ops

from keras_titans import backend
from keras_titans.ops import alignment
from keras_titans.ops import parallel_memory
from keras_titans.ops.chunk import Chunk
from keras_titans.ops.chunk import update_and_read
from keras_titans.ops.decay import has
from keras_titans.ops.recipe import Memory
from keras_titans.ops.recurrence import one_token
from keras_titans.ops.recurrence import recurrence


def memorize(
    tokens,
    memory,
    shared,
    recipe,
    count=None,
    phase=None,
    keep=None,
    return_norms=False,
    remat=False,
    parallel=backend.PARALLEL_MATRIX,
):
    """Write every token into the memory and read it at every token.

    A rule that has `coefficients` is computed a chunk at a time, any other
    token by token.

    Args:
        tokens: A `Tokens`.
        memory: The `Memory` to start from. With `anchor=()` it starts a
            chunk, and what is returned cannot be continued inside one.
        shared: A `Shared`.
        recipe: A `Recipe`.
        count: `(B,)`, int32: each row's real tokens, or None if all are.
        phase: `(B,)`, int32: how many tokens of the current chunk each row
            has already seen, or None for none.
        keep: `(B, N)`, boolean: the tokens that are there, or None for all.
            Others change nothing, but have a place in a chunk.
        return_norms: Whether the gradients' norms are asked for.
        remat: Whether to recompute, and not keep, what the backward pass
            needs of each chunk.
        parallel: Whether a matrix is computed for all chunks at once. That
            form keeps what the backward pass needs.

    Returns:
        What was read, `(B, N, H, d)`; the norms of the gradients,
        `(B, N, H)`, or None; the `Memory` after the last token.
    """
    length = ops.shape(tokens.query)[1]
    if count is not None:
        place = ops.arange(length, dtype="int32")[None, :]
        real = place < count[:, None]
        keep = real if keep is None else ops.logical_and(keep, real)
    if alignment.is_one_token(length):
        return one_token(
            tokens, memory, shared, recipe, keep, phase, return_norms
        )
    if not recipe.rule.has_coefficients:
        return recurrence(
            tokens, memory, shared, recipe, keep, phase, return_norms, remat
        )
    size, slots, shift = _layout(length, recipe.chunk_size, phase)
    if shift:
        index = alignment.shifted_index(phase, length, slots)
        here = ops.logical_and(index >= 0, index < length)
        index = ops.clip(index, 0, length - 1)
        place = lambda x: alignment.take_tokens(x, index)
    else:
        here = (ops.arange(slots, dtype="int32") < length)[None, :]
        place = lambda x: alignment.pad_tokens(x, slots)
    here = ops.cast(here, tokens.query.dtype)
    if keep is not None:
        here = here * place(ops.cast(keep, here.dtype))
    chunked = lambda x: to_chunks(place(x), size)

    query, key, value = (chunked(x) for x in tokens[:3])
    logits = {name: chunked(x) for name, x in tokens.logits.items()}
    mask = to_chunks(here[..., None], size)
    gates = recipe.rule.values(logits, key[..., 0])
    decay = recipe.rule.coefficients(gates, mask, recipe.objective.slope)
    ends: Any = ()
    if recipe.rule.acts_at_chunk_end:
        # A chunk is complete where its last place is taken.
        whole = mask if size == recipe.chunk_size else ops.zeros_like(mask)
        last = {name: x[..., -1:, None] for name, x in logits.items()}
        ends = (whole[..., -1:, None], last)
    if not has(decay.initial) and not ends:
        shared = shared._replace(initial=())
    chunks = Chunk(
        query=query,
        key=key,
        value=value,
        decay=decay,
        continues=_continues(mask, phase) if memory.anchor else (),
        ends=ends,
    )
    if parallel and parallel_memory.fits(recipe):
        memory, (read, norms) = parallel_memory.memorize_chunks(
            memory, chunks, shared, recipe, return_norms
        )
    else:
        step = functools.partial(
            update_and_read, recipe=recipe, return_norms=return_norms
        )
        memory, (read, norms) = backend.scan(
            step, memory, chunks, shared, remat
        )

    def gathered(x):
        x = from_chunks(x)
        if not shift:
            return x[:, :length]
        index = ops.arange(length, dtype="int32")[None, :] + phase[:, None]
        return alignment.take_tokens(x, index)

    if return_norms:
        norms = ops.squeeze(gathered(norms[..., None]), -1)
    return gathered(read), norms if return_norms else None, memory


def _layout(length, chunk_size, phase):
    """Tokens to a chunk, slots in all, and whether rows must be shifted.

    A short sequence that starts a chunk is one chunk of its own length.
    """
    if isinstance(length, int) and length <= chunk_size and phase is None:
        return length, length, False
    room = length if phase is None else length + chunk_size - 1
    slots = -(-room // chunk_size) * chunk_size
    return chunk_size, slots, phase is not None


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


def fresh_memory(weights, batch_size, rule, anchor):
    """A `Memory` at its learned start, one copy for each row.

    Args:
        weights: `(H, i, o)` for each linear layer.
        batch_size: `B`.
        rule: The update rule.
        anchor: Whether the memory shall be continued inside chunks.

    Returns:
        A `Memory` of `(B, H, i, o)` tensors.
    """
    start = [ops.broadcast_to(w[None], (batch_size, *w.shape)) for w in weights]
    state = rule.initial_state(start)
    return Memory(dict(sorted(state.items())), start if anchor else ())
