"""Whether a network and an objective are what they say, by trying them."""

import numpy as np
from keras import ops

from keras_titans import backend

# Of the values' own size. Products are NumPy's, so nothing else is inexact.
TOLERANCE = 1e-2


def check_network(network, dim, anchor):
    """Raise a ValueError for a network that a memory cannot be made of.

    Args:
        network: A `keras_titans.memory.MemoryNetwork`.
        dim: The width of its input and of its output.
        anchor: `"token"` or `"chunk"`: where surprises are taken.
    """
    kind = type(network).__name__
    random = np.random.default_rng(0)
    weights = [
        random.normal(0.0, inputs**-0.5, (inputs, outputs)).astype("float32")
        for inputs, outputs in _shapes(network, dim)
    ]
    x = random.normal(size=(1, 1, 3, dim)).astype("float32")
    y, inputs, used = _called(network, x, weights)
    if sorted(used) != list(range(len(weights))):
        raise ValueError(
            f"Argument `network` must use each of its {len(weights)} maps "
            f"once. Received: network={network!r}, and `{kind}.__call__` "
            f"uses the maps {used}."
        )
    if y.shape != x.shape:
        raise ValueError(
            "Argument `network` must return what has the shape of its input. "
            f"Received: network={network!r}, and `{kind}.__call__` returns "
            f"shape {y.shape} for {x.shape}."
        )
    if network.is_matrix and not _close(y, x @ weights[0], y):
        raise ValueError(
            "Argument `network` must be `x @ W` where its class says "
            f"`is_matrix = True`. Received: network={network!r}, which returns "
            "something else."
        )
    if anchor != "token":
        return
    nudge = random.normal(size=weights[-1].shape).astype("float32")
    after, *_ = _called(network, x, [*weights[:-1], weights[-1] + nudge])
    wanted = inputs[len(weights) - 1] @ nudge
    if not _close(after - y, wanted, y):
        raise ValueError(
            "Argument `network` must add its last map to its output where "
            "`anchor='token'`, and this one does something else with it. Pass "
            "`anchor='chunk'`, and say so in its class: "
            f"`additive_output = False`. Received: network={network!r}."
        )


def check_linear(objective):
    """Raise a ValueError for an objective that is not, but says so."""
    random = np.random.default_rng(0)
    prediction, target = random.normal(size=(2, 3, 4)).astype("float32")
    with backend.eager():
        gradient = ops.convert_to_numpy(
            objective.gradient(
                ops.convert_to_tensor(prediction),
                ops.convert_to_tensor(target),
            )
        )
    wanted = objective.slope * (prediction - target)
    if not _close(gradient, wanted, wanted):
        raise ValueError(
            "Argument `objective` must have a gradient of `slope * (prediction "
            "- target)` where it says `linear = True`, and this one has "
            "another. Say `linear = False` in its class, and pass "
            f"`anchor='chunk'`. Received: objective={objective!r}."
        )


def _shapes(network, dim):
    """The network's `map_shapes`, as pairs of positive integers."""
    shapes = network.map_shapes(dim)
    try:
        pairs = [tuple(map(int, shape)) for shape in shapes]
        fits = pairs and all(len(p) == 2 and min(p) > 0 for p in pairs)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            "Argument `network` must have one or more maps, each with a pair "
            f"of positive widths. Received: network={network!r}, and "
            f"`{type(network).__name__}.map_shapes({dim})` returns {shapes!r}."
        )
    return pairs


def _called(network, x, weights):
    """The output, what each map was given, and which were used, in order."""
    inputs, used = {}, []

    def dense(m, h):
        used.append(m)
        inputs[m] = ops.convert_to_numpy(h)
        return ops.convert_to_tensor(inputs[m] @ weights[m])

    with backend.eager():
        y = ops.convert_to_numpy(network(ops.convert_to_tensor(x), dense))
    return y, inputs, used


def _close(one, other, scale):
    size = np.abs(other).max() + np.abs(scale).max()
    return np.abs(one - other).max() <= TOLERANCE * size
