"""A matrix memory over all chunks of a sequence at once.

Legend: `n` chunks, `B` batch, `H` heads, `b` tokens of a chunk, `i, o` the
widths of the memory; `Q, K, V` the rows of queries, keys and values, `*`
elementwise, `s` the objective's slope, and `a, p, C, e, F` the coefficients of
`keras_titans.ops.decay`. A minus marks those where the error is measured.

The errors of a chunk are linear in the state `W, S` at its start:

    D = s T (V - (a- * K) W - (p- * K) S),    T = (I + s (K K^T) * C-)^-1

All factors but `W` and `S` are computed for all chunks in parallel. So is what
the queries read, once `D` and the states are known:

    Y = (a * Q) W + (p * Q) S + ((Q K^T) * C) D

Between the two stands one `keras_titans.ops.linear_scan`.

Where forgetting decays towards an initial memory, `W` is the offset from it,
and its products with `K` and `Q` are added in parallel.
"""

from keras import ops

from keras_titans import backend
from keras_titans.ops.decay import before
from keras_titans.ops.decay import has
from keras_titans.ops.linear_scan import linear_scan
from keras_titans.ops.linear_scan import split_state
from keras_titans.ops.linear_scan import stacked_state
from keras_titans.ops.recipe import Memory
from keras_titans.ops.recurrence import gradient_norms
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.rows import shared_product
from keras_titans.ops.triangular import solve_unit_lower


def fits(recipe):
    """Whether a memory is a matrix, with a rule and a loss that are linear."""
    rule, objective = recipe.rule, recipe.objective
    linear = rule.linear and objective.linear and not rule.acts_at_chunk_end
    return recipe.network.is_matrix and linear


def memorize_chunks(memory, chunks, shared, recipe, return_norms=False):
    """What a scan of `keras_titans.ops.chunk.update_and_read` computes.

    Args:
        memory: The `Memory` to start from.
        chunks: A `Chunk` whose tensors have the chunks on axis 0.
        shared: A `Shared`.
        recipe: A `Recipe` for which `fits` is true.
        return_norms: Whether the gradients' norms are asked for.

    Returns:
        The `Memory` after the last chunk; and what was read `(n, B, H, b, o)`
        with the norms of the gradients `(n, B, H, b)`, or `()`.
    """
    query, key, value, after, *_ = chunks
    with_momentum = has(after.momentum)
    start = memory.state["memory"][0]
    momentum = memory.state["momentum"][0] if with_momentum else ()
    written = [after.surprise[..., -1, :]]
    decay = [after.memory[..., -1]]
    if with_momentum:
        written.append(after.end_surprise)
        decay += [after.momentum[..., -1], after.end_momentum[..., 0]]
    initial = shared.initial[0] if has(after.initial) else None
    target = value
    if initial is not None:
        start = start - initial
        target = value - _shared_product(key, initial)
    slope = recipe.objective.slope
    if recipe.anchor == "token":
        read, target = _at_tokens(key, target, slope, before(after))
    else:
        anchor = memory.anchor[0] if memory.anchor else None
        if anchor is not None and initial is not None:
            anchor = anchor - initial
        read, target = _at_anchor(key, target, slope, anchor, chunks.continues)
        if with_momentum:
            # Not `zeros_like`: see `update_rule.zeros_of`.
            read = ops.concatenate([read, 0.0 * read], axis=-1)
    error, states, last = linear_scan(
        read,
        target,
        _scaled_by_each(key, written),
        decay,
        stacked_state(start, momentum),
    )
    norms = gradient_norms([key], [error]) if return_norms else ()
    seen = after
    if recipe.read_first:
        seen = before(after._replace(log_retention=()))
    y = _read(query, key, error, states, seen)
    if initial is not None:
        y = y + _shared_product(query, initial)
    end, momentum = split_state(last, with_momentum)
    starts, _ = split_state(states, with_momentum)
    if initial is not None:
        end, starts = end + initial, starts + initial
    anchor = ()
    if memory.anchor:
        anchor = [_last_anchor(memory.anchor[0], starts, chunks.continues)]
    state = {"memory": [end]}
    if with_momentum:
        state["momentum"] = [momentum]
    state = {name: state[name] for name in memory.state}
    return Memory(state, anchor), (y, norms)


def _at_tokens(key, target, slope, measured):
    """The scan's `read` and `target` where every token sees those before."""
    scaled = slope * key
    strict = _matrices(scaled) @ _transpose(_matrices(key))
    strict = strict * _matrices(measured.surprise)
    rhs = _scaled_by_each(scaled, _from_start(measured))
    rhs = ops.concatenate([rhs, slope * target], axis=-1)
    solved = solve_unit_lower(strict, _matrices(rhs))
    solved = ops.reshape(solved, ops.shape(rhs))
    # Not by slices: the gradient of each would be a full array.
    return backend.split_last(solved, rhs.shape[-1] - target.shape[-1])


def _at_anchor(key, target, slope, anchor, continues):
    """The scan's `read` and `target` where the chunk's anchor is seen.

    It is the chunk's start, but where the first one continues another.
    """
    read = slope * key
    if anchor is not None:
        seen = ops.matmul(key[0], anchor)[None]
        inside = continues[:1]
        read = ops.concatenate([(1.0 - inside) * read[:1], read[1:]])
        target = ops.concatenate([target[:1] - inside * seen, target[1:]])
    return read, slope * target


def _read(query, key, error, states, seen):
    """What the queries read of the chunk's start and of its errors."""
    match = _matrices(query) @ _transpose(_matrices(key))
    match = match * _matrices(seen.surprise)
    y = _matrices(_scaled_by_each(query, _from_start(seen))) @ _matrices(states)
    y = y + match @ _matrices(error)
    return ops.reshape(y, ops.shape(error))


def _from_start(decay):
    """What a token sees of the state at the chunk's start."""
    if has(decay.momentum):
        return [decay.memory, decay.momentum]
    return [decay.memory]


def _scaled_by_each(x, scales):
    """`x` beside itself, its rows scaled by each of the scales."""
    parts = [scale_rows(x, scale) for scale in scales]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _last_anchor(anchor, starts, continues):
    """The anchor that the sequence's last chunk with tokens had."""
    chunks, rows = ops.shape(starts)[:2]
    number = ops.arange(1, chunks + 1, dtype="int32")[:, None]
    begins = ops.cast(continues[:, :, 0, 0, 0] == 0, "int32")
    last = ops.max(number * begins, axis=0)
    every = ops.concatenate([anchor[None], starts])
    every = ops.reshape(every, (-1, *every.shape[2:]))
    return ops.take(every, last * rows + ops.arange(rows, dtype="int32"), 0)


def _shared_product(x, w):
    """`x[n, b, h] @ w[h]`."""
    rows = ops.reshape(x, (-1, *x.shape[2:]))
    return ops.reshape(
        shared_product(rows, w), (*ops.shape(x)[:4], w.shape[-1])
    )


def _matrices(x):
    """All leading axes as one. Where they were transposed, one copy."""
    return ops.reshape(x, (-1, *x.shape[-2:]))


def _transpose(x):
    return ops.swapaxes(x, -1, -2)
