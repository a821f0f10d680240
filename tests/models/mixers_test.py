"""The memory and the mixers that are passed arrive in every model's blocks."""

import json

import keras
import numpy as np
import pytest

from keras_titans.layers import MemoryAsGate
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import WindowedAttention
from keras_titans.memory import Titans
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansClassifier
from keras_titans.models import TitansForecaster
from tests.helpers import close
from tests.helpers import randomized

IDS = np.random.default_rng(0).integers(0, 9, (2, 7)).astype("int32")
TEXT = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
SERIES = np.random.default_rng(0).normal(size=(2, 9, 1)).astype("float32")


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: models are made and saved as users do."""


def pattern():
    return NeuralMemory(3, 2, chunk_size=5, update_rule=Titans(momentum=None))


def backbone(num_layers=2, **options):
    return TitansBackbone(
        9, num_layers, 8, 2, 8, window_size=4, dropout=0.1, **options
    )


MODELS = {
    "backbone": (backbone, TEXT),
    "classifier": (lambda **o: TitansClassifier(backbone(**o), 2), TEXT),
    "language model": (lambda **o: TitansCausalLM(backbone(**o)), TEXT),
    "forecaster": (
        lambda **o: TitansForecaster(
            2, 1, hidden_dim=8, num_heads=2, window_size=4, patch_size=2, **o
        ),
        SERIES,
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)


def memories(model):
    kinds = (NeuralMemory, SlotMemory)
    return [x for x in model._flatten_layers() if isinstance(x, kinds)]


def check_file(model, inputs, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(inputs, verbose=0)
    close(again.predict(inputs, verbose=0), wanted, 1e-6)
    return again


@every_model
def test_every_block_has_a_memory_like_the_pattern(name, tmp_path):
    make, inputs = MODELS[name]
    given = pattern()
    model = randomized(make(mixers=["MAG", "LMM"], memory=given), scale=0.1)
    json.dumps(model.get_config())
    again = check_file(model, inputs, tmp_path)
    same_config = again.get_config() == model.get_config()
    assert same_config  # without the pages of what differs
    for found in (memories(model), memories(again)):
        assert len(found) == 2 and given not in found
        for memory in found:
            assert (memory.num_heads, memory.head_dim) == (3, 2)
            assert memory.chunk_size == 5
            assert memory.update_rule.momentum is None
        one, other = ({id(w) for w in memory.weights} for memory in found)
        assert one.isdisjoint(other)
    assert not given.built


def test_a_quantized_model_keeps_its_memory(tmp_path):
    model = backbone(1, mixers="MAG", memory=pattern())
    model.quantize("int8")
    again = check_file(model, TEXT, tmp_path)
    assert again.memory.get_config()["chunk_size"] == 5
    (memory,) = memories(again)
    assert memory.chunk_size == 5 and memory.query.quantization_mode == "int8"


def test_a_size_takes_a_memory():
    model = TitansBackbone.from_size(
        "titans_1m", "LMM", pattern(), num_layers=1, intermediate_dim=8
    )
    (memory,) = memories(model)
    assert (memory.num_heads, memory.chunk_size) == (3, 5)


MIXERS = [
    SlotMemory(2, 3, 4),
    MemoryAsGate(2, 4, memory=pattern(), num_persistent_tokens=1),
    "attention",
]


def test_mixers_may_be_patterns(tmp_path):
    model = randomized(backbone(len(MIXERS), mixers=MIXERS), scale=0.1)
    again = check_file(model, TEXT, tmp_path)
    for found in (model, again):
        first, second, last = (x.mixer for x in found.transformer_layers)
        assert first.num_slots == 3
        assert second.num_persistent_tokens == 1
        assert second.memory.chunk_size == 5
        assert isinstance(last, WindowedAttention)
    assert model.mixers == MIXERS


def test_one_pattern_is_for_every_block():
    model = backbone(mixers=MIXERS[0], dtype="mixed_bfloat16")
    one, other = (block.mixer for block in model.transformer_layers)
    assert one is not other and one.num_slots == other.num_slots == 3
    assert one.dtype_policy.name == "mixed_bfloat16"
    assert model.memory is None


def test_what_is_not_passed_is_the_default():
    model = backbone(1, mixers="MAC")
    assert model.memory.get_config() == {
        **NeuralMemory().get_config(),
        "name": model.memory.name,
    }
    (memory,) = memories(model)
    assert (memory.num_heads, memory.head_dim) == (1, 64)


@pytest.mark.parametrize(
    "mixers", ["attention", SlotMemory(2), ["attention", SlotMemory(2)]]
)
@pytest.mark.parametrize("name", ["backbone", "forecaster"])
def test_a_memory_that_nothing_takes_is_refused(name, mixers):
    make, _ = MODELS[name]
    with pytest.raises(ValueError, match="Argument `memory` must be None"):
        make(mixers=mixers, memory=pattern())


@pytest.mark.parametrize(
    "hidden_dim, heads, inner", [(8, 1, 32), (200, 2, 544), (256, 4, 704)]
)
def test_heads_and_inner_width_follow_from_the_width(hidden_dim, heads, inner):
    model = TitansBackbone(9, 1, hidden_dim, mixers="attention")
    assert model.num_heads == model.transformer_layers[0].mixer.num_heads
    assert (model.num_heads, model.intermediate_dim) == (heads, inner)
