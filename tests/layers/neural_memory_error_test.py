"""Bad input is named, before anything is computed."""

import re

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import Titans
from tests.helpers import to_numpy

ROWS, TOKENS, WIDTH = 2, 5, 6
X = np.ones((ROWS, TOKENS, WIDTH), "float32")


class Huber(Objective):
    slope = 2.0

    def gradient(self, prediction, target):
        return keras.ops.clip(2.0 * (prediction - target), -1.0, 1.0)


class Slopeless(Objective):
    def gradient(self, prediction, target):
        return prediction - target


class Closed(MemoryNetwork):
    additive_output = False

    def map_shapes(self, dim):
        return ((dim, dim),)

    def __call__(self, x, dense):
        return keras.ops.tanh(dense(0, x))


@pytest.mark.parametrize(
    "options, names",
    [
        ({"network": MLPMemory(3), "memory_depth": 4}, "memory_depth"),
        ({"network": MLPMemory(3), "memory_depth": 3}, "memory_depth"),
        ({"objective": Slopeless()}, "`slope`.*`Slopeless`"),
        ({"update_rule": Titans(clipnorm=1.0)}, "clipnorm"),
        ({"update_rule": "adam"}, "`update_rule`.*'gated_delta'.*'adam'"),
        ({"objective": Huber()}, "objective"),
        ({"network": Closed()}, "network"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_exclude_each_other(options, names):
    with pytest.raises(ValueError, match=names):
        NeuralMemory(**{"num_heads": 2, **options})


@pytest.mark.parametrize(
    "options",
    [{"objective": Huber()}, {"network": Closed()}],
    ids=["objective", "network"],
)
def test_what_needs_the_chunk_anchor_has_it(options):
    NeuralMemory(2, anchor="chunk", **options)


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6, 1), (2, 5, None)], ids=str)
def test_input_rank_and_unknown_width(shape):
    with pytest.raises(ValueError, match=r"\(batch, length, width\)"):
        NeuralMemory(2).build(shape)


def test_another_width_than_built_for():
    layer = NeuralMemory(2, 3)
    layer(X)
    with pytest.raises(ValueError, match="built for inputs of width 6"):
        layer(np.ones((ROWS, TOKENS, 4), "float32"))


def test_no_token():
    with pytest.raises(ValueError, match="at least one token"):
        NeuralMemory(2)(X[:, :0])


@pytest.mark.parametrize(
    "mask, says",
    [
        (np.ones((ROWS, TOKENS), "float32"), "boolean"),
        (np.ones((ROWS, TOKENS), "int32"), "boolean"),
        ([[True] * TOKENS] * ROWS, "boolean"),
        (np.ones((ROWS, TOKENS, 1), bool), "shape"),
        (np.ones((ROWS, TOKENS - 1), bool), "shape"),
        (np.ones((1, TOKENS), bool), "shape"),
        (np.ones((TOKENS,), bool), "shape"),
    ],
    ids=["float", "integer", "list", "rank", "length", "batch", "vector"],
)
def test_mask(mask, says):
    layer = NeuralMemory(2, 3)
    with pytest.raises(ValueError, match=f"`mask`.*{says}"):
        layer(X, mask=mask)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def replaced(state, name, fn):
    return {
        key: keras.tree.map_structure(fn, value) if key == name else value
        for key, value in state.items()
    }


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda s: without(s, "phase"), "structure"),
        (lambda s: {**s, "more": s["phase"]}, "structure"),
        (lambda s: {**s, "memory": s["memory"][:1]}, "structure"),
        (lambda s: list(s.values()), "structure"),
        (lambda s: s["phase"], "structure"),
        (
            lambda s: replaced(s, "memory", lambda x: x[:, :1]),
            "memory/0.*shape",
        ),
        (lambda s: replaced(s, "phase", lambda x: x[:, None]), "phase.*shape"),
        (
            lambda s: keras.tree.map_structure(lambda x: x[:1], s),
            "shape.*Received",
        ),
        (
            lambda s: replaced(s, "momentum", lambda x: x.astype("float16")),
            "momentum/0.*dtype float32",
        ),
        (
            lambda s: replaced(s, "phase", lambda x: x.astype("float32")),
            "phase.*dtype int32",
        ),
    ],
    ids=[
        "entry-missing",
        "entry-too-many",
        "map-missing",
        "list",
        "tensor",
        "heads",
        "rank",
        "batch",
        "float16",
        "float-phase",
    ],
)
def test_state(change, says):
    layer = NeuralMemory(2, 3, memory_depth=2, return_state=True)
    layer.build((None, None, WIDTH))
    state = to_numpy(layer.get_initial_state(ROWS))
    layer(X, initial_state=state)
    with pytest.raises(ValueError, match="`initial_state`") as error:
        layer(X, initial_state=change(state))
    assert re.search(f"(?s){says}", str(error.value))


def test_errors_come_before_any_computation():
    """Symbolically, too: while a functional model is put together."""
    layer = NeuralMemory(2, 3)
    x = keras.Input((TOKENS, WIDTH))
    with pytest.raises(ValueError, match="`mask`"):
        layer(x, mask=keras.Input((TOKENS - 1,), dtype="bool"))
    with pytest.raises(ValueError, match="`initial_state`"):
        layer(x, initial_state=[x])


def test_stateful_without_a_batch_size():
    with pytest.raises(ValueError, match="batch size"):
        NeuralMemory(2, stateful=True)(keras.Input((None, WIDTH)))
