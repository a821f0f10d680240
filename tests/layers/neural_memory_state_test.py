"""The state: kept, passed, returned; in calls, models and training."""

import keras
import numpy as np
import pytest
from keras import ops
from keras import tree

from keras_titans.layers import NeuralMemory
from keras_titans.memory import Titans
from tests.helpers import close
from tests.helpers import same
from tests.helpers import to_numpy

ROWS, TOKENS, WIDTH = 2, 6, 4


def inputs(seed=0, tokens=TOKENS):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, tokens, WIDTH)).astype("float32")


def memory_layer(**options):
    options = {"num_heads": 2, "head_dim": 2, "chunk_size": 4, **options}
    # A deep memory has all entries of a state.
    options = {"memory_depth": 2, **options}
    return NeuralMemory(**options)


def copied(layer, other):
    """`layer` with the trainable weights of `other`."""
    for mine, its in zip(layer.trainable_weights, other.trainable_weights):
        mine.assign(np.array(ops.convert_to_numpy(its.value)))
    return layer


def pair():
    """A stateful layer, and one that is handed its states."""
    stateful = memory_layer(stateful=True)
    stateful.build((ROWS, TOKENS, WIDTH))
    explicit = memory_layer(return_state=True)
    explicit.build((None, None, WIDTH))
    return stateful, copied(explicit, stateful)


def test_stateful_calls_equal_an_explicit_state():
    stateful, explicit = pair()
    state = None
    for seed in range(3):
        wanted, state = explicit(inputs(seed), initial_state=state)
        close(stateful(inputs(seed)), wanted, 1e-6)
        close(stateful.state, state, 1e-6)


def test_a_call_says_whether_it_returns_the_state():
    silent, telling = memory_layer(), memory_layer(return_state=True)
    y, state = silent(inputs(), return_state=True)
    close(silent(inputs()), y, 1e-6)
    telling.build(y.shape)
    copied(telling, silent)
    same(telling(inputs())[1], state)
    assert not isinstance(telling(inputs(), return_state=False), tuple)
    symbol = keras.Input((None, WIDTH))
    assert len(silent(symbol, return_state=True)) == 2
    assert isinstance(telling(symbol, return_state=False), keras.KerasTensor)


def test_reset_state_forgets():
    stateful, _ = pair()
    first = to_numpy(stateful(inputs()))
    second = to_numpy(stateful(inputs()))
    assert np.abs(second - first).max() > 1e-3
    stateful.reset_state()
    same(stateful.state, stateful.get_initial_state(ROWS))
    same(stateful(inputs()), first)


def test_an_explicit_state_goes_before_the_kept_one():
    stateful, explicit = pair()
    stateful(inputs())
    start = explicit.get_initial_state(ROWS)
    wanted, state = explicit(inputs(1), initial_state=start)
    close(stateful(inputs(1), initial_state=start), wanted, 1e-6)
    close(stateful.state, state, 1e-6)


def test_stateful_without_update_keeps_the_memory():
    stateful, _ = pair()
    stateful(inputs())
    before = to_numpy(stateful.state)
    stateful(inputs(1), update=False)
    same(stateful.state["memory"], before["memory"])
    same(stateful.state["phase"], before["phase"])


