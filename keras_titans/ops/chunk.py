"""One chunk of the memory, in its dual form: write, read, carry.

Legend: `B` batch, `H` heads, `b` tokens of the chunk, `d` head width, `i, o`
the widths of one dense map, `W` memory, `S` momentum, `X` a map's inputs on
the keys, `D` the loss's gradients at its outputs.

The surprise of a dense map at token `t` is the outer product of row `t` of
`X` and row `t` of `D`. So it is kept as these two rows, and a weight matrix
per token is never built: map `x -> x @ W_t` is computed as

    a[t] (x @ W_0) + p[t] (x @ S_0) - ((x @ X^T) * C)[t] @ D

with the coefficients of `keras_titans.ops.decay`.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_titans.ops.decay import Decay
from keras_titans.ops.decay import before
from keras_titans.ops.rows import row_dot
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.rows import shared_product
from keras_titans.ops.triangular import solve_unit_lower


class Memory(NamedTuple):
    """What is carried from chunk to chunk.

    Attributes:
        memory: `W`, one `(B, H, i, o)` tensor for each dense map.
        momentum: `S`, likewise, or `()` where there is no momentum.
        anchor: The weights that the current chunk's surprises are taken at,
            likewise, or `()` where each chunk's own start serves.
    """

    memory: Any
    momentum: Any
    anchor: Any


class Chunk(NamedTuple):
    """What one step sees of the tokens.

    Attributes:
        query, key, value: `(B, H, b, d)`.
        decay: The `Decay` of the chunk, `(B, H, b)` and `(B, H, b, b)`.
        log_retention: `log(1 - alpha)`, `(B, H, b)`, where the update rule
            forgets first, else `()`.
        continues: `(B, 1, 1, 1)`, 1 where the chunk goes on from an earlier
            call's, or `()` where none does.
    """

    query: Any
    key: Any
    value: Any
    decay: Decay
    log_retention: Any
    continues: Any


class Shared(NamedTuple):
    """What every chunk sees.

    Attributes:
        rates: `(H, 1, 1)` for each dense map but the last: how fast it
            learns, beside the last.
        initial: `(H, i, o)` for each dense map, where forgetting decays
            towards the initial memory, else `()`.
    """

    rates: Any
    initial: Any


def update_and_read(
    carry,
    chunk,
    shared,
    *,
    recipe,
    return_surprise=False,
):
    """Write a chunk's keys and values into the memory, read its queries.

    Args:
        carry: A `Memory`.
        chunk: A `Chunk`.
        shared: A `Shared`.
        recipe: A `Recipe`.
        return_surprise: Whether the surprises' norms are asked for.

    Returns:
        The `Memory` after the chunk; and the read `(B, H, b, d)` with the
        norms of the surprises `(B, H, b)`, or `()`.
    """
    network, objective, rule, *_ = recipe
    weights = _anchor(carry, chunk)
    earlier = _before_write(chunk, recipe)
    inputs, outputs = {}, {}

    def at_anchor(m, x):
        inputs[m] = x
        outputs[m] = ops.matmul(x, weights[m])
        return outputs[m]

    predicted = network(chunk.key, at_anchor)
    if recipe.anchor == "token":
        gradient = _online_gradient(
            carry, chunk, shared, earlier, inputs, outputs, predicted, objective
        )
    else:
        gradient = objective.gradient(predicted, chunk.value)
    deltas = network.backward(chunk.key, weights, inputs, outputs, gradient)
    norms = ()
    if return_surprise or rule.max_surprise is not None:
        norms = surprise_norms(inputs, deltas)
        deltas = rule.bound(deltas, norms)
    for m, rate in enumerate(shared.rates):
        deltas[m] = rate * deltas[m]

    seen = earlier if rule.read_first else chunk.decay

    def at_token(m, x):
        y = _from_start(m, x, carry, shared, seen)
        match = ops.matmul(x, _transpose(inputs[m])) * seen.surprise
        return y - ops.matmul(match, deltas[m])

    read = network(chunk.query, at_token)
    memory, momentum = _carry_on(carry, chunk.decay, shared, inputs, deltas)
    after = Memory(memory, momentum, weights if carry.anchor else ())
    return after, (read, norms if return_surprise else ())


def _anchor(carry, chunk):
    """The weights that this chunk's surprises are taken at."""
    if not carry.anchor:
        return carry.memory
    return [
        ops.where(chunk.continues > 0, old, start)
        for old, start in zip(carry.anchor, carry.memory, strict=True)
    ]


