"""Config, files and dtype policies."""

import keras
import numpy as np
import pytest
from keras import tree

from keras_titans.layers import NeuralMemory
from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import Titans
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy

ROWS, TOKENS, WIDTH = 2, 6, 4
X = (
    np.random.default_rng(0)
    .normal(size=(ROWS, TOKENS, WIDTH))
    .astype("float32")
)


@keras.saving.register_keras_serializable("tests")
class Clipped(Objective):
    slope = 2.0

    def __init__(self, limit=1.0):
        self.limit = limit

    def gradient(self, prediction, target):
        error = 2.0 * (prediction - target)
        return keras.ops.clip(error, -self.limit, self.limit)

    def get_config(self):
        return {"limit": self.limit}


# No argument at its default.
EVERYTHING = {
    "num_heads": 3,
    "head_dim": 5,
    "network": MLPMemory(3, 2, "tanh", residual=True, unit_norm=False),
    "chunk_size": 4,
    "anchor": "chunk",
    "update_rule": Titans(momentum=0.3, clipnorm=2.0),
    "objective": Clipped(0.4),
    "read_first": True,
    "kernel_size": 3,
    "use_bias": True,
    "kernel_initializer": keras.initializers.RandomNormal(stddev=0.2, seed=1),
    "bias_initializer": "ones",
    "memory_initializer": keras.initializers.RandomUniform(-0.3, 0.3, seed=2),
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "bias_regularizer": keras.regularizers.L1(0.2),
    "memory_regularizer": keras.regularizers.L2(0.3),
    "kernel_constraint": keras.constraints.MaxNorm(3.0),
    "bias_constraint": keras.constraints.NonNeg(),
    "memory_constraint": keras.constraints.MaxNorm(4.0),
    "remat": False,
    "return_state": True,
    "stateful": True,
    "name": "mine",
}


def test_every_argument_survives_its_config():
    defaults = NeuralMemory(2).get_config()
    layer = NeuralMemory(**EVERYTHING)
    config = layer.get_config()
    for name in EVERYTHING:
        assert config[name] != defaults[name], f"{name} is at its default"
    ignored = {"name", "trainable", "dtype"}
    assert set(config) - ignored == set(EVERYTHING) - ignored
    again = NeuralMemory.from_config(config)
    assert again.get_config() == config
    assert isinstance(again.objective, Clipped)
    assert again.objective.limit == 0.4
    through = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert through.get_config() == config


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": GatedMLPMemory(1.5, "gelu"), "anchor": "chunk"},
        {"memory_depth": 2, "update_rule": Titans(momentum=None)},
        {"objective": Clipped(0.2), "anchor": "chunk", "kernel_size": 1},
    ],
    ids=["default", "gated", "deep", "objective"],
)
def test_a_saved_model_computes_the_same(tmp_path, options):
    x = keras.Input((None, WIDTH))
    layer = NeuralMemory(2, 2, chunk_size=4, return_state=True, **options)
    model = keras.Model(x, layer(x))
    randomized(layer)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    same(
        tree.flatten(again.predict(X, verbose=0)),
        tree.flatten(model.predict(X, verbose=0)),
    )


def test_a_saved_stateful_model_starts_afresh(tmp_path):
    x = keras.Input((TOKENS, WIDTH), batch_size=ROWS)
    layer = NeuralMemory(2, 2, chunk_size=4, stateful=True)
    model = keras.Model(x, layer(x))
    randomized(layer)
    first = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    same(again.predict(X, verbose=0), first)


def test_regularizers_reach_the_loss():
    options = {
        f"{what}_regularizer": keras.regularizers.L2(1.0)
        for what in ("kernel", "bias", "memory")
    }
    layer = NeuralMemory(2, 2, use_bias=True, **options)
    layer(X)
    # Four projections in, one out, with a bias each; a matrix.
    assert len(layer.losses) == 5 + 5 + 1


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", "bfloat16", "mixed_float16"]
)
def test_half_precision(policy):
    full = NeuralMemory(2, 2, chunk_size=4, return_state=True)
    full(X)
    half = NeuralMemory(2, 2, chunk_size=4, return_state=True, dtype=policy)
    half.build((None, None, WIDTH))
    for mine, its in zip(half.weights, full.weights):
        mine.assign(np.array(keras.ops.convert_to_numpy(its.value)))
    wanted, _ = full(X)
    first, state = half(X[:, :3])
    second, state = half(X[:, 3:], initial_state=state)
    for part in (first, second):
        dtype = keras.backend.standardize_dtype(part.dtype)
        assert dtype == half.compute_dtype != "float32"
    for path, entry in tree.flatten_with_path(state):
        dtype = keras.backend.standardize_dtype(entry.dtype)
        assert dtype == ("int32" if path == ("phase",) else "float32")
    parts = [keras.ops.cast(part, "float32") for part in (first, second)]
    whole = np.concatenate(to_numpy(parts), axis=1)
    # Three digits of numbers near 1; where a reading is small, the norm of
    # the output enlarges its error, so the mean is what says something.
    assert np.mean(np.abs(whole - to_numpy(wanted))) < 0.02


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains(policy):
    x = keras.Input((TOKENS, WIDTH))
    layer = NeuralMemory(2, 2, chunk_size=4, dtype=policy)
    model = keras.Model(x, layer(x))
    model.compile("sgd", "mse")
    history = model.fit(X, X, epochs=2, verbose=0).history["loss"]
    assert np.all(np.isfinite(history))
    assert history[1] < history[0]
