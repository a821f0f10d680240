"""NaN and infinity in a sequence: what every layer with a state owes.

In padding they are as zeros are. A real token that holds one is NaN in the
outputs, and nothing else is: no other token, no state, no gradient.
"""

import numpy as np
import pytest
from keras import ops
from keras import tree

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, TOKENS, WIDTH = 2, 10, 4


def memory(**options):
    options = {"chunk_size": 2, "dtype": "float64", **options}
    return NeuralMemory(2, 2, **options)


def slots(**options):
    options = {"head_dim": 2, "dtype": "float64", **options}
    return SlotMemory(2, num_slots=3, **options)


LAYERS = {
    "memory": memory,
    "deep memory": lambda: memory(memory_depth=2),
    "memory by chunks": lambda: memory(anchor="chunk", use_bias=True),
    "slots": lambda: slots(use_bias=True),
    "attention": lambda: WindowedAttention(
        2, window_size=3, use_bias=True, dtype="float64"
    ),
    "MAC": lambda: MemoryAsContext(2, 4, memory=memory(), dtype="float64"),
    "MAC, unlike": lambda: MemoryAsContext(
        2, 3, memory=memory(), dtype="float64"
    ),
    "MAG": lambda: MemoryAsGate(2, 3, memory=memory(), dtype="float64"),
    "MAL": lambda: MemoryAsLayer(2, 3, memory=memory(), dtype="float64"),
    "MAL, no residual": lambda: MemoryAsLayer(
        2, 3, memory=slots(), residual=False, dtype="float64"
    ),
    "block": lambda: TitansBlock(
        MemoryAsGate(2, 3, memory=memory(), dtype="float64"), 4, dtype="float64"
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def made(make):
    layer = make()
    layer.build((None, None, WIDTH))
    return randomized(layer)


def inputs():
    return np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))


def padding():
    """On either side, and a hole."""
    mask = np.ones((ROWS, TOKENS), bool)
    mask[0, 7:] = mask[1, 0] = mask[1, 4] = False
    return mask


def with_bad_tokens(x):
    """`x` with one number wrong in some tokens; and the other tokens."""
    x = x.copy()
    x[0, 2, 1], x[0, 3, 1], x[1, 5, 1] = np.nan, np.inf, -np.inf
    return x, np.isfinite(x).all(axis=-1)


def outcome(layer, x, mask, counted, run_mode):
    """Outputs, state, and gradients of a loss over the counted tokens.

    The gradients are those by all weights, and that by the inputs.
    """
    mask = None if mask is None else ops.convert_to_tensor(mask)
    counted = ops.convert_to_tensor(counted[..., None])

    def run(x):
        def call(weights, x):
            results, _ = layer.stateless_call(
                weights, [], x, mask=mask, training=True, return_state=True
            )
            return results

        def loss(weights, x):
            y, state = call(weights, x)
            parts = [ops.where(counted, y, 0.0), *tree.flatten(state)]
            return sum(
                ops.sum(ops.square(ops.cast(part, "float64"))) for part in parts
            )

        weights = [v.value for v in layer.trainable_variables]
        return *call(weights, x), gradient(loss, [weights, x])

    return to_numpy(run_mode(run)(ops.convert_to_tensor(x)))


@every_layer
def test_padding_may_hold_anything(name, run_mode):
    layer, x, mask = made(LAYERS[name]), inputs(), padding()
    results = []
    for filling in (0.0, [np.nan, 0.0, np.inf, -np.inf]):
        filled = np.where(mask[..., None], x, filling)
        y, state, found = outcome(layer, filled, mask, mask, run_mode)
        results.append([y[mask], state, found])
    close(results[1], results[0], 1e-12)