def _before_write(chunk, recipe):
    """The coefficients one token earlier, where anything needs them."""
    if recipe.rule.forget_first and recipe.rule.forgetting:
        return before(chunk.decay, chunk.log_retention)
    if recipe.anchor == "token" or recipe.rule.read_first:
        return before(chunk.decay)
    return None


def _online_gradient(
    carry, chunk, shared, earlier, inputs, outputs, predicted, objective
):
    """The gradients at the output if the last map followed every token.

    Each depends on those before it, linearly: all of them solve one unit
    lower-triangular system. The maps below stay at the chunk's anchor.
    """
    last = len(carry.memory) - 1
    x = inputs[last]
    product = None if carry.anchor else outputs[last]
    online = _from_start(last, x, carry, shared, earlier, product)
    error = online + (predicted - outputs[last]) - chunk.value
    match = ops.matmul(x, _transpose(x)) * earlier.surprise
    return solve_unit_lower(objective.slope * match, objective.slope * error)


def _from_start(m, x, carry, shared, decay, product=None):
    """`x` through what is left of the chunk's start: a x W_0 + p x S_0."""
    memory = carry.memory[m]
    if product is None:
        y = _scaled_product(x, decay.memory, memory)
    else:
        y = scale_rows(product, decay.memory)
    if carry.momentum:
        y += _scaled_product(x, decay.momentum, carry.momentum[m])
    if shared.initial:
        initial = shared.initial[m]
        y += _scaled_product(x, 1.0 - decay.memory, initial, shared_product)
    return y


def _carry_on(carry, decay, shared, inputs, deltas):
    """Memory and momentum after the chunk's last token."""
    memory, momentum = [], []
    left = decay.memory[..., -1, None, None]
    written = decay.surprise[..., -1, :]
    for m, delta in enumerate(deltas):
        w = left * carry.memory[m] - _outer(inputs[m], written, delta)
        if shared.initial:
            w += (1.0 - left) * shared.initial[m]
        if carry.momentum:
            s = carry.momentum[m]
            w += decay.momentum[..., -1, None, None] * s
            s = decay.end_momentum[..., None] * s
            s -= _outer(inputs[m], decay.end_surprise, delta)
            momentum.append(s)
        memory.append(w)
    return memory, momentum or ()


def surprise_norms(inputs, deltas):
    """The norm of each token's surprise over all maps.

    An outer product's norm is the product of its factors' norms.
    """
    squares = [
        row_dot(inputs[m], inputs[m]) * row_dot(delta, delta)
        for m, delta in enumerate(deltas)
    ]
    total = sum(squares[1:], squares[0])
    # The root has no gradient at 0, where a masked token's surprise may lie.
    positive = total > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, total, 1.0)), 0.0)


def _scaled_product(x, scale, w, product=ops.matmul):
    """`(x @ w) * scale[:, None]`, scaled where the rows are shorter."""
    if w.shape[-2] < w.shape[-1]:
        return product(scale_rows(x, scale), w)
    return scale_rows(product(x, w), scale)


def _outer(x, scale, delta):
    """`sum_t scale[t] x[t]^T delta[t]`, scaled where the rows are shorter."""
    if x.shape[-1] < delta.shape[-1]:
        x = scale_rows(x, scale)
    else:
        delta = scale_rows(delta, scale)
    return ops.matmul(_transpose(x), delta)


def _transpose(x):
    return ops.swapaxes(x, -1, -2)
