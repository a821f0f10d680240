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
from keras import tree

from keras_titans.ops.decay import Decay
from keras_titans.ops.decay import before
from keras_titans.ops.decay import has
from keras_titans.ops.recipe import Memory
from keras_titans.ops.recurrence import chunk_end
from keras_titans.ops.recurrence import gradient_norms
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.rows import shared_product
from keras_titans.ops.triangular import solve_unit_lower


class Chunk(NamedTuple):
    """What one step sees of the tokens.

    Attributes:
        query, key, value: `(B, H, b, d)`.
        decay: The `Decay` of the chunk, `(B, H, b)` and `(B, H, b, b)`.
        continues: `(B, 1, 1, 1)`, 1 where the chunk goes on from an earlier
            call's, or `()` where none does.
        ends: `(B, 1, 1, 1)`, 1 where the chunk is complete, and the logits
            of its last token, `(B, H, 1, 1)` by name; `()` where the update
            rule does nothing at a chunk's end.
    """

    query: Any
    key: Any
    value: Any
    decay: Decay
    continues: Any
    ends: Any


def update_and_read(
    carry,
    chunk,
    shared,
    *,
    recipe,
    return_norms=False,
):
    """Write a chunk's keys and values into the memory, read its queries.

    Args:
        carry: A `Memory`.
        chunk: A `Chunk`.
        shared: A `Shared`.
        recipe: A `Recipe`.
        return_norms: Whether the surprises' norms are asked for.

    Returns:
        The `Memory` after the chunk; and the read `(B, H, b, d)` with the
        norms of the surprises `(B, H, b)`, or `()`.
    """
    network, objective, rule, *_ = recipe
    weights = _anchor(carry, chunk)
    inputs, outputs = {}, {}

    def at_anchor(m, x):
        inputs[m] = x
        outputs[m] = ops.matmul(x, weights[m])
        return outputs[m]

    predicted = network(chunk.key, at_anchor)
    if recipe.anchor == "token":
        gradient = _online_gradient(
            carry, chunk, shared, inputs, outputs, predicted, objective
        )
    else:
        gradient = objective.gradient(predicted, chunk.value)
    deltas = network.backward(chunk.key, weights, inputs, outputs, gradient)
    norms = ()
    if return_norms or not rule.linear:
        norms = gradient_norms(inputs, deltas)
    if not rule.linear:
        scale = rule.scale_of(norms)
        deltas = [scale_rows(delta, scale) for delta in deltas]
    for m, rate in enumerate(shared.rates):
        deltas[m] = rate * deltas[m]

    seen = chunk.decay
    if recipe.read_first:
        seen = before(seen._replace(log_retention=()))

    def at_token(m, x):
        y = _from_start(m, x, carry, shared, seen)
        match = ops.matmul(x, _transpose(inputs[m])) * seen.surprise
        return y - ops.matmul(match, deltas[m])

    read = network(chunk.query, at_token)
    state = _carry_on(carry, chunk.decay, shared, inputs, deltas)
    if rule.acts_at_chunk_end:
        state = _ended(state, weights, chunk, shared, recipe)
    after = Memory(state, weights if carry.anchor else ())
    return after, (read, norms if return_norms else ())


def _ended(state, start, chunk, shared, recipe):
    """The state, changed by the rule in rows whose chunk is complete."""
    ends, logits = chunk.ends
    gates = recipe.rule.values(logits, chunk.key[..., -1:, :1])
    ended = chunk_end(state, start, gates, shared, recipe)
    return tree.map_structure(
        lambda new, old: ops.where(ends > 0, new, old), ended, state
    )


def _anchor(carry, chunk):
    """The weights that this chunk's surprises are taken at."""
    memory = carry.state["memory"]
    if not carry.anchor:
        return memory
    return [
        ops.where(chunk.continues > 0, old, start)
        for old, start in zip(carry.anchor, memory, strict=True)
    ]


def _online_gradient(
    carry, chunk, shared, inputs, outputs, predicted, objective
):
    """The gradients at the output if the last map followed every token.

    Each depends on those before it, linearly: all of them solve one unit
    lower-triangular system. The maps below stay at the chunk's anchor.
    """
    last = len(carry.state["memory"]) - 1
    earlier = before(chunk.decay)
    x = inputs[last]
    product = None if carry.anchor else outputs[last]
    online = _from_start(last, x, carry, shared, earlier, product)
    error = online + (predicted - outputs[last]) - chunk.value
    match = ops.matmul(x, _transpose(x)) * earlier.surprise
    return solve_unit_lower(objective.slope * match, objective.slope * error)


def _from_start(m, x, carry, shared, decay, product=None):
    """`x` through what is left of the chunk's start: a x W_0 + p x S_0."""
    memory = carry.state["memory"][m]
    if product is None:
        y = _scaled_product(x, decay.memory, memory)
    else:
        y = scale_rows(product, decay.memory)
    if has(decay.momentum):
        y += _scaled_product(x, decay.momentum, carry.state["momentum"][m])
    if has(decay.initial):
        y += _scaled_product(
            x, decay.initial, shared.initial[m], shared_product
        )
    return y


def _carry_on(carry, decay, shared, inputs, deltas):
    """The rule's state after the chunk's last token."""
    last = lambda coefficient: coefficient[..., -1, None, None]
    memory, momentum = [], []
    for m, delta in enumerate(deltas):
        w = last(decay.memory) * carry.state["memory"][m]
        w -= _outer(inputs[m], decay.surprise[..., -1, :], delta)
        if has(decay.initial):
            w += last(decay.initial) * shared.initial[m]
        if has(decay.momentum):
            s = carry.state["momentum"][m]
            w += last(decay.momentum) * s
            s = decay.end_momentum[..., None] * s
            momentum.append(s - _outer(inputs[m], decay.end_surprise, delta))
        memory.append(w)
    state = {"memory": memory}
    if momentum:
        state["momentum"] = momentum
    return {name: state[name] for name in carry.state}


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
