"""What writing costs is a loss of its own, whatever the memory is in."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.memory import Gate
from keras_titans.memory import Titans
from keras_titans.models import SegmentedTrainer
from tests.helpers import close
from tests.helpers import few_examples
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.reference import gate_value

ROWS, TOKENS, WIDTH, HEADS, COST = 2, 9, 4, 2, 0.3
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
X = X.astype("float32")
MIXERS = ("MAC", "MAG", "MAL", "LMM")
every_mixer = pytest.mark.parametrize("name", MIXERS)


def rule(cost=COST, threshold=0.3, maximum=1.0, **options):
    rate = Gate(maximum=maximum, logit_scale=1.0, threshold=threshold)
    regularizer = keras.regularizers.L1(cost) if cost else None
    return Titans(rate, write_regularizer=regularizer, **options)


def learning_rate(layer, x):
    """A memory's learning rates, from the gate's equation."""
    dense = layer.gates.maps["learning_rate"]
    gate = layer.update_rule.learning_rate
    kernel, bias = (to_numpy(w).astype("float64") for w in dense.weights)
    return gate_value(gate, gate.logit_scale * x @ kernel + bias)


def one_loss(layer):
    (loss,) = layer.losses
    return float(to_numpy(loss))


@given(
    st.fixed_dictionaries(
        {
            "momentum": st.sampled_from([None, 0.4]),
            "normalize_learning_rate": st.booleans(),
            "maximum": st.sampled_from([0.2, 1.0]),
            "threshold": st.sampled_from([0.0, 0.4]),
        }
    ),
    st.integers(1, 12),
    st.booleans(),
)
@few_examples
def test_the_mean_rate_of_real_tokens_is_paid_for(options, tokens, padded):
    rng = np.random.default_rng(tokens)
    x = rng.normal(size=(ROWS, tokens, WIDTH)).astype("float32")
    layer = NeuralMemory(HEADS, 2, chunk_size=4, update_rule=rule(**options))
    layer.build(x.shape)
    randomized(layer)
    mask = np.ones((ROWS, tokens), "bool")
    if padded:
        mask = rng.random((ROWS, tokens)) < 0.6
        mask[0, 0] = True
    layer(x, mask=mask if padded else None, training=True)
    paid = COST * learning_rate(layer, x.astype("float64"))[mask].mean()
    np.testing.assert_allclose(one_loss(layer), paid, rtol=1e-4, atol=1e-7)


def block(name, cost=COST, **options):
    """A block with random weights, the same for every cost."""
    keras.utils.set_random_seed(0)
    options |= {"num_heads": HEADS, "window_size": 4}
    made = TitansBlock(name, 6, memory=NeuralMemory(HEADS, 2), **options)
    memory = made.mixer if name == "LMM" else made.mixer.memory
    memory.update_rule.write_regularizer = rule(cost).write_regularizer
    made.build(X.shape)
    return randomized(made)


@every_mixer
@pytest.mark.parametrize("remat", [False, True])
def test_it_is_heard_from_within_every_block(name, remat):
    made = block(name, remat=remat)
    outputs = made(X, training=True)
    _, told = block(name)(X, return_diagnostics=True)
    paid = COST * to_numpy(told["learning_rate"]).mean()
    np.testing.assert_allclose(one_loss(made), paid, rtol=1e-4)
    close(outputs, block(name, 0.0)(X, training=True), 1e-6)


@every_mixer
def test_diagnostics_stay_what_they_are(name):
    made, free = block(name), block(name, 0.0)
    results = made(X, training=True, return_diagnostics=True)
    close(results, free(X, training=True, return_diagnostics=True), 1e-6)
    assert len(made.losses) == 1
    assert not free.losses


def test_only_what_is_written_in_training_costs():
    layer = NeuralMemory(HEADS, 2, update_rule=rule())
    layer(X)
    layer(X, training=False)
    layer(X, training=True, update=False)
    assert not layer.losses
    slots = SlotMemory(HEADS, 4, 2)
    slots(X, training=True)
    assert not slots.losses


def model(cost):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, WIDTH))
    memory = NeuralMemory(HEADS, 2, chunk_size=4, update_rule=rule(cost))
    layer = TitansBlock(memory, 6)
    return keras.Model(inputs, layer(inputs)), memory


def test_training_closes_what_helps_nothing():
    whole, memory = model(1.0)
    whole.compile(keras.optimizers.Adam(0.1), "mse", jit_compile="auto")
    rate = lambda: to_numpy(
        memory(X, return_diagnostics=True)[1]["learning_rate"]
    ).mean()
    before = rate()
    nothing = np.zeros((ROWS, TOKENS), "float32")
    losses = whole.fit(X, X, sample_weight=nothing, epochs=40, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert rate() < 0.4 * before


def test_segments_pay_as_the_whole_does():
    whole, _ = model(COST)
    error = np.mean(np.square(to_numpy(whole(X)) - X))
    paid = first_loss(whole)
    assert paid > 1.01 * error
    pieces, _ = model(COST)
    trainer = SegmentedTrainer(pieces, segment_length=4)
    np.testing.assert_allclose(first_loss(trainer), paid, rtol=1e-5)


def first_loss(trained):
    trained.compile("sgd", "mse")
    return trained.fit(X, X, verbose=0).history["loss"][0]


def test_tokens_that_are_not_finite_cost_nothing():
    layer = NeuralMemory(HEADS, 2, chunk_size=4, update_rule=rule())
    layer.build(X.shape)
    randomized(layer)
    x, real = X.copy(), np.ones((ROWS, TOKENS), "bool")
    x[0, 2, 1], real[0, 2] = np.nan, False
    layer(x, training=True)
    paid = COST * learning_rate(layer, np.nan_to_num(x))[real].mean()
    np.testing.assert_allclose(one_loss(layer), paid, rtol=1e-4)