def test_stateful_model_predicts_on_where_it_stopped():
    stateful, explicit = pair()
    x = keras.Input((TOKENS, WIDTH), batch_size=ROWS)
    model = keras.Model(x, stateful(x))
    state = None
    for seed in range(2):
        wanted, state = explicit(inputs(seed), initial_state=state)
        have = model.predict(inputs(seed), verbose=0)
        close(have, wanted, 1e-5)
    stateful.reset_state()
    wanted, _ = explicit(inputs())
    close(model.predict(inputs(), verbose=0), wanted, 1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_stateful_model_trains_and_carries(jit_compile):
    stateful, explicit = pair()
    x = keras.Input((TOKENS, WIDTH), batch_size=ROWS)
    model = keras.Model(x, stateful(x))
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    data = np.concatenate([inputs(0), inputs(1)])
    model.fit(data, data, batch_size=ROWS, epochs=1, shuffle=False, verbose=0)
    _, state = explicit(inputs(0))
    _, state = explicit(inputs(1), initial_state=state)
    close(to_numpy(stateful.state), state, 1e-5)
    # And once more, with the state as the variables now hold it.
    model.fit(data, data, batch_size=ROWS, epochs=2, shuffle=False, verbose=0)
    stateful.reset_state()
    model.fit(data, data, batch_size=ROWS, epochs=1, shuffle=False, verbose=0)
    close(to_numpy(stateful.state), state, 1e-5)


def state_inputs(layer):
    return tree.map_structure(
        lambda spec: keras.Input(spec.shape[1:], dtype=spec.dtype),
        layer.state_spec(None),
    )


def test_functional_model_with_a_state_in_and_out():
    layer = memory_layer(return_state=True)
    layer.build((None, None, WIDTH))
    x, state = keras.Input((None, WIDTH)), state_inputs(layer)
    outputs, after = layer(x, initial_state=state)
    model = keras.Model([x, state], [outputs, after])
    start = to_numpy(layer.get_initial_state(ROWS))
    whole, whole_state = model([inputs(), start])
    first, middle = model.predict([inputs()[:, :3], start], verbose=0)
    second, last = model.predict([inputs()[:, 3:], middle], verbose=0)
    close(np.concatenate([first, second], axis=1), whole, 1e-5)
    close(last, to_numpy(whole_state), 1e-5)


def test_symbolic_shapes_are_those_of_the_results():
    layer = memory_layer(return_state=True)
    unknown = layer(keras.Input((None, WIDTH)), return_diagnostics=True)
    outputs, diagnostics, state = unknown
    assert outputs.shape == (None, None, WIDTH)
    assert diagnostics["surprise"].shape == (None, None, 2)
    assert diagnostics["read"].shape[:3] == (None, None, 2)
    result = layer(inputs(), return_diagnostics=True)
    tree.assert_same_structure(unknown, result)
    for symbol, tensor in zip(tree.flatten(unknown), tree.flatten(result)):
        assert len(symbol.shape) == len(tensor.shape)
        for a, b in zip(symbol.shape, tensor.shape):
            assert a is None or a == b
        assert symbol.dtype == keras.backend.standardize_dtype(tensor.dtype)


def test_entries_are_in_the_order_that_trees_flatten_them():
    """Some trees go by the keys' order, some by that of insertion."""
    layer = memory_layer(return_state=True)
    _, state = layer(inputs())
    for entries in (
        state,
        layer.get_initial_state(ROWS),
        layer.state_spec(ROWS),
    ):
        assert list(entries) == sorted(entries)


def test_momentum_has_a_state_only_where_it_is_on():
    layer = memory_layer(update_rule=Titans(momentum=None), kernel_size=1)
    layer.build((None, None, WIDTH))
    assert set(layer.get_initial_state(1)) == {"memory", "anchor", "phase"}


def test_a_matrix_has_no_chunk_in_its_state():
    layer = memory_layer(memory_depth=1, kernel_size=1)
    layer.build((None, None, WIDTH))
    assert set(layer.get_initial_state(1)) == {"memory", "momentum"}


def test_mask_arrives_from_an_embedding():
    tokens = keras.Input((None,), dtype="int32")
    embed = keras.layers.Embedding(5, WIDTH, mask_zero=True)
    layer = memory_layer()
    model = keras.Model(tokens, layer(embed(tokens)))
    ids = np.array([[1, 2, 3, 4, 1]])
    padded = np.array([[0, 0, 1, 2, 3, 4, 1]])
    have = model.predict(padded, verbose=0)[:, 2:]
    close(have, model.predict(ids, verbose=0), 1e-5)


def test_a_model_of_any_length_trains_evaluates_and_predicts():
    x = keras.Input((None, WIDTH))
    layer = memory_layer()
    model = keras.Model(x, layer(x))
    model.compile(keras.optimizers.Adam(0.03), "mse")
    target = np.roll(inputs(), 1, axis=1)
    before = model.evaluate(inputs(), target, verbose=0)
    model.fit(inputs(), target, epochs=15, verbose=0)
    after = model.evaluate(inputs(), target, verbose=0)
    assert after < 0.9 * before
    assert model.predict(inputs(1, 9), verbose=0).shape == (ROWS, 9, WIDTH)
    close(
        model.predict(inputs(1, 9), verbose=0)[:, :TOKENS],
        model.predict(inputs(1, 9)[:, :TOKENS], verbose=0),
        1e-5,
    )
