"""A forecaster learns long seasons, at any level and scale, of any length."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansForecaster
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import to_numpy

HORIZON, CHANNELS = 6, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 21, CHANNELS)).astype("float32")
X = np.cumsum(X, axis=1)


def forecaster(**options):
    options = {"hidden_dim": 8, "num_heads": 2, "patch_size": 4} | options
    options = {"window_size": 3, "linear_window": 10} | options
    if options.get("mixers") != "attention":
        options.setdefault("memory", NeuralMemory(2, 4))
    return TitansForecaster(HORIZON, CHANNELS, **options)


def moved(**options):
    return randomized(forecaster(**options), scale=0.2)


def test_untrained_it_forecasts_the_last_value():
    have = forecaster(num_layers=1).predict(X, verbose=0)
    close(have, np.repeat(X[:, -1:], HORIZON, axis=1), 1e-5)


def test_level_and_scale_make_no_difference():
    model = moved(num_layers=1)
    plain = model.predict(X, verbose=0)
    scale = np.array([0.5, 20.0], "float32")
    level = np.array([-100.0, 3.0], "float32")
    shifted = model.predict(X * scale + level, verbose=0)
    close((shifted - level) / scale, plain, 1e-3)
    held = np.repeat(X[:, -1:], HORIZON, axis=1)
    assert np.abs(plain - held).max() > 0.1


@pytest.mark.parametrize("mixers", ["MAC", ["LMM", "attention"]])
def test_any_length(mixers):
    model = moved(mixers=mixers)
    for length in (1, 5, 21):
        x = np.array(X[:, -length:])
        have = model.predict(x, verbose=0)
        assert have.shape == (3, HORIZON, CHANNELS)
        assert np.isfinite(have).all()
        if length > 1:
            x[1, 0] += 1.0
            moved_by = np.abs(model.predict(x, verbose=0) - have)
            assert moved_by[1].max() > 1e-4
            assert moved_by[[0, 2]].max() < 1e-5


def test_patches_are_counted_from_the_end():
    """What fills the first patch up is the mean, which says nothing."""
    model = moved(linear_window=0, num_layers=1)
    embedding = model.get_layer("patch_embedding")
    inside = keras.Model(model.input, embedding.output)
    x = X - X.mean(axis=1, keepdims=True)
    seen = to_numpy(inside(x))
    assert seen.shape[1] == 6  # of 21 steps
    kernel, bias = (to_numpy(w) for w in embedding.weights)
    z = x / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    last = np.einsum("btc,tcw->bw", z[:, :-5:-1], kernel) + bias
    close(seen[:, 0], last, 1e-5)  # they come backwards


def season(count, length, seed):
    """Series with a season of 48 steps, whose shape is each one's own."""
    rng = np.random.default_rng(seed)
    t = np.arange(length + HORIZON)[None, :, None]
    wave = 0
    for harmonic in (1, 2, 3):
        phase = rng.uniform(0, 2 * np.pi, (count, 1, CHANNELS))
        size = rng.normal(1, 0.3, (count, 1, CHANNELS))
        wave = wave + size * np.sin(2 * np.pi * harmonic * t / 48 + phase)
    level = rng.normal(0, 10, (count, 1, CHANNELS))
    noise = rng.normal(0, 0.4, wave.shape)
    series = (level + wave + noise).astype("float32")
    return series[:, :length], series[:, length:]


@pytest.mark.slow_on("tensorflow")
def test_a_long_season_is_learned():
    keras.utils.set_random_seed(1)
    model = forecaster(mixers="LMM", num_layers=1, linear_window=96)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.fit(*season(512, 144, 0), batch_size=64, epochs=6, verbose=0)
    x, y = season(256, 144, 1)
    error = np.mean((model.predict(x, verbose=0) - y) ** 2)
    again = np.mean((x[:, -48 : -48 + HORIZON] - y) ** 2)
    last = np.mean((x[:, -1:] - y) ** 2)
    assert error < 0.9 * min(again, last), (error, again, last)


def test_saved_and_loaded(tmp_path):
    model = moved(mixers=["MAG", "LMM"], dtype="mixed_bfloat16", dropout=0.1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, TitansForecaster)
    assert again.get_config() == model.get_config()
    close(again.predict(X, verbose=0), model.predict(X, verbose=0), 1e-6)
    assert again.get_layer("block_1").dtype_policy.name == "mixed_bfloat16"


def test_bfloat16_is_near():
    options = {"num_layers": 1, "mixers": "LMM"}
    plain = moved(**options)
    mixed = moved(dtype="mixed_bfloat16", **options)
    mixed.set_weights(plain.get_weights())
    have = mixed.predict(X, verbose=0)
    assert have.dtype == np.float32
    close(have, plain.predict(X, verbose=0), 0.1)


@pytest.mark.parametrize("shape", [(3, 9), (3, 9, 1), (3, 9, 3), (3, 2, 9, 2)])
def test_inputs_of_another_shape_are_refused_and_cost_no_weights(shape):
    model = forecaster(num_layers=1)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"Argument `inputs`|'series'"
        ) as e:
            model.predict(np.zeros(shape, "float32"), verbose=0)
        assert str(shape).strip("()") in str(e.value)
    assert np.isfinite(model.predict(X, verbose=0)).all()


def test_each_head_has_an_equal_share():
    with pytest.raises(ValueError, match="`hidden_dim`.*`num_heads`"):
        forecaster(hidden_dim=9, num_heads=2)
