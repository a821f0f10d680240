"""The memory token by token: the definition that all fast forms must equal.

For each token `t`, with its gates, its key `k`, value `v` and query `q`:

    g_t = gradient of loss(M(k; W'), v) by the weights
    W_t, ... = rule.step(W_{t-1}, ..., g_t)
    y_t = M(q; W_t)

`W'` is the memory at the start of the token's chunk (`anchor="chunk"`); with
`anchor="token"` its last layer is the memory just before the token.

One token is also what generation does at each step. There a step takes as
long as fetching the state, so each matrix is read and written once.

Legend: `B` batch, `H` heads, `N` tokens, `d` head width, `i, o` the widths of
one linear layer of the memory's network.
"""

import functools
from typing import Any

from keras import ops
from keras import tree

from keras_titans import backend
from keras_titans.ops.recipe import Memory
from keras_titans.ops.rows import row_dot


def recurrence(
    tokens,
    memory,
    shared,
    recipe,
    keep=None,
    phase=None,
    return_norms=False,
    remat=False,
):
    """Write and read every token, one after the other.

    Args:
        tokens: A `Tokens`.
        memory: The `Memory` to start from.
        shared: A `Shared`.
        recipe: A `Recipe`.
        keep: `(B, N)`, boolean: the tokens that are there, or None for all.
            Others change nothing.
        phase: `(B,)`, int32: how many tokens of the current chunk each row
            has already seen, or None for none.
        return_norms: Whether the gradients' norms are asked for.
        remat: Whether to recompute, and not keep, what the backward pass
            needs of each token.

    Returns:
        What was read, `(B, N, H, d)`; the norms of the gradients,
        `(B, N, H)`, or None; the `Memory` after the last token.
    """
    rows, length = ops.shape(tokens.query)[:2]
    dtype = tokens.query.dtype
    # (B, N, H, d) -> (N, B, H, 1, d); (B, N, H) -> (N, B, H, 1, 1)
    vectors = [ops.transpose(x, (1, 0, 2, 3))[..., None, :] for x in tokens[:3]]
    logits = {
        name: ops.transpose(x, (1, 0, 2))[..., None, None]
        for name, x in tokens.logits.items()
    }
    real = keep
    if keep is None:
        real = ops.ones((rows, length), dtype="bool")
    position = ops.cumsum(ops.cast(real, "int32"), axis=1) - 1
    if phase is not None:
        position = position + phase[:, None]
    position = position % recipe.chunk_size
    starts = ops.logical_and(position == 0, real)
    ends = ops.logical_and(position == recipe.chunk_size - 1, real)
    # (B, N) -> (N, B, 1, 1, 1)
    flags = [
        ops.cast(ops.transpose(x), dtype)[..., None, None, None]
        for x in (real, starts, ends)
    ]
    anchored = bool(memory.anchor)
    if not anchored:
        memory = memory._replace(anchor=memory.state["memory"])
    step = functools.partial(
        _scanned_step, recipe=recipe, return_norms=return_norms
    )
    memory, (read, norms) = backend.scan(
        step, memory, (*vectors, logits, *flags), shared, remat
    )
    if not anchored:
        memory = memory._replace(anchor=())
    # (N, B, H, 1, d) -> (B, N, H, d); (N, B, H) -> (B, N, H)
    read = ops.transpose(ops.squeeze(read, -2), (1, 0, 2, 3))
    norms = ops.transpose(norms, (1, 0, 2)) if return_norms else None
    return read, norms, memory


def _scanned_step(memory, token, shared, *, recipe, return_norms):
    query, key, value, logits, real, starts, ends = token
    choose = lambda flag: functools.partial(
        tree.map_structure, lambda new, old: ops.where(flag > 0, new, old)
    )
    anchor = choose(starts)(memory.state["memory"], memory.anchor)
    read, gradient, state, gates = write_and_read(
        query, key, value, logits, memory.state, anchor, shared, recipe
    )
    if recipe.rule.acts_at_chunk_end:
        state = choose(ends)(
            chunk_end(state, anchor, gates, shared, recipe), state
        )
    state = choose(real)(state, memory.state)
    return Memory(state, anchor), (read, gradient.norm if return_norms else ())


