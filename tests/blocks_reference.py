"""Attention and its three unions with a memory, row by row, token by token.

Slow and obvious on purpose, from the equations of section 4, in float64.
Positions are turned as complex numbers, counted from the sequence's start.
"""

import numpy as np

from tests.reference import layer_row
from tests.reference import projected
from tests.reference import put_out
from tests.reference import sigmoid
from tests.reference import starting_weights
from tests.reference import unit


def below(weights, name):
    """The weights of a sub-layer."""
    return {
        path.split("/", 1)[1]: value
        for path, value in weights.items()
        if path.startswith(f"{name}/")
    }


def norm(x, weights, name):
    size = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return x / size * weights[f"{name}/scale"]


def turned(vector, position):
    """A vector with its first half of channels turned, in pairs."""
    half = -(-len(vector) // 4)
    pairs = vector[:half] + 1j * vector[half : 2 * half]
    speed = 10_000.0 ** -(np.arange(half) / half)
    pairs = pairs * np.exp(1j * position * speed)
    return np.concatenate([pairs.real, pairs.imag, vector[2 * half :]])


def attention_row(
    x,
    weights,
    num_heads,
    window,
    segmented=False,
    prefix=None,
    memory_tokens=None,
):
    """One row `(tokens, width)` through `WindowedAttention`."""
    query = (x @ weights["query/kernel"]).reshape(len(x), num_heads, -1)
    dim = query.shape[-1]
    split = lambda y: y.reshape(len(y), -1, dim)
    key, value = (
        lambda y, name=name: split(y @ weights[f"{name}/kernel"])
        for name in ("key", "value")
    )
    shared = num_heads // key(x).shape[1]
    outputs = np.zeros_like(query)
    for t in range(len(x)):
        first = t - t % window if segmented else max(0, t - window + 1)
        for head in range(num_heads):
            group = head // shared
            keys, values = [], []
            for p in [] if prefix is None else range(len(prefix)):
                k = key(prefix)[p, group].copy()
                k[: 2 * -(-dim // 4)] = 0.0
                keys.append(k)
                values.append(value(prefix)[p, group])
            for place in range(first, t + 1):
                for source in (memory_tokens, x):
                    if source is not None:
                        k = key(source)[place, group]
                        keys.append(turned(k, place))
                        values.append(value(source)[place, group])
            scores = np.array(keys) @ turned(query[t, head], t) / np.sqrt(dim)
            share = np.exp(scores - scores.max())
            outputs[t, head] = share / share.sum() @ np.array(values)
    return outputs.reshape(len(x), -1) @ weights["output/kernel"]


def with_prefix(x, weights):
    """The row behind the persistent tokens, and these, if there are any."""
    prefix = weights.get("persistent_tokens/tokens")
    if prefix is None:
        return x, None, 0
    return np.concatenate([prefix, x]), prefix, len(prefix)


def gate_row(x, weights, num_heads, window, memory):
    """MAG: attention and memory over [p, x], one gates the other."""
    behind, prefix, first = with_prefix(x, weights)
    y = attention_row(
        x, below(weights, "attention"), num_heads, window, prefix=prefix
    )
    m, surprise, _ = layer_row(behind, below(weights, "memory"), **memory)
    y = norm(y, weights, "attention_norm")
    m = norm(m[first:], weights, "memory_norm")
    return y * sigmoid(m), surprise[first:]


def layer_then_attention_row(
    x, weights, num_heads, window, memory, residual=True
):
    """MAL: attention over what the memory makes of [p, x]."""
    behind, _, first = with_prefix(x, weights)
    m, surprise, _ = layer_row(behind, below(weights, "memory"), **memory)
    z = norm(behind + m, weights, "attention_norm") if residual else m
    y = attention_row(
        z[first:],
        below(weights, "attention"),
        num_heads,
        window,
        prefix=z[:first] if first else None,
    )
    return m[first:] + y if residual else y, surprise[first:]


def context_row(x, weights, num_heads, segment, memory, residual=True):
    """MAC: segment by segment, from the memory as the last one left it."""
    _, prefix, _ = with_prefix(x, weights)
    theirs = below(weights, "memory")
    heads, network = memory["num_heads"], memory["network"]
    query = unit(projected(x, theirs, "query", heads))
    held = starting_weights(theirs, heads)
    h, y, z = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for start in range(0, len(x), segment):
        here = slice(start, start + segment)
        read = np.stack(
            [
                np.stack([network(q, held[head]) for q in query[here, head]])
                for head in range(heads)
            ],
            axis=1,
        )
        h[here] = put_out(x[here], read, theirs)
        upto = slice(0, start + segment)
        attended = attention_row(
            x[upto],
            below(weights, "attention"),
            num_heads,
            segment,
            segmented=True,
            prefix=prefix,
            memory_tokens=h[upto],
        )
        y[here] = norm(attended[here], weights, "attention_norm")
        z[here] = y[here]
        if residual:
            z[here] = x[here] + weights["share"] * y[here]
        m, surprise, states = layer_row(z[upto], theirs, **memory)
        held = [state[0] for state in states]
    return y * sigmoid(norm(m, weights, "memory_norm")), surprise
