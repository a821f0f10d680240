"""The definition of the memory, token by token, in NumPy and float64.

Slow and obvious on purpose: every fast path is held against it. Gradients are
taken by complex steps, so that no derivation is shared with the library.
"""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def silu(z):
    return z * sigmoid(z)


def unit(x):
    return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + 1e-6)


def mlp(x, weights, activation=np.tanh, residual=False, unit_norm=True):
    """A multilayer perceptron of any depth; depth 1 is a matrix."""
    h = x
    for w in weights[:-1]:
        h = activation(h @ w)
        if unit_norm:
            h = unit(h)
    y = h @ weights[-1]
    return x + y if residual else y


def gated_mlp(x, weights, residual=False, unit_norm=True):
    h = silu(x @ weights[0]) * (x @ weights[1])
    if unit_norm:
        h = unit(h)
    y = h @ weights[2]
    return x + y if residual else y


def gradient(loss, weights):
    """The gradient of `loss(weights)` by complex steps, exact to rounding."""
    step = 1e-30
    gradients = []
    for m, w in enumerate(weights):
        g = np.zeros_like(w)
        for index in np.ndindex(*w.shape):
            nudged = [v.astype(complex) for v in weights]
            nudged[m][index] += 1j * step
            g[index] = loss(nudged).imag / step
        gradients.append(g)
    return gradients


def memorize(
    query,
    key,
    value,
    theta,
    eta,
    alpha,
    weights,
    network,
    anchor="chunk",
    chunk_size=4,
    rates=None,
    mask=None,
    forget_to_initial=False,
    forget_first=False,
    read_first=False,
    max_surprise=None,
    momentum=None,
    start_anchor=None,
    phase=0,
    initial=None,
):
    """One row and head through the recurrence.

    Args:
        query, key, value: `(tokens, dim)`.
        theta, eta, alpha: `(tokens,)`, or None for a gate that is off.
        weights: The memory at the start, one matrix for each dense map.
        network: `(x, weights) -> y`.
        rates: How fast each map learns. By default 1.
        mask: `(tokens,)`, boolean.
        momentum, start_anchor, phase: The rest of a state to go on from.
        initial: What `forget_to_initial` forgets towards, by default
            `weights`.

    Returns:
        The reads `(tokens, dim)`, the surprises' norms `(tokens,)`, and the
        state after the last token: weights, momentum, anchor, phase.
    """
    tokens = len(key)
    eta = np.zeros(tokens) if eta is None else eta
    alpha = np.zeros(tokens) if alpha is None else alpha
    mask = np.ones(tokens, bool) if mask is None else mask
    rates = [1.0] * len(weights) if rates is None else rates
    initial = weights if initial is None else initial
    towards = [w * forget_to_initial for w in initial]
    momentum = (
        [np.zeros_like(w) for w in weights] if momentum is None else momentum
    )
    anchors = weights if start_anchor is None else start_anchor
    reads = np.zeros_like(value)
    norms = np.zeros(tokens)
    for t in range(tokens):
        if not mask[t]:
            continue
        if phase == 0:
            anchors = weights
        before = weights
        if forget_first:
            before = [
                (1.0 - alpha[t]) * w + alpha[t] * goal
                for w, goal in zip(weights, towards)
            ]
        if anchor == "chunk":
            g = gradient(
                lambda w: np.sum((network(key[t], w) - value[t]) ** 2), anchors
            )
        else:
            g = _online_gradient(key[t], value[t], before, anchors, network)
        norm = np.sqrt(sum(np.sum(x * x) for x in g))
        if max_surprise is not None and norm > max_surprise:
            g = [x * max_surprise / norm for x in g]
        if read_first:
            read_from = weights
        momentum = [
            eta[t] * s - theta[t] * rate * x
            for s, rate, x in zip(momentum, rates, g)
        ]
        weights = [
            (1.0 - alpha[t]) * w + alpha[t] * goal + s
            for w, goal, s in zip(weights, towards, momentum)
        ]
        if not read_first:
            read_from = weights
        reads[t] = network(query[t], read_from)
        norms[t] = norm
        phase = (phase + 1) % chunk_size
    return reads, norms, (weights, momentum, anchors, phase)


def _online_gradient(key, value, before, anchors, network):
    """The last map's gradient just before the token; the lower maps' the
    same error, carried back through the anchor."""
    online = [*anchors[:-1], before[-1]]
    error = 2.0 * (network(key, online) - value)
    last = gradient(lambda w: np.sum((network(key, w) - value) ** 2), online)[
        -1
    ]
    lower = gradient(lambda w: np.sum(error * network(key, w)), anchors)[:-1]
    return [*lower, last]