def one_token(
    tokens, memory, shared, recipe, keep=None, phase=None, return_norms=False
):
    """As `recurrence`, for `N = 1`, without a loop."""
    state = memory.state
    # (B, 1, H, d) -> (B, H, 1, d); (B, 1, H) -> (B, H, 1, 1)
    query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in tokens[:3])
    logits = {
        name: ops.transpose(x, (0, 2, 1))[..., None]
        for name, x in tokens.logits.items()
    }
    real = None if keep is None else keep[:, 0]
    here = lambda flag: flag if real is None else ops.logical_and(flag, real)
    anchor = state["memory"]
    if memory.anchor and phase is not None:
        anchor = backend.where_any(here(phase == 0), anchor, memory.anchor)
    read, gradient, new, gates = write_and_read(
        query, key, value, logits, state, anchor, shared, recipe
    )
    if recipe.rule.acts_at_chunk_end:
        position = ops.zeros_like(key[:, 0, 0, 0]) if phase is None else phase
        ends = here(position == recipe.chunk_size - 1)
        ended = chunk_end(new, anchor, gates, shared, recipe)
        new = _where_rows(ends, ended, new)
    if real is not None:
        new = _where_rows(real, new, state)
    # (B, H, 1, d) -> (B, 1, H, d); (B, H) -> (B, 1, H)
    read = ops.transpose(read, (0, 2, 1, 3))
    norms = gradient.norm[:, None] if return_norms else None
    return read, norms, Memory(new, anchor if memory.anchor else ())


def write_and_read(query, key, value, logits, state, anchor, shared, recipe):
    """One token of every row: the definition.

    Args:
        query, key, value: `(B, H, 1, d)`.
        logits: `(B, H, 1, 1)`, by the gates' names.
        state: The rule's state.
        anchor: The memory at the start of the token's chunk.
        shared: A `Shared`.
        recipe: A `Recipe`.

    Returns:
        What was read, `(B, H, 1, d)`; the `TokenGradient`; the rule's new
        state; the gates' values.
    """
    network, objective, rule, *_ = recipe
    gates = rule.values(logits, key[..., :1])
    gradient = TokenGradient(key, value, anchor, shared, recipe)
    initial = [w[None] for w in shared.initial]
    after = rule.step(state, gates, gradient, initial, objective.slope)
    after = {name: after[name] for name in state}  # in the same order
    seen = (state if recipe.read_first else after)["memory"]
    read = network(query, lambda m, x: ops.matmul(x, seen[m]))
    return read, gradient, after, gates


def chunk_end(state, anchor, gates, shared, recipe):
    """The rule's state after a chunk's last token."""
    initial = [w[None] for w in shared.initial]
    after = recipe.rule.at_chunk_end(state, {"memory": anchor}, gates, initial)
    return {name: after[name] for name in state}


class TokenGradient:
    """One token's gradient, as a function of the weights."""

    def __init__(self, key, value, anchor, shared, recipe):
        self._token = key, value
        self._anchor = anchor
        self._rates = shared.rates
        self._recipe = recipe
        self._factors: Any = None

    def __call__(self, weights):
        """The gradient at some weights, `(B, H, i, o)` for each layer."""
        network, objective, _, where, *_ = self._recipe
        key, value = self._token
        at = list(self._anchor)
        if where == "token":
            at[-1] = weights[-1]
        inputs, outputs = {}, {}

        def dense(m, x):
            inputs[m] = x
            outputs[m] = ops.matmul(x, at[m])
            return outputs[m]

        error = objective.gradient(network(key, dense), value)
        deltas = network.backward(key, self._anchor, inputs, outputs, error)
        self._factors = inputs, list(deltas)
        for m, rate in enumerate(self._rates):
            deltas[m] = rate * deltas[m]
        return [
            ops.swapaxes(inputs[m], -1, -2) * delta
            for m, delta in enumerate(deltas)
        ]

    @property
    def norm(self):
        """The norm of the last gradient that was taken, `(B, H)`.

        Over all layers, before the rates of the lower ones.
        """
        return ops.squeeze(gradient_norms(*self._factors), -1)


def gradient_norms(inputs, deltas):
    """The norm of each token's gradient over all layers.

    An outer product's norm is the product of its factors' norms.
    """
    squares = [
        row_dot(inputs[m], inputs[m]) * row_dot(delta, delta)
        for m, delta in enumerate(deltas)
    ]
    total = sum(squares[1:], squares[0])
    # The root has no gradient at 0, where a masked token's may lie.
    positive = total > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, total, 1.0)), 0.0)


def _where_rows(flag, new, old):
    """Some rows from here, the others from there, by `(B,)`."""
    flag = ops.reshape(flag, (-1, 1, 1, 1))
    return tree.map_structure(lambda x, y: ops.where(flag, x, y), new, old)
