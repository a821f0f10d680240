"""The baselines' definitions, row by row, token by token, in NumPy.

Slow and obvious on purpose, from the papers' recurrences, in float64. `x` is
one row `(tokens, width)`, `weights` the layer's by their path.
"""

import numpy as np

from tests.reference import sigmoid
from tests.reference import silu
from tests.reference import unit


def softplus(z):
    return np.log1p(np.exp(z))


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def rms_norm(x, scale):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale


def convolved(x, taps):
    y = np.zeros_like(x)
    for t in range(len(x)):
        for back in range(min(len(taps), t + 1)):
            y[t] += x[t - back] * taps[len(taps) - 1 - back]
    return y


def full_attention_row(x, weights, num_heads):
    query = (x @ weights["query/kernel"]).reshape(len(x), num_heads, -1)
    dim = query.shape[-1]
    key, value = (
        (x @ weights[f"{name}/kernel"]).reshape(len(x), -1, dim)
        for name in ("key", "value")
    )
    shared = num_heads // key.shape[1]

    def turned(vector, position):
        half = dim // 2
        pairs = vector[:half] + 1j * vector[half:]
        speed = 10_000.0 ** -(np.arange(half) / half)
        pairs = pairs * np.exp(1j * position * speed)
        return np.concatenate([pairs.real, pairs.imag])

    y = np.zeros_like(query)
    for t in range(len(x)):
        for head in range(num_heads):
            group = head // shared
            scores = np.array(
                [
                    turned(key[s, group], s) @ turned(query[t, head], t)
                    for s in range(t + 1)
                ]
            )
            share = np.exp(scores / np.sqrt(dim))
            y[t, head] = share / share.sum() @ value[: t + 1, group]
    return y.reshape(len(x), -1) @ weights["output/kernel"]


def gated_linear_rnn_row(x, weights, num_heads):
    u = convolved(
        x @ weights["recurrent/kernel"], weights["convolution/kernel"]
    )

    def gate(vector, name):
        blocks = [
            block @ kernel + bias
            for block, kernel, bias in zip(
                np.split(vector, num_heads),
                weights[f"{name}/kernel"],
                weights[f"{name}/bias"],
            )
        ]
        return sigmoid(np.concatenate(blocks))

    h = np.zeros(u.shape[-1])
    y = np.zeros_like(u)
    for t in range(len(x)):
        r, i = gate(u[t], "recurrence_gate"), gate(u[t], "input_gate")
        a = sigmoid(weights["decay_logit"]) ** (8 * r)
        h = a * h + np.sqrt(1 - a**2) * (i * u[t])
        y[t] = gelu(x[t] @ weights["output_gate/kernel"]) * h
    return y @ weights["output/kernel"]


def mamba2_row(x, weights, num_heads):
    inner = len(weights["output/kernel"])
    mixed = weights["convolution/kernel"].shape[1]
    state_dim = (mixed - inner) // 2
    z, mixed, logits = np.split(
        x @ weights["in_projection/kernel"], [inner, inner + mixed], axis=-1
    )
    mixed = silu(convolved(mixed, weights["convolution/kernel"]))
    values, keys, queries = np.split(mixed, [inner, inner + state_dim], axis=-1)
    step = softplus(logits + weights["gate/step_bias"])
    rate = np.exp(weights["gate/log_rate"])
    outputs = []
    for head, value in enumerate(np.split(values, num_heads, axis=-1)):
        h = np.zeros((value.shape[-1], state_dim))
        y = np.zeros_like(value)
        for t in range(len(x)):
            dt = step[t, head]
            h = np.exp(-rate[head] * dt) * h + dt * np.outer(value[t], keys[t])
            y[t] = h @ queries[t] + weights["skip"][head] * value[t]
        outputs.append(y)
    y = np.concatenate(outputs, axis=-1) * silu(z)
    return rms_norm(y, weights["norm/scale"]) @ weights["output/kernel"]


def gated_delta_row(x, weights, num_heads):
    def heads(name):
        y = x @ weights[f"{name}/kernel"]
        y = silu(convolved(y, weights[f"{name}_convolution/kernel"]))
        return np.split(y, num_heads, axis=-1)

    step = softplus(
        x @ weights["decay_logit/kernel"] + weights["gate/step_bias"]
    )
    alpha = np.exp(-np.exp(weights["gate/log_rate"]) * step)
    beta = sigmoid(x @ weights["rate_logit/kernel"])
    outputs = []
    for head, (query, key, value) in enumerate(
        zip(heads("query"), heads("key"), heads("value"))
    ):
        query, key = unit(query), unit(key)
        s = np.zeros((value.shape[-1], key.shape[-1]))
        y = np.zeros_like(value)
        for t in range(len(x)):
            a, b = alpha[t, head], beta[t, head]
            erased = np.eye(len(key[t])) - b * np.outer(key[t], key[t])
            s = a * s @ erased + b * np.outer(value[t], key[t])
            y[t] = s @ query[t]
        outputs.append(rms_norm(y, weights["norm/scale"]))
    y = np.concatenate(outputs, axis=-1)
    y = y * silu(x @ weights["output_gate/kernel"])
    return y @ weights["output/kernel"]


def rows(row, layer_weights, num_heads, x):
    """A whole batch, row by row."""
    return np.stack([row(one, layer_weights, num_heads) for one in x])
