"""Models that differ in their mixer alone."""

import keras
import numpy as np
import pytest

from benchmarks.baselines.models import MIXERS
from benchmarks.baselines.models import language_model
from benchmarks.baselines.models import vector_model
from tests.helpers import to_numpy
from tests.helpers import traced

SIZE = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "window_size": 4}
PARAMETERS = 30_000
# What would otherwise be most of so small a model.
OPTIONS = {"slots": {"num_slots": 32}, "mamba-2": {"state_dim": 16}}

every = pytest.mark.parametrize("name", MIXERS)


def options(name):
    return {**SIZE, **OPTIONS.get(name, {})}


@every
def test_all_have_as_many_weights(name):
    for model in (
        language_model(name, 50, parameters=PARAMETERS, **options(name)),
        vector_model(name, 3, 5, parameters=PARAMETERS, **options(name)),
    ):
        count = sum(np.prod(weight.shape) for weight in model.weights)
        assert abs(count - PARAMETERS) < 0.01 * PARAMETERS


@every
def test_a_language_model_sees_the_past_alone(name):
    size = {**options(name), "num_layers": 1}
    model = language_model(name, 11, **size)
    run = traced(lambda tokens: model(tokens))
    tokens = np.random.default_rng(0).integers(0, 11, (1, 7)).astype("int32")
    start = to_numpy(run(tokens))
    assert start.shape == (1, 7, 11)
    changed = tokens.copy()
    changed[0, 3] = (changed[0, 3] + 1) % 11
    by = np.abs(to_numpy(run(changed)) - start).max(axis=-1)[0]
    assert np.all(by[:3] < 1e-6)
    assert np.all(by[3:] > 1e-4)


def test_input_and_output_embedding_are_one():
    model = language_model("transformer", 50, **SIZE)
    shapes = [tuple(weight.shape) for weight in model.weights]
    assert sum(50 in shape for shape in shapes) == 1


@pytest.mark.parametrize("name", ["rg-lru", "mamba-2", "gated-delta"])
def test_fit_learns(name):
    """The value to give stands two steps back."""
    size = {**options(name), "num_layers": 1}
    model = vector_model(name, 3, 3, **size)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x = np.random.default_rng(0).normal(size=(16, 9, 3)).astype("float32")
    y = np.roll(x, 2, axis=1)
    y[:, :2] = 0.0
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    "change, names",
    [
        ({"mixer_name": "Mamba"}, "mixer_name='Mamba'"),
        ({"vocabulary_size": 0}, "vocabulary_size"),
        ({"hidden_dim": 1.5}, "hidden_dim"),
        ({"num_layers": 0}, "num_layers"),
        ({"parameters": 100}, "parameters=100"),
    ],
)
def test_bad_arguments_are_named(change, names):
    arguments = {"mixer_name": "window", "vocabulary_size": 50, **SIZE}
    with pytest.raises(ValueError, match=names):
        language_model(**{**arguments, **change})


def test_bad_widths_are_named():
    for change in ({"channels": 0}, {"outputs": 0}):
        arguments = {"channels": 3, "outputs": 5, **SIZE, **change}
        with pytest.raises(ValueError, match=next(iter(change))):
            vector_model("window", **arguments)
