"""The layer against the definition; pieces, masks, reads without writes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import MLPMemory
from keras_titans.memory import Titans
from tests import reference
from tests.helpers import close
from tests.helpers import few_examples
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, TOKENS, WIDTH, HEADS, CHUNK = 3, 10, 6, 2, 4


def inputs(seed=0, tokens=TOKENS):
    return np.random.default_rng(seed).normal(size=(ROWS, tokens, WIDTH))


def memory_layer(**options):
    options = {
        "num_heads": HEADS,
        "head_dim": WIDTH // HEADS,
        "chunk_size": CHUNK,
        "network": MLPMemory(2, expansion=1.4, activation="tanh"),
        "update_rule": Titans(
            learning_rate=Gate(),
            forgetting=Gate(initial=0.1),
            forget_to="zero",
        ),
        "return_state": True,
        "dtype": "float64",
        **options,
    }
    layer = NeuralMemory(**options)
    layer.build((None, None, WIDTH))
    return randomized(layer)


def forward(layer, **fixed):
    """`layer` as a function of inputs, mask and state."""

    def run(x, mask=None, initial_state=None):
        return layer(x, mask=mask, initial_state=initial_state, **fixed)

    return traced(run)


def check_state(state, states):
    """The layer's state against the states of the definition."""
    state = to_numpy(state)
    for (row, head), (weights, momentum, anchors, phase) in states.items():
        kept = {"memory": weights, "momentum": momentum}
        if "phase" in state:
            assert state["phase"][row] == phase
            if phase:
                kept["anchor"] = anchors
        for name, want in kept.items():
            for m, w in enumerate(want):
                if name in state:
                    close(state[name][m][row, head], w, 1e-9)


HOLES = np.random.default_rng(1).random((ROWS, TOKENS)) > 0.4


@pytest.mark.parametrize(
    "options, network",
    [
        ({}, reference.mlp),
        ({"anchor": "chunk"}, reference.mlp),
        (
            {"network": None, "memory_depth": 2, "head_dim": 2},
            lambda x, w: reference.mlp(x, w, reference.silu),
        ),
        (
            {
                "update_rule": "titans",
                "network": None,
                "kernel_size": 1,
                "use_bias": True,
            },
            reference.mlp,
        ),
        (
            {
                "anchor": "chunk",
                "update_rule": Titans(
                    learning_rate=Gate(maximum=0.3),
                    normalize_learning_rate=False,
                    clipnorm=0.5,
                ),
            },
            reference.mlp,
        ),
        (
            {
                "update_rule": Titans(learning_rate=1.0, momentum=None),
                "read_first": True,
            },
            reference.mlp,
        ),
        ({"update_rule": "gated_delta"}, reference.mlp),
    ],
    ids=[
        "token",
        "chunk",
        "deep",
        "default",
        "paper",
        "constant-rate",
        "gated-delta",
    ],
)
@pytest.mark.parametrize("mask", [None, HOLES], ids=["whole", "holes"])
def test_equals_the_definition(options, network, mask):
    layer = memory_layer(**options)
    x = inputs()
    run = forward(layer, return_diagnostics=True)
    outputs, diagnostics, state = run(x, mask)
    wanted, surprises, states = reference.memory_layer(
        x,
        layer_weights(layer),
        HEADS,
        network,
        mask,
        anchor=layer.anchor,
        chunk_size=CHUNK,
        rule=layer.update_rule,
        read_first=layer.read_first,
    )
    real = np.ones((ROWS, TOKENS), bool) if mask is None else mask
    close(to_numpy(outputs)[real], wanted[real], 1e-9)
    surprise = to_numpy(diagnostics["surprise"])
    close(surprise[real], surprises[real], 1e-9)
    check_state(state, states)


def test_float32_is_close_to_the_definition():
    layer = memory_layer(dtype="float32")
    x = inputs(tokens=24)
    outputs, state = layer(x.astype("float32"))
    wanted, _, states = reference.memory_layer(
        x,
        layer_weights(layer),
        HEADS,
        reference.mlp,
        rule=layer.update_rule,
        anchor="token",
        chunk_size=CHUNK,
    )
    close(ops.cast(outputs, "float64"), wanted, 1e-4)
    for (row, head), (weights, *_) in states.items():
        have = to_numpy(state["memory"][1])[row, head]
        close(have.astype("float64"), weights[1], 1e-4)


