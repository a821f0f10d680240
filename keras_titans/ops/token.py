"""One token through the memory: the recurrence as it is defined.

What `keras_titans.ops.chunk` computes for a chunk of one token, with the new
memory written first and then read. In generation a step is as long as it takes
to fetch the state, and like this each matrix is fetched once or twice, and an
engine can write it in its place.

Legend: `B` batch, `H` heads, `d` head width, `i, o` the widths of a map.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_titans import backend
from keras_titans.ops.chunk import Memory
from keras_titans.ops.chunk import surprise_norms


class Gates(NamedTuple):
    """What the token does to memory and momentum, `(B, H, 1, 1)`.

    Attributes:
        learning_rate: `theta`.
        momentum: `eta`, or None for no momentum.
        retention: `1 - alpha`, or None for no forgetting.
        here: 1 for a token and 0 for none, `(B, 1, 1, 1)`, or None where
            every row has one.
    """

    learning_rate: Any
    momentum: Any
    retention: Any
    here: Any


def memorize_one(
    tokens,
    memory,
    shared,
    recipe,
    count,
    phase,
    return_surprise,
):
    """As `keras_titans.ops.sequence.memorize`, for `N = 1` and a phase."""
    network, objective, rule, *_ = recipe
    query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in tokens[:3])
    starts = phase == 0
    if count is not None:
        starts = ops.logical_and(starts, count > 0)
    anchors = backend.where_any(starts, memory.memory, memory.anchor)
    gates = _gates(tokens, count)
    before = memory.memory
    if rule.forget_first and gates.retention is not None:
        before = _retained(before, gates, shared)

    last = len(before) - 1
    inputs, outputs = {}, {}

    def at_anchor(m, x):
        inputs[m] = x
        online = recipe.anchor == "token" and m == last
        outputs[m] = ops.matmul(x, before[m] if online else anchors[m])
        return outputs[m]

    error = objective.gradient(network(key, at_anchor), value)
    deltas = network.backward(key, anchors, inputs, outputs, error)
    norms = None
    if return_surprise or rule.max_surprise is not None:
        norms = surprise_norms(inputs, deltas)
        deltas = rule.bound(deltas, norms)
    written, momentum = _write(memory, gates, shared, inputs, deltas)
    seen = before if rule.read_first else written
    read = network(query, lambda m, x: ops.matmul(x, seen[m]))
    return (
        ops.transpose(read, (0, 2, 1, 3)),
        ops.transpose(norms, (0, 2, 1)) if return_surprise else None,
        Memory(written, momentum, anchors),
    )


def _write(memory, gates, shared, inputs, deltas):
    """Memory and momentum after the token."""
    written, momentum = [], []
    kept = _retained(memory.memory, gates, shared)
    for m, rate in enumerate([*shared.rates, 1.0]):
        delta = gates.learning_rate * rate * deltas[m]
        s = -ops.swapaxes(inputs[m], -1, -2) * delta
        if memory.momentum:
            s = gates.momentum * memory.momentum[m] + s
            momentum.append(s)
            # Where there is no token, the momentum stays and writes nothing.
            s = s if gates.here is None else gates.here * s
        written.append(kept[m] + s)
    return written, momentum or ()


def _gates(tokens, count):
    """The token's `Gates`, such that a row without a token stays as it is."""
    by_head = lambda x: ops.transpose(x, (0, 2, 1))[..., None]
    theta = by_head(tokens.learning_rate)
    logs = [tokens.log_momentum, tokens.log_retention]
    eta, retention = (None if x is None else ops.exp(by_head(x)) for x in logs)
    if count is None:
        return Gates(theta, eta, retention, None)
    here = ops.cast(ops.reshape(count > 0, (-1, 1, 1, 1)), theta.dtype)
    else_one = lambda x: None if x is None else 1.0 + here * (x - 1.0)
    return Gates(here * theta, else_one(eta), else_one(retention), here)


def _retained(memory, gates, shared):
    """The memory after it has forgotten, before it is written."""
    if gates.retention is None:
        return memory
    kept = [gates.retention * w for w in memory]
    if shared.initial:
        kept = [
            w + (1.0 - gates.retention) * w0
            for w, w0 in zip(kept, shared.initial, strict=True)
        ]
    return kept
