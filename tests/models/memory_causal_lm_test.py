"""Generation carries cache and memory; each step says what recomputing says."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import MemoryBackbone
from keras_titans.models import MemoryCausalLM
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models import add_memory
from tests.generation import HiddenRecorder
from tests.generation import Recorder
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced
from tests.hub_models import FAMILIES
from tests.hub_models import IDS
from tests.hub_models import ROWS
from tests.hub_models import TOKENS
from tests.hub_models import VOCABULARY
from tests.hub_models import inputs
from tests.hub_models import mask_of
from tests.hub_models import tiny

CHUNK = 4


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: KerasHub's samplers mix JAX's two kinds of whole numbers."""


def make(family="llama", memory_scale=0.3, **options):
    """A model whose memories have a say, and its backbone without them."""
    backbone = randomized(tiny(family), scale=0.1)
    depth = 2 if family == "gpt2" else 1
    memory = NeuralMemory(2, 8, memory_depth=depth, chunk_size=CHUNK)
    grafted = add_memory(backbone, memory, **options)
    randomized(grafted, scale=memory_scale)  # memories and gates only
    return MemoryCausalLM(grafted), backbone


def recomputed(model, ids=IDS):
    run = traced(lambda ids, mask: model(inputs(ids, mask)))
    return to_numpy(run(ids, np.ones_like(ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_steps_logits_are_those_of_recomputing(family):
    """Prompts shorter than, equal to and longer than a chunk; ragged."""
    model, backbone = make(family)
    wanted = recomputed(model)
    family = type(model.family)
    alone = recomputed(family(backbone=backbone, preprocessor=None))
    assert np.abs(wanted - alone).max() > 0.1, "the memories say nothing"
    model.compile(sampler=Recorder(VOCABULARY))
    generate = model.make_generate_function()
    for lengths in ((1, 1), (4, 4), (7, 7), (12, 12), (9, 2), (3, 11)):
        # What is behind a prompt is not looked at before its turn.
        have = generate(inputs(IDS, mask_of(*lengths)), None)
        first = min(lengths) - 1
        have = to_numpy(have["token_ids"])[:, first:]
        close(have, wanted[:, first:], 1e-4)


@pytest.mark.slow_on("tensorflow")
def test_one_layer_with_a_memory_and_one_without():
    model, _ = make("gpt2", layers=[1])
    wanted = recomputed(model)
    model.compile(sampler=Recorder(VOCABULARY))
    have = model.make_generate_function()(inputs(IDS, mask_of(5, 3)), None)
    close(to_numpy(have["token_ids"])[:, 2:], wanted[:, 2:], 1e-4)


def test_cache_is_carried_by_hand():
    """`build_cache`, then `call_with_cache` with one and with more tokens."""
    model, _ = make("llama")
    wanted = recomputed(model)

    def run(ids):
        _, cache = model.build_cache(ids, 3)
        one, hidden, cache = model.call_with_cache(ids[:, 3:4], cache, 3)
        more, _, cache = model.call_with_cache(ids[:, 4:9], cache, 4)
        return one, hidden, more, cache

    one, hidden, more, cache = traced(run)(IDS)
    close(one, wanted[:, 3:4], 1e-4)
    close(more, wanted[:, 4:9], 1e-4)
    assert hidden.shape == (ROWS, 1, 16)
    assert {leaf.shape[0] for leaf in keras.tree.flatten(cache)} == {ROWS}


def test_a_cache_without_a_memorys_state_is_refused():
    model, _ = make("llama")
    plain = keras_hub.models.LlamaCausalLM(model.backbone)
    with pytest.raises(ValueError, match="MemoryCausalLM"):
        plain.generate(inputs(IDS, mask_of(4, 4)), stop_token_ids=None)


@pytest.mark.slow_on("tensorflow")
def test_greedy_generation_takes_what_is_likeliest():
    model, _ = make("gpt2")
    model.compile(sampler="greedy")
    have = model.generate(inputs(IDS, mask_of(5, 3)), stop_token_ids=None)
    ids = IDS.copy()
    run = traced(lambda ids, mask: model(inputs(ids, mask)))
    for t in range(3, TOKENS):
        likeliest = to_numpy(run(ids, np.ones_like(ids)))[:, t - 1].argmax(-1)
        free = np.array([t >= 5, t >= 3])
        ids[free, t] = likeliest[free]
    same(have["token_ids"].astype("int32"), ids)
    assert have["padding_mask"].all()


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("sampler", ["beam", "contrastive"])
def test_other_samplers_take_the_cache(sampler):
    """Each leaf has its rows in front: beams multiply and pick them."""
    model, _ = make("gpt2")
    if sampler == "contrastive":
        sampler = keras_hub.samplers.ContrastiveSampler(k=2, alpha=0.2)
    model.compile(sampler=sampler)
    have = model.generate(inputs(IDS, mask_of(5, 3)), stop_token_ids=None)
    prompts = mask_of(5, 3)
    same(have["token_ids"][prompts].astype("int32"), IDS[prompts])
    assert have["token_ids"].max() < VOCABULARY


@pytest.mark.slow_on("tensorflow")
def test_contrastive_search_sees_the_prompts_hidden_states():
    model, _ = make("llama")
    run = traced(lambda ids, mask: model.backbone(inputs(ids, mask)))
    wanted = to_numpy(run(IDS, np.ones_like(IDS)))
    model.compile(sampler=HiddenRecorder())
    generate = model.make_generate_function()
    for length in (1, 7, TOKENS):
        have = generate(inputs(IDS, mask_of(length, length)), None)
        have = to_numpy(have["token_ids"])
        close(have[:, :length], wanted[:, :length], 1e-4)


@pytest.mark.slow_on("tensorflow")
def test_stops_at_a_stop_token():
    model, _ = make("gpt2")
    model.compile(sampler="greedy")
    prompt = inputs(IDS, mask_of(4, 4))
    free = model.generate(prompt, stop_token_ids=None)["token_ids"]
    stop = int(free[0, 6])
    have = model.generate(prompt, stop_token_ids=(stop,))
    ends = [4 + int(np.argmax(row[4:] == stop)) for row in free]
    for row, end, wanted in zip(have["padding_mask"], ends, free, strict=True):
        if stop in wanted[4:]:
            assert row[: end + 1].all() and not row[end + 1 :].any()


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_score_is_the_models(family):
    model, _ = make(family)
    mask = mask_of(TOKENS, 7)
    run = traced(lambda ids, mask: model(inputs(ids, mask)))
    have = to_numpy(traced(model.score)(IDS, mask))
    close(have[mask], to_numpy(run(IDS, mask))[mask], ROUNDING)


def test_a_preset_is_the_same_model(tmp_path):
    model, _ = make("gpt2")
    wanted = recomputed(model)
    model.save_to_preset(str(tmp_path))
    for cls in (MemoryCausalLM, keras_hub.models.CausalLM):
        loaded = cls.from_preset(str(tmp_path))
        assert type(loaded) is MemoryCausalLM
        close(recomputed(loaded), wanted, 1e-6)
    backbone = keras_hub.models.Backbone.from_preset(
        str(tmp_path), dtype="bfloat16"
    )
    assert type(backbone) is MemoryBackbone
    memory = backbone.memory_layers[0].memory
    assert memory.compute_dtype == "bfloat16"
    assert backbone.transformer_layers[0].compute_dtype == "bfloat16"


def test_a_keras_file_is_the_same_model(tmp_path):
    model, _ = make("llama")
    wanted = recomputed(model)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert type(loaded) is MemoryCausalLM
    close(recomputed(loaded), wanted, 1e-6)
    loaded.compile(sampler=Recorder(VOCABULARY))
    have = loaded.make_generate_function()(inputs(IDS, mask_of(5, 5)), None)
    close(to_numpy(have["token_ids"])[:, 4:], wanted[:, 4:], 1e-4)


def test_language_models_are_made_from_language_models():
    model = keras_hub.models.LlamaCausalLM(tiny("llama"))
    memory = NeuralMemory(2, 8, memory_depth=1, chunk_size=CHUNK)
    grafted = add_memory(model, memory, lora_rank=2)
    assert type(grafted) is MemoryCausalLM
    same(recomputed(grafted), recomputed(model))
    trained = [w.path for w in grafted.trainable_variables]
    assert sum("lora" in path for path in trained) == 2 * 2 * 2
    assert sum(path.endswith("/gate") for path in trained) == 2


def test_a_preprocessor_is_of_the_backbone():
    backbone = MemoryBackbone(tiny("llama"))
    preprocessor = TitansCausalLMPreprocessor(TitansByteTokenizer())
    with pytest.raises(ValueError, match="`preprocessor`.*31 .*of 259"):
        MemoryCausalLM(backbone, preprocessor)
    # Gemma 3's tokenizer has one id more than its text models.
    fitting = MemoryBackbone(tiny("llama", vocabulary_size=258))
    model = MemoryCausalLM(fitting, preprocessor)
    for bad in (None, ["a", 3]):
        with pytest.raises(ValueError, match="`inputs` must be a string"):
            model.generate(bad)


def test_what_cannot_generate_is_refused():
    with pytest.raises(ValueError, match="`backbone` must be a `MemoryB"):
        MemoryCausalLM(tiny("llama"))
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
    )
    backbone = MemoryBackbone(bert)
    with pytest.raises(ValueError, match="`CausalLM` with one cache"):
        MemoryCausalLM(backbone)