def memory_layer(x, weights, num_heads, network, mask=None, **options):
    """The whole layer: a row's masked tokens are taken out of it first.

    Args:
        x: `(rows, tokens, width)`.
        weights: The layer's weights by name, as `layer_weights` reads them.
        num_heads: Number of heads.
        network: `(x, weights) -> y`.
        mask: `(rows, tokens)`, boolean.
        options: For `memorize`; `rule`, the update rule.

    Returns:
        The outputs, 0 where masked; the surprises `(rows, tokens, heads)`;
        each row's and head's state.
    """
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    outputs = np.zeros_like(x)
    surprises = np.zeros((*x.shape[:2], num_heads))
    states = {}
    for row in range(len(x)):
        real = mask[row]
        outputs[row, real], surprises[row, real], by_head = layer_row(
            x[row, real], weights, num_heads, network, **options
        )
        for head, state in enumerate(by_head):
            states[row, head] = state
    return outputs, surprises, states


def projected(x, weights, name, num_heads):
    """A row's queries, keys or values `(tokens, heads, dim)`, not yet unit."""
    y = x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0.0)
    taps = weights.get(f"{name}_convolution/kernel")
    if taps is not None:
        z = np.zeros_like(y)
        for t in range(len(x)):
            for back in range(min(len(taps), t + 1)):
                z[t] += y[t - back] * taps[len(taps) - 1 - back]
        y = z
    return silu(y).reshape(len(x), num_heads, -1)


def put_out(x, read, weights):
    """What was read `(tokens, heads, dim)`, normalised, gated, projected."""
    square = np.mean(read * read, axis=-1, keepdims=True)
    read = read / np.sqrt(square + 1e-6) * weights["output_norm/scale"]
    y = read.reshape(len(x), -1)
    y = y * silu(
        x @ weights["output_gate/kernel"] + weights.get("output_gate/bias", 0.0)
    )
    return y @ weights["output/kernel"] + weights.get("output/bias", 0.0)


def starting_weights(weights, num_heads):
    """The learned initial memory: for each head, a matrix for each map."""
    starts = [[] for _ in range(num_heads)]
    while True:
        w = weights.get(f"fast_weights/initial_memory_{len(starts[0])}")
        if w is None:
            return starts
        for head, share in enumerate(np.split(w, num_heads, axis=1)):
            starts[head].append(share)


def gate_value(gate, logits):
    """A gate's values, by its attributes; a constant's are itself."""
    if isinstance(gate, float):
        return gate
    above = np.maximum(sigmoid(logits) - gate.threshold, 0.0)
    return gate.maximum * above / (1.0 - gate.threshold)


def theta_eta_alpha(rule, logits, shape, slope=2.0):
    """What the equations call the gates of `Titans` or `GatedDelta`."""
    values = {
        name: gate_value(gate, logits.get(name)) * np.ones(shape)
        for name, gate in rule.gates.items()
    }
    theta = values["learning_rate"]
    eta, alpha = values.get("momentum"), values.get("forgetting")
    if is_delta(rule):
        return theta / slope, eta, alpha
    if rule.normalize_learning_rate:
        theta = theta / slope
        for gate in (eta, alpha):
            theta = theta if gate is None else theta * (1.0 - gate)
    return theta, eta, alpha


def is_delta(rule):
    return type(rule).__name__ == "GatedDelta"


def rule_options(rule):
    """What `memorize` is told of a rule."""
    delta = is_delta(rule)
    return {
        "forget_first": delta,
        "forget_to_initial": not delta and rule.forget_to == "initial",
        "max_surprise": None if delta else rule.clipnorm,
    }


def layer_row(x, weights, num_heads, network, rule, **options):
    """The outputs, surprises and states by head of one row."""
    tokens = len(x)
    logits = {
        name: gate.logit_scale * (x @ weights[f"gates/{name}/kernel"])
        + weights[f"gates/{name}/bias"]
        for name, gate in rule.gates.items()
        if not isinstance(gate, float)
    }
    query = unit(projected(x, weights, "query", num_heads))
    key = unit(projected(x, weights, "key", num_heads))
    value = projected(x, weights, "value", num_heads)
    theta, eta, alpha = theta_eta_alpha(rule, logits, (tokens, num_heads))
    options = {**rule_options(rule), **options}
    reads, surprises, states = [], [], []
    for head, start in enumerate(starting_weights(weights, num_heads)):
        rates = [1.0]
        if len(start) > 1:
            rates = np.exp(weights["fast_weights/log_hidden_rates"][:, head])
            rates = [*rates, 1.0]
        read, surprise, state = memorize(
            query[:, head],
            key[:, head],
            value[:, head],
            theta[:, head],
            None if eta is None else eta[:, head],
            None if alpha is None else alpha[:, head],
            start,
            network,
            rates=rates,
            **options,
        )
        reads.append(read)
        surprises.append(surprise)
        states.append(state)
    y = put_out(x, np.stack(reads, axis=1), weights)
    return y, np.stack(surprises, axis=-1), states
