"""Closed-form backward passes against autodiff and complex steps."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from tests import reference
from tests.helpers import close
from tests.helpers import to_numpy

DIM = 3


class Bottleneck(MemoryNetwork):
    def map_shapes(self, dim):
        return (dim, 2), (2, dim)

    def __call__(self, x, dense):
        return x + dense(1, ops.tanh(dense(0, x)))


def bottleneck(x, w):
    return x + np.tanh(x @ w[0]) @ w[1]


CASES = {
    "matrix": (MLPMemory(1), reference.mlp),
    "mlp2": (
        MLPMemory(2, 2, "tanh", unit_norm=False),
        lambda x, w: reference.mlp(x, w, unit_norm=False),
    ),
    "mlp3": (
        MLPMemory(3, 1.7, "silu"),
        lambda x, w: reference.mlp(x, w, reference.silu),
    ),
    "mlp2-residual": (
        MLPMemory(2, 2, "silu", residual=True),
        lambda x, w: reference.mlp(x, w, reference.silu, residual=True),
    ),
    "gated": (GatedMLPMemory(1.7), reference.gated_mlp),
    "gated-residual": (
        GatedMLPMemory(1.7, residual=True, unit_norm=False),
        lambda x, w: reference.gated_mlp(x, w, True, False),
    ),
    "written": (Bottleneck(), bottleneck),
}


def passed(network, seed=0):
    """A pass through a network: input, weights, each map's ins and outs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, DIM))
    weights = [rng.normal(size=(2, *s)) for s in network.map_shapes(DIM)]
    gradient = rng.normal(size=(2, 5, DIM))
    tensors = [ops.convert_to_tensor(w) for w in weights]
    inputs, outputs = {}, {}

    def dense(m, h):
        inputs[m], outputs[m] = h, ops.matmul(h, tensors[m])
        return outputs[m]

    y = network(ops.convert_to_tensor(x), dense)
    arguments = (
        ops.convert_to_tensor(x),
        tensors,
        inputs,
        outputs,
        ops.convert_to_tensor(gradient),
    )
    return x, weights, gradient, y, arguments


@pytest.mark.parametrize("network, slow", CASES.values(), ids=CASES)
def test_backward_equals_autodiff(network, slow):
    *_, arguments = passed(network)
    wanted = MemoryNetwork.backward(network, *arguments)
    close(network.backward(*arguments), wanted, 1e-10)


@pytest.mark.parametrize("network, slow", CASES.values(), ids=CASES)
def test_surprise_equals_complex_steps(network, slow):
    """`X^T D` is the gradient by the weights."""
    x, weights, gradient, y, arguments = passed(network)
    deltas = to_numpy(network.backward(*arguments))
    for head in range(2):
        mine = [w[head] for w in weights]
        close(to_numpy(y)[head], slow(x[head], mine), 1e-12)
        wanted = reference.gradient(
            lambda w: np.sum(slow(x[head], w) * gradient[head]), mine
        )
        for m, delta in enumerate(deltas):
            inputs = to_numpy(arguments[2][m])[head]
            close(inputs.T @ delta[head], wanted[m], 1e-10)


@pytest.mark.parametrize(
    "network",
    [
        MLPMemory(3, 2.5, "tanh", True, False, hidden_rate=0.3),
        GatedMLPMemory(3, "relu", True, False, hidden_rate=0.3),
    ],
)
def test_config_round_trip(network):
    config = keras.saving.serialize_keras_object(network)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(network)
    assert again.get_config() == network.get_config()
    defaults = type(network)().get_config()
    for name, value in network.get_config().items():
        assert value != defaults[name], f"{name} is at its default"


def test_a_written_network_needs_no_config():
    config = Bottleneck().get_config()
    assert isinstance(Bottleneck.from_config(config), Bottleneck)