@every_layer
@pytest.mark.parametrize("masked", [False, True])
def test_a_bad_token_spoils_nothing_else(name, masked, run_mode):
    layer, mask = made(LAYERS[name]), padding() if masked else None
    x, good = with_bad_tokens(inputs())
    real = np.ones_like(good) if mask is None else mask
    y, state, found = outcome(layer, x, mask, good & real, run_mode)
    assert np.isnan(y[~good & real]).all()
    assert np.isfinite(y[good & real]).all()
    assert all(np.isfinite(part).all() for part in tree.flatten(state))
    assert all(np.isfinite(part).all() for part in found)


@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        memory,
        lambda **options: memory(memory_depth=2, **options),
        lambda **options: memory(anchor="chunk", chunk_size=3, **options),
        lambda **options: memory(chunk_size=16, **options),
        slots,
        lambda **options: slots(top_k=2, **options),
    ],
)
def test_a_memory_takes_it_for_padding(make, update, run_mode):
    """Chunks' borders too are where they would be without it."""
    layer = made(lambda: make(kernel_size=1))
    x, good = with_bad_tokens(inputs())
    start = layer(inputs()[:, :3], return_state=True)[1]

    def run(x, mask):
        options = {"mask": mask, "return_diagnostics": True, "update": update}
        y, diagnostics = layer(x, **options)
        *later, state = layer(
            x, initial_state=start, return_state=True, **options
        )
        return [y, diagnostics, *later], state

    def results(x, mask):
        x, mask = (ops.convert_to_tensor(part) for part in (x, mask))
        tokens, state = to_numpy(run_mode(run)(x, mask))
        return tree.map_structure(lambda part: part[good], tokens), state

    clean = np.where(good[..., None], x, 0.0)
    close(results(x, np.ones_like(good)), results(clean, good), 1e-12)


@every_layer
@pytest.mark.parametrize("masked", [False, True])
def test_pieces_equal_the_whole(name, masked):
    layer, mask = made(LAYERS[name]), np.ones((ROWS, TOKENS), bool)
    if masked:
        mask = padding()
    x, good = with_bad_tokens(inputs())
    call = traced(
        lambda x, state, mask: layer(
            x, initial_state=state, mask=mask, return_state=True
        )
    )
    start = layer.get_initial_state(ROWS)

    def read(*pieces):
        state, parts = start, []
        for first, last in pieces:
            where = None
            if masked:
                where = ops.convert_to_tensor(mask[:, first:last])
            piece = ops.convert_to_tensor(x[:, first:last])
            y, state = call(piece, state, where)
            parts.append(to_numpy(y))
        return np.concatenate(parts, axis=1), to_numpy(state)

    whole, after = read((0, TOKENS))
    pieces, state = read((0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, TOKENS))
    fresh = to_numpy(layer(x, mask=ops.convert_to_tensor(mask)))
    close([pieces[good & mask], state], [whole[good & mask], after], 1e-10)
    close(fresh[good & mask], whole[good & mask], 1e-10)
    assert np.isnan(pieces[~good & mask]).all()


@pytest.mark.parametrize("name", ["memory", "slots", "attention", "MAC"])
def test_a_number_may_become_infinite_on_the_way(name):
    """Half a precision ends at 65504."""
    layers = {
        "memory": lambda: memory(dtype="float16"),
        "slots": lambda: slots(dtype="float16"),
        "attention": lambda: WindowedAttention(2, 3, dtype="float16"),
        "MAC": lambda: MemoryAsContext(
            2, 4, memory=memory(dtype="float16"), dtype="float16"
        ),
    }
    layer = made(layers[name])
    x = inputs()
    x[0, 2, 1] = 6e4
    for weight in layer.trainable_variables:
        if weight.path.endswith("kernel"):
            weight.assign(8.0 * weight)
    y, state = to_numpy(layer(x.astype("float16"), return_state=True))
    bad = ~np.isfinite(y).all(axis=-1)
    assert bad[0, 2] and not bad[:, 6:].any()
    assert all(np.isfinite(part).all() for part in tree.flatten(state))
