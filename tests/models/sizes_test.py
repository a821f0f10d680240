"""The names of sizes are true."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansBackbone
from keras_titans.models.mixers import MIXERS
from keras_titans.models.sizes import SIZES
from keras_titans.models.sizes import config_of_size


@pytest.fixture(autouse=True)
def nothing_to_allocate():
    """Else Keras makes the weights when any stateless scope ends: gigabytes."""
    yield
    keras.utils.clear_session()


def count(size, mixers):
    """Weights of a backbone that is never allocated."""
    with keras.StatelessScope(initialize_variables=False):
        backbone = TitansBackbone.from_size(size, mixers)
    return sum(int(np.prod(v.shape)) for v in backbone.variables)


@pytest.mark.parametrize("mixers", MIXERS)
@pytest.mark.parametrize("size", SIZES)
def test_weights_are_what_the_name_says(size, mixers):
    said = float(size.removeprefix("titans_").removesuffix("m")) * 1e6
    assert abs(count(size, mixers) / said - 1) < 0.04


def test_layers_may_differ():
    mixers = ["MAC", "LMM", "attention", "LMM"]
    assert abs(count("titans_5m", mixers) / 5e6 - 1) < 0.04


def test_what_the_paper_says():
    for size, layers, width in (
        ("titans_170m", 12, 768),
        ("titans_340m", 24, 1024),
        ("titans_760m", 24, 1536),
    ):
        config = config_of_size(size)
        assert (config["num_layers"], config["hidden_dim"]) == (layers, width)
        assert (config["num_heads"], config["vocabulary_size"]) == (16, 32_000)


def test_overrides():
    backbone = TitansBackbone.from_size(
        "titans_1m",
        "LMM",
        NeuralMemory(chunk_size=4),
        num_layers=1,
        intermediate_dim=8,
    )
    assert backbone.num_layers == 1
    assert backbone.mixers == "LMM"
    assert backbone.transformer_layers[0].mixer.chunk_size == 4
