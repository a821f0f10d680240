"""What a network or an objective only claims to be is found out."""

import keras
import pytest
from keras import ops

from keras_titans.layers import NeuralMemory
from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import SquaredError
from keras_titans.memory.probe import check_linear
from keras_titans.memory.probe import check_network

DIM = 4


def network(call, shapes=((DIM, DIM), (DIM, DIM)), methods=None):
    """One of two maps that is called as a function says."""
    methods = {
        "map_shapes": lambda self, dim: shapes,
        "__call__": lambda self, x, dense: call(x, dense),
        **(methods or {}),
    }
    return type("Written", (MemoryNetwork,), methods)()


@pytest.mark.parametrize(
    "good",
    [
        MLPMemory(1),
        MLPMemory(3, residual=True),
        GatedMLPMemory(),
        network(lambda x, dense: ops.tanh(dense(0, x)) + dense(1, x)),
        network(lambda x, dense: dense(1, ops.tanh(dense(0, x))) - 2.0 * x),
    ],
)
def test_what_adds_its_last_map_is_taken(good, run_mode):
    """Also while something is traced, as where a layer is built in a step."""

    def fn(x):
        check_network(good, DIM, "token")
        check_linear(SquaredError())
        return 2.0 * x

    assert run_mode(fn)(ops.ones(())) == 2.0


@pytest.mark.parametrize(
    "call",
    [
        lambda x, dense: ops.tanh(dense(1, dense(0, x))),
        lambda x, dense: 0.9 * dense(1, dense(0, x)),
        lambda x, dense: dense(0, x) * dense(1, x),
    ],
)
def test_what_does_not_is_for_the_chunk_anchor(call):
    with pytest.raises(ValueError, match="anchor='chunk'.*additive_output"):
        NeuralMemory(1, DIM, network=network(call)).build((None, None, DIM))
    closed = network(call, methods={"additive_output": False})
    NeuralMemory(1, DIM, network=closed, anchor="chunk").build(
        (None, None, DIM)
    )


@pytest.mark.parametrize(
    "bad, says",
    [
        (network(lambda x, dense: dense(0, x)), r"each of its 2 maps.*\[0\]"),
        (network(lambda x, dense: dense(1, dense(1, x))), r"\[1, 1\]"),
        (
            network(lambda x, dense: dense(1, dense(0, x))[..., :1]),
            r"`Written.__call__` returns shape \(1, 1, 3, 1\)",
        ),
        (network(None, shapes=((DIM, 0),)), "`Written.map_shapes"),
        (network(None, shapes=DIM), "`Written.map_shapes"),
        (network(None, shapes=()), "`Written.map_shapes"),
    ],
)
def test_what_is_no_network_of_maps_is_refused(bad, says):
    with pytest.raises(ValueError, match=f"`network`.*{says}"):
        check_network(bad, DIM, "chunk")


def test_a_gradient_that_only_claims_to_be_linear():
    class Clipped(Objective):
        slope, linear = 2.0, True

        def gradient(self, prediction, target):
            return ops.clip(2.0 * (prediction - target), -1.0, 1.0)

    with pytest.raises(ValueError, match="`objective`.*linear = False"):
        NeuralMemory(1, objective=Clipped())(keras.random.normal((1, 3, DIM)))


@pytest.mark.parametrize(
    "base, method",
    [
        (MemoryNetwork, "map_shapes"),
        (MemoryNetwork, "__call__"),
        (Objective, "gradient"),
    ],
)
def test_what_is_not_written_is_named(base, method):
    written = {"map_shapes", "__call__", "gradient"} - {method}
    empty = type("Empty", (base,), dict.fromkeys(written, lambda self: None))
    with pytest.raises(TypeError, match=f"Empty.*{method}"):
        empty()


def test_what_is_no_matrix_must_not_say_so():
    doubled = network(
        lambda x, dense: 2.0 * dense(0, x),
        shapes=((DIM, DIM),),
        methods={"is_matrix": True},
    )
    with pytest.raises(ValueError, match="`x @ W`.*`is_matrix = True`"):
        check_network(doubled, DIM, "chunk")
