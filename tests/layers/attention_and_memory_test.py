"""MAC, MAG and MAL: what each owes its equations, and all owe their users."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import WindowedAttention
from keras_titans.memory import Gate
from keras_titans.memory import Titans
from tests.blocks_reference import context_row
from tests.blocks_reference import gate_row
from tests.blocks_reference import layer_then_attention_row
from tests.helpers import check_gradients
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import few_examples
from tests.helpers import gradients
from tests.helpers import layer_weights
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced
from tests.reference import mlp
from tests.reference import silu

ROWS, TOKENS, WIDTH, WINDOW = 2, 10, 4, 4

UNIONS = {
    "MAC": MemoryAsContext,
    "MAG": MemoryAsGate,
    "MAL": MemoryAsLayer,
}
BY_ROW = {
    "MAC": context_row,
    "MAG": gate_row,
    "MAL": layer_then_attention_row,
}
every_union = pytest.mark.parametrize("name", UNIONS)


def union(name, memory=(), num_heads=2, window=WINDOW, **options):
    options = {"dtype": "float64", "num_persistent_tokens": 2, **options}
    memory = {
        "num_heads": 2,
        "head_dim": 2,
        "chunk_size": 2,
        "kernel_size": 3,
        "memory_depth": 2,
        "update_rule": Titans(
            learning_rate=Gate(), forgetting=Gate(initial=0.1)
        ),
        "name": "memory",
        "dtype": options["dtype"],
        **dict(memory),
    }
    layer = UNIONS[name](
        num_heads, window, memory=NeuralMemory(**memory), **options
    )
    layer.build((ROWS if layer.stateful else None, None, WIDTH))
    return randomized(layer)


def inputs(seed=0, tokens=TOKENS):
    return np.random.default_rng(seed).normal(size=(ROWS, tokens, WIDTH))


def reference(name, layer, x):
    memory = {
        "num_heads": layer.memory.num_heads,
        "network": lambda x, w: mlp(x, w, silu),
        "anchor": layer.memory.anchor,
        "chunk_size": layer.memory.chunk_size,
        "rule": layer.memory.update_rule,
    }
    options = {} if name == "MAG" else {"residual": layer.residual}
    rows = [
        BY_ROW[name](
            row,
            layer_weights(layer),
            layer.num_heads,
            layer.attention.window_size,
            memory,
            **options,
        )
        for row in x
    ]
    return [np.stack(results) for results in zip(*rows)]


def with_surprise(layer, x):
    outputs, diagnostics = layer(x, return_diagnostics=True)
    return [outputs, diagnostics["surprise"]]


@every_union
@few_examples
@given(
    tokens=st.integers(1, 9),
    window=st.integers(1, 5),
    chunk_size=st.integers(1, 3),
    persistent=st.integers(0, 2),
    anchor=st.sampled_from(["token", "chunk"]),
)
def test_equals_its_equations(
    name, tokens, window, chunk_size, persistent, anchor
):
    memory = {"chunk_size": chunk_size, "anchor": anchor}
    layer = union(name, memory, window=window, num_persistent_tokens=persistent)
    x = inputs(tokens=tokens)
    have = traced(lambda x: with_surprise(layer, x))(x)
    close(have, reference(name, layer, x), 1e-9)


@pytest.mark.parametrize("name", ["MAC", "MAL"])
def test_equals_the_equations_to_the_letter(name):
    layer = union(name, residual=False)
    have = with_surprise(layer, inputs())
    close(have, reference(name, layer, inputs()), 1e-9)


@every_union
def test_compiled_equals_its_equations(name):
    layer = union(name)
    have = compiled(lambda x: layer(x, training=True))(inputs())
    close(have, reference(name, layer, inputs())[0], 1e-9)


@every_union
@pytest.mark.parametrize("cuts", [(4, 8), (3,), (1, 6), tuple(range(1, 10))])
def test_pieces_equal_the_whole(name, cuts):
    layer = union(name, return_state=True)
    run = traced(lambda x, state: layer(x, initial_state=state))
    x = inputs()
    whole, last = run(x, layer.get_initial_state(ROWS))
    close(whole, union_without_state(layer)(x), 1e-11)
    state, parts = layer.get_initial_state(ROWS), []
    for start, end in zip((0, *cuts), (*cuts, TOKENS)):
        y, state = run(x[:, start:end], state)
        parts.append(to_numpy(y))
    close(np.concatenate(parts, axis=1), whole, 1e-11)
    close(state, last, 1e-11)


def union_without_state(layer):
    """The same weights, asked for no state: other paths through the code."""

    return traced(lambda x: layer(x, return_state=False))


@every_union
def test_masked_tokens_are_as_if_not_there(name):
    """Left and right padding, holes, and rows at different places."""
    layer = union(name, return_state=True)
    run = traced(
        lambda x, mask, state: layer(x, mask=mask, initial_state=state)
    )
    alone = traced(lambda x, state: layer(x, initial_state=state))
    mask = np.ones((ROWS, TOKENS), bool)
    mask[0, [0, 1, 5]] = mask[1, 4:] = False
    state = layer.get_initial_state(ROWS)
    first, state = run(inputs(0), mask, state)
    second, state = run(inputs(1), mask, state)
    unasked = union_without_state(layer)
    for row in range(ROWS):
        mine = layer.get_initial_state(1)
        for seed, have in enumerate([first, second]):
            real = inputs(seed)[row : row + 1, mask[row]]
            want, mine = alone(real, mine)
            close(to_numpy(have)[row, mask[row]], to_numpy(want)[0], 1e-11)
    unasked_with_mask = traced(
        lambda x: layer(x, mask=mask, return_state=False)
    )
    have = to_numpy(unasked_with_mask(inputs()))
    for row in range(ROWS):
        want = to_numpy(unasked(inputs()[row : row + 1, mask[row]]))[0]
        close(have[row, mask[row]], want, 1e-11)


def moved(run, x, row, token):
    changed = x.copy()
    changed[row, token] += 1.0
    difference = to_numpy(run(changed)) - to_numpy(run(x))
    return np.abs(difference).max(axis=-1)


@every_union
def test_past_reaches_future_and_nothing_else(name):
    """Through the memory alone, where the window is left behind."""
    run = traced(union(name))
    for token in range(TOKENS):
        by = moved(run, inputs(), 1, token)
        assert np.all(by[0] == 0.0), "another row moved"
        assert np.all(by[1, :token] < 1e-12), "the past moved"
        assert np.all(by[1, token:] > 1e-8), "a later token did not move"


@every_union
def test_beyond_the_window_only_the_memory_reaches(name):
    """A memory that reads as before it wrote carries nothing that far."""
    layer = union(name, {"kernel_size": 1})
    frozen = traced(lambda x: layer(x, update=False))
    by = moved(frozen, inputs(), 0, 0)[0]
    assert by[0] > 1e-8
    assert np.all(by[WINDOW:] == 0.0)
    assert np.all(moved(traced(layer), inputs(), 0, 0)[0] > 1e-8)


@every_union
def test_gradients_with_and_without_remat(name):
    """Training recomputes, inference does not: the same gradients."""
    layer = union(name)
    loss = lambda y: keras.ops.sum(y * y)
    with_remat = gradients(layer, loss, inputs(), training=True)
    without = gradients(layer, loss, inputs(), training=False)
    close(list(with_remat[1]), list(without[1]), 1e-10)


@every_union
@pytest.mark.parametrize("persistent", [0, 2])
def test_gradients_equal_finite_differences(name, persistent):
    layer = union(name, num_persistent_tokens=persistent)
    loss = lambda y: keras.ops.sum(keras.ops.sin(y))
    check_gradients(layer, loss, inputs())


@every_union
def test_update_off_reads_and_writes_nothing(name):
    layer = union(name, return_state=True)
    _, state = layer(inputs())
    _, after = layer(inputs(1), initial_state=state, update=False)
    same(after["memory"]["memory"], state["memory"]["memory"])


@every_union
def test_stateful_goes_on_and_is_reset(name):
    layer = union(name, stateful=True)
    layer.reset_state()
    first, second = to_numpy(layer(inputs())), to_numpy(layer(inputs()))
    assert np.abs(first - second).max() > 1e-4
    layer.reset_state()
    same(layer(inputs()), first)


@every_union
def test_a_model_is_trained_saved_and_loaded(name, tmp_path):
    x = keras.Input((None, WIDTH))
    layer = UNIONS[name](
        2,
        WINDOW,
        memory=NeuralMemory(2, 2, memory_depth=1, chunk_size=4),
        num_persistent_tokens=3,
        num_key_value_heads=1,
    )
    model = keras.Model(x, layer(x))
    jit_compile = keras.backend.backend() != "torch"
    model.compile(keras.optimizers.Adam(0.03), "mse", jit_compile=jit_compile)
    data = inputs(tokens=9).astype("float32")
    losses = model.fit(data, np.roll(data, 1, 1), epochs=10, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(data, verbose=0)
    close(again.predict(data, verbose=0), wanted, 1e-5)
    wanted, found = layer.get_config(), again.layers[-1].get_config()
    assert found.pop("memory")["class_name"] == "NeuralMemory"
    wanted.pop("memory")
    assert found == wanted


@every_union
def test_half_precision(name):
    layer = union(name, dtype="mixed_bfloat16", return_state=True)
    x = inputs().astype("float32")
    y, state = layer(x)
    y, after = layer(x, initial_state=state)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    for w in after["memory"]["memory"]:
        assert keras.backend.standardize_dtype(w.dtype) == "float32"
    y = to_numpy(keras.ops.cast(y, "float32"))
    assert np.all(np.isfinite(y))
    keras.tree.assert_same_structure(state, after)


@every_union
def test_symbols_are_shaped_as_results(name):
    layer = union(name, return_state=True)
    symbols = layer(
        keras.Input((None, WIDTH), dtype="float64"), return_diagnostics=True
    )
    results = layer(inputs(), return_diagnostics=True)
    keras.tree.assert_same_structure(symbols, results)
    flat = zip(keras.tree.flatten(symbols), keras.tree.flatten(results))
    for symbol, result in flat:
        assert symbol.dtype == keras.backend.standardize_dtype(result.dtype)
        for a, b in zip(symbol.shape, result.shape, strict=True):
            assert a is None or a == b


@every_union
def test_arguments_that_do_not_fit_each_other(name):
    make = UNIONS[name]
    for bad, names in (
        (lambda: make(4, 4, num_key_value_heads=3), "num_key_value_heads"),
        (lambda: make(2, 4, memory=WindowedAttention(2, 4)), "memory"),
        (lambda: make(2, 4, memory=NeuralMemory(2, stateful=True)), "stateful"),
        (lambda: make(3, 4).build((1, 2, WIDTH)), "num_heads"),
    ):
        with pytest.raises(ValueError, match=names):
            bad()


@every_union
def test_a_foreign_state_is_refused(name):
    layer = union(name, return_state=True)
    others = [union(other) for other in UNIONS if other != name]
    others.append(union(name, window=WINDOW + 2))
    others.append(union(name, {"memory_depth": 1}))
    for other in others:
        with pytest.raises(ValueError, match="initial_state"):
            layer(inputs(), initial_state=other.get_initial_state(ROWS))
