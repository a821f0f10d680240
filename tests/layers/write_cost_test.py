"""What writing costs is a loss of its own, whatever the memory is in."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.memory import UpdateRule
from keras_titans.models import SegmentedTrainer
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import to_numpy

ROWS, TOKENS, WIDTH, HEADS, COST = 2, 9, 4, 2, 0.3
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
X = X.astype("float32")
MIXERS = ("MAC", "MAG", "MAL", "LMM")
every_mixer = pytest.mark.parametrize("name", MIXERS)


def rule(**options):
    return UpdateRule(
        **{"write_threshold": 0.3, "write_cost": COST, "gate_scale": 1.0}
        | options
    )


def opening(layer, x):
    """How far a memory's learning rates are open, from the equation."""
    dense = layer.gates.maps["learning_rate"]
    of = layer.update_rule
    kernel, bias = (to_numpy(w).astype("float64") for w in dense.weights)
    sigmoid = 1.0 / (1.0 + np.exp(-(of.gate_scale * x @ kernel + bias)))
    above = np.maximum(sigmoid - of.write_threshold, 0.0)
    return above / (1.0 - of.write_threshold)


def one_loss(layer):
    (loss,) = layer.losses
    return float(to_numpy(loss))


@given(
    st.fixed_dictionaries(
        {
            "momentum": st.booleans(),
            "forgetting": st.booleans(),
            "normalize_learning_rate": st.booleans(),
            "forget_first": st.booleans(),
            "max_learning_rate": st.sampled_from([0.2, 1.0]),
            "write_threshold": st.sampled_from([0.0, 0.4]),
        }
    ),
    st.integers(1, 12),
    st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_the_mean_opening_of_real_tokens_is_paid_for(options, tokens, padded):
    rng = np.random.default_rng(tokens)
    x = rng.normal(size=(ROWS, tokens, WIDTH)).astype("float32")
    layer = NeuralMemory(HEADS, chunk_size=4, update_rule=rule(**options))
    layer.build(x.shape)
    randomized(layer)
    mask = np.ones((ROWS, tokens), "bool")
    if padded:
        mask = rng.random((ROWS, tokens)) < 0.6
        mask[0, 0] = True
    layer(x, mask=mask if padded else None, training=True)
    paid = COST * opening(layer, x.astype("float64"))[mask].mean()
    np.testing.assert_allclose(one_loss(layer), paid, rtol=1e-4, atol=1e-7)


def block(name, cost=COST, **options):
    """A block with random weights, the same for every cost."""
    keras.utils.set_random_seed(0)
    made = TitansBlock(name, 6, num_heads=HEADS, window_size=4, **options)
    memory = made.mixer if name == "LMM" else made.mixer.memory
    memory.update_rule.write_cost = cost
    made.build(X.shape)
    return randomized(made)


@every_mixer
@pytest.mark.parametrize("remat", [False, True])
def test_it_is_heard_from_within_every_block(name, remat):
    made = block(name, remat=remat)
    outputs = made(X, training=True)
    _, told = block(name)(X, return_surprise="with_gates")
    memory = made.mixer if name == "LMM" else made.mixer.memory
    theta, eta, alpha = np.split(to_numpy(told), 4, axis=-1)[1:]
    paid = COST * (2.0 * theta / (1.0 - eta) / (1.0 - alpha)).mean()
    assert memory.write_cost == COST
    np.testing.assert_allclose(one_loss(made), paid, rtol=1e-4)
    close(outputs, block(name, 0.0)(X, training=True), 1e-6)


@every_mixer
def test_surprises_stay_what_was_asked_for(name):
    for asked in (True, "with_gates", "with_reading"):
        made, free = block(name), block(name, 0.0)
        results = made(X, training=True, return_surprise=asked)
        close(results, free(X, training=True, return_surprise=asked), 1e-6)
        assert len(made.losses) == 1
        assert not free.losses


def test_only_what_is_written_in_training_costs():
    layer = NeuralMemory(HEADS, update_rule=rule())
    layer(X)
    layer(X, training=False)
    layer(X, training=True, update=False)
    assert not layer.losses
    slots = SlotMemory(HEADS, num_slots=4)
    slots(X, training=True)
    assert not slots.losses


def model(cost):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, WIDTH))
    memory = NeuralMemory(HEADS, update_rule=rule(write_cost=cost))
    layer = TitansBlock(memory, 6)
    return keras.Model(inputs, layer(inputs)), memory


def test_training_closes_what_helps_nothing():
    whole, memory = model(1.0)
    whole.compile(keras.optimizers.Adam(0.1), "mse", jit_compile="auto")
    nothing = np.zeros((ROWS, TOKENS), "float32")
    losses = whole.fit(X, X, sample_weight=nothing, epochs=40, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    _, told = memory(X, return_surprise="with_gates")
    assert to_numpy(told)[..., HEADS : 2 * HEADS].mean() < 0.1


def test_segments_pay_as_the_whole_does():
    whole, _ = model(COST)
    free, _ = model(0.0)
    paid = first_loss(whole)
    assert paid > first_loss(free)
    pieces, _ = model(COST)
    trainer = SegmentedTrainer(pieces, segment_length=4)
    np.testing.assert_allclose(first_loss(trainer), paid, rtol=1e-5)


def first_loss(trained):
    trained.compile("sgd", "mse")
    return trained.fit(X, X, verbose=0).history["loss"][0]


@pytest.mark.parametrize(
    "options",
    [{"write_cost": -0.1}, {"write_cost": 0.1, "learning_rate": False}],
)
def test_bad_costs_are_named(options):
    with pytest.raises(ValueError, match="write_cost"):
        UpdateRule(**options)


def test_tokens_that_are_not_finite_cost_nothing():
    layer = NeuralMemory(HEADS, chunk_size=4, update_rule=rule())
    layer.build(X.shape)
    randomized(layer)
    x, real = X.copy(), np.ones((ROWS, TOKENS), "bool")
    x[0, 2, 1], real[0, 2] = np.nan, False
    layer(x, training=True)
    paid = COST * opening(layer, np.nan_to_num(x))[real].mean()
    np.testing.assert_allclose(one_loss(layer), paid, rtol=1e-4)