LAYERS = {}


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@few_examples
@given(
    # Few lengths, because each is compiled; at every phase of the chunk.
    lengths=st.permutations([1, 1, CHUNK, 3, 1]),
    masked=st.booleans(),
    seed=st.integers(0, 100),
)
def test_pieces_equal_the_whole(anchor, lengths, masked, seed):
    if anchor not in LAYERS:
        layer = memory_layer(anchor=anchor)
        LAYERS[anchor] = forward(layer), layer.get_initial_state(ROWS)
    run, state = LAYERS[anchor]
    x = inputs(seed)
    mask = np.random.default_rng(seed).random((ROWS, TOKENS)) > 0.3
    real = mask if masked else np.ones_like(mask)
    part = lambda a, b: real[:, a:b] if masked else None
    whole, whole_state = run(x, part(0, TOKENS), state)
    ends, outputs = np.cumsum(lengths), []
    for start, end in zip(ends - lengths, ends):
        y, state = run(x[:, start:end], part(start, end), state)
        outputs.append(to_numpy(y))
    close(np.concatenate(outputs, axis=1)[real], to_numpy(whole)[real], 1e-11)
    same(state["phase"], whole_state["phase"])
    # Between two chunks the anchor is of no more use.
    inside = to_numpy(state["phase"]) > 0
    state, whole_state = to_numpy(state), to_numpy(whole_state)
    for name in ("memory", "momentum", "anchor", "convolution"):
        for have, want in zip(state[name], whole_state[name], strict=True):
            rows = inside if name == "anchor" else slice(None)
            close(have[rows], want[rows], 1e-11)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_token_by_token_equals_the_whole(anchor):
    run = forward(memory_layer(anchor=anchor))
    x = inputs(2)
    whole, whole_state = run(x)
    state = None
    for t in range(TOKENS):
        y, state = run(x[:, t : t + 1], None, state)
        close(y, to_numpy(whole)[:, t : t + 1], 1e-11)
    close(state, whole_state, 1e-11)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize("where", ["left", "right", "holes"])
def test_padding_changes_nothing(anchor, where):
    run = forward(memory_layer(anchor=anchor))
    x = inputs(3)
    plain, state = run(x)
    extra = 7
    if where == "holes":
        rng = np.random.default_rng(3)
        slots = [
            np.sort(rng.permutation(TOKENS + extra)[:TOKENS])
            for _ in range(ROWS)
        ]
    else:
        slots = [np.arange(TOKENS) + extra * (where == "left")] * ROWS
    padded = np.full((ROWS, TOKENS + extra, WIDTH), 1e3)
    mask = np.zeros((ROWS, TOKENS + extra), bool)
    for row, slot in enumerate(slots):
        padded[row, slot] = x[row]
        mask[row, slot] = True
    outputs, padded_state = run(padded, mask)
    outputs = to_numpy(outputs)
    assert np.all(np.isfinite(outputs))
    for row, slot in enumerate(slots):
        close(outputs[row, slot], to_numpy(plain)[row], 1e-12)
    close(padded_state, state, 1e-12)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_masked_rows_keep_their_state_to_the_bit(anchor, tokens):
    run = forward(memory_layer(anchor=anchor))
    _, state = run(inputs(4)[:, :6])  # inside a chunk
    mask = np.zeros((ROWS, tokens), bool)
    mask[1] = True
    _, after = run(inputs(5, tokens), mask, state)
    state, after = to_numpy(state), to_numpy(after)
    for name, entry in state.items():
        pairs = [(entry, after[name])]
        if isinstance(entry, list):
            pairs = zip(entry, after[name])
        for old, new in pairs:
            same(new[[0, 2]], old[[0, 2]])
            if name not in ("phase", "anchor"):
                assert np.all(np.any(new[1] != old[1], axis=-1))


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_without_update_the_memory_is_only_read(anchor):
    layer = memory_layer(anchor=anchor)
    _, state = forward(layer)(inputs(6)[:, :6])
    x = inputs(7)
    read_only = forward(layer, update=False, return_diagnostics=True)
    outputs, diagnostics, after = read_only(x, None, state)
    for name in ("memory", "momentum", "anchor", "phase"):
        same(after[name], state[name])
    # Only the convolutions tie a token to those before it.
    changed = x.copy()
    changed[:, 0] += 1.0
    others, *_ = read_only(changed, None, state)
    moved = np.abs(to_numpy(others) - to_numpy(outputs)).max(axis=(0, 2))
    assert np.all(moved[:4] > 1e-6) and np.all(moved[4:] < 1e-12)
    # What it reads is what was written.
    fresh, *_ = read_only(x, None, layer.get_initial_state(ROWS))
    assert np.abs(to_numpy(fresh) - to_numpy(outputs)).max() > 1e-3
    assert diagnostics["surprise"].shape == (ROWS, TOKENS, HEADS)


def test_surprise_falls_when_a_pair_comes_again():
    rule = Titans(learning_rate=Gate(), forgetting=Gate(initial=1e-4))
    layer = NeuralMemory(
        HEADS, 3, kernel_size=1, update_rule=rule, return_state=True
    )
    x = np.repeat(inputs(8, tokens=1), 30, axis=1)
    _, diagnostics, _ = forward(layer, return_diagnostics=True)(x)
    surprise = to_numpy(diagnostics["surprise"])
    assert surprise.shape == (ROWS, 30, HEADS)
    assert np.all(surprise[:, -1] < 0.6 * surprise[:, 0])


def test_diagnostics_do_not_change_the_outputs():
    layer = memory_layer()
    outputs, _, state = forward(layer, return_diagnostics=True)(inputs())
    close(forward(layer)(inputs()), (outputs, state), 1e-12)
