"""What any memory owes its users, whatever it computes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import Titans
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, TOKENS, WIDTH = 2, 10, 6

OPTIONS = {
    "token": {"anchor": "token"},
    "chunk": {"anchor": "chunk"},
    "matrix": {"memory_depth": 1},
    "gated": {"network": GatedMLPMemory(1.4)},
}


def memory_layer(**options):
    options = {
        "num_heads": 2,
        "head_dim": 3,
        "chunk_size": 4,
        "update_rule": Titans(
            learning_rate=Gate(),
            forgetting=Gate(initial=0.1),
            forget_to="zero",
        ),
        "memory_depth": None if "network" in options else 2,
        "dtype": "float64",
        **options,
    }
    layer = NeuralMemory(**options)
    layer.build((ROWS, None, WIDTH))
    return randomized(layer)


def inputs(seed=0, tokens=TOKENS, width=WIDTH):
    return np.random.default_rng(seed).normal(size=(ROWS, tokens, width))


def moved(run, x, row, token):
    """How far each token's output moves when one token is changed."""
    changed = x.copy()
    changed[row, token] += 1.0
    difference = to_numpy(run(changed)) - to_numpy(run(x))
    return np.abs(difference).max(axis=-1)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_past_reaches_future_and_nothing_else(options):
    """Causal at aligned and unaligned tokens, rows independent."""
    run = traced(memory_layer(**options))
    for token in range(TOKENS):
        by = moved(run, inputs(), 1, token)
        assert np.all(by[0] == 0.0), "another row moved"
        assert np.all(by[1, :token] < 1e-13), "the past moved"
        assert np.all(by[1, token:] > 1e-7), "a later token did not move"


def test_the_past_reaches_the_future_through_the_memory():
    """Across chunks, and without the convolutions' help."""
    run = traced(memory_layer(kernel_size=1))
    by = moved(run, inputs(), 0, 1)
    assert np.all(by[0, 1:] > 1e-7)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_same_twice_and_no_weight_moves(options):
    layer = memory_layer(**options)
    before = layer_weights(layer)
    run = traced(layer)
    first, second = run(inputs()), run(inputs())
    same(first, second)
    after = layer_weights(layer)
    assert list(before) == list(after)
    for name in before:
        same(after[name], before[name])


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize("remat", [True, False])
def test_inference_equals_training(anchor, remat):
    layer = memory_layer(anchor=anchor, remat=remat)
    x = inputs()
    training = traced(lambda x: layer(x, training=True))(x)
    inference = traced(lambda x: layer(x, training=False))(x)
    difference = to_numpy(training) - to_numpy(inference)
    assert np.abs(difference).max() < 1e-13


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_less_than_a_chunk_is_written(anchor, tokens):
    layer = memory_layer(anchor=anchor, return_state=True)
    start = to_numpy(layer.get_initial_state(ROWS))
    x = inputs()
    _, state = layer(x[:, :tokens])
    state = to_numpy(state)
    for old, new in zip(start["memory"], state["memory"]):
        assert np.abs(new - old).max() > 1e-3
    assert list(state["phase"]) == [tokens] * ROWS
    read = lambda state: to_numpy(
        layer(x[:, -1:], initial_state=state, update=False)[0]
    )
    start["convolution"] = state["convolution"]
    assert np.abs(read(state) - read(start)).max() > 1e-3


def test_a_state_that_is_passed_stays_as_it_was():
    layer = memory_layer(return_state=True)
    _, state = layer(inputs()[:, :6])
    before = to_numpy(keras.tree.map_structure(ops.copy, state))
    layer(inputs(1), initial_state=state)
    same(state, before)


def long_run(layer, tokens, scale, repeated):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, tokens, 16))
    if repeated:  # the same eight tokens over and over: keys alike
        x = np.tile(x[:, :8], (1, tokens // 8, 1))
    run = traced(lambda x, state: layer(x, initial_state=state))
    state = layer.get_initial_state(1)
    sizes = []
    piece = min(tokens, 8192)
    for start in range(0, tokens, piece):
        part = (scale * x[:, start : start + piece]).astype("float32")
        outputs, state = run(part, state)
        outputs = to_numpy(outputs)
        assert np.all(np.isfinite(outputs))
        sizes += list(
            np.sqrt(np.mean(outputs.reshape(-1, 512, 16) ** 2, (1, 2)))
        )
    largest = max(np.abs(w).max() for w in to_numpy(state)["memory"])
    # A value is at most as large as an input's projection, and a memory needs
    # no more than the values' size to hold it.
    assert largest < 20 * scale
    assert sizes[-1] < 3 * sizes[0], "the outputs have grown"


DEPTHS = pytest.mark.parametrize("depth", [1, 2])


@DEPTHS
@pytest.mark.parametrize("repeated", [False, True], ids=["random", "alike"])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_bounded_after_2048_tokens(scale, repeated, depth):
    layer = NeuralMemory(
        2, 8, memory_depth=depth, chunk_size=32, return_state=True
    )
    layer.build((1, None, 16))
    long_run(layer, 2048, scale, repeated)


@pytest.mark.slow
@DEPTHS
@pytest.mark.parametrize("repeated", [False, True], ids=["random", "alike"])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_bounded_after_65536_tokens(scale, repeated, depth):
    layer = NeuralMemory(
        2, 8, memory_depth=depth, chunk_size=64, return_state=True
    )
    layer.build((1, None, 16))
    long_run(layer, 65536, scale, repeated)
