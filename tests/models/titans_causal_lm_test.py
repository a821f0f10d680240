"""Generation from a state of fixed size says what recomputing would say."""

import json

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops
from keras import tree

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models.mixers import MIXERS
from tests.generation import HiddenRecorder
from tests.generation import Recorder
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

samplers = keras_hub.samplers
VOCABULARY, WIDTH, HEADS = 29, 16, 2
ROWS, TOKENS, WINDOW, CHUNK = 2, 14, 4, 4
IDS = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, TOKENS))
IDS = IDS.astype("int32")


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: KerasHub's samplers mix JAX's two kinds of whole numbers."""


def make(mixers="MAC", vocabulary=VOCABULARY, preprocessor=None, **options):
    if mixers != "attention":
        options["memory"] = NeuralMemory(HEADS, 8, chunk_size=CHUNK)
    backbone = TitansBackbone(
        vocabulary,
        1 if isinstance(mixers, str) else len(mixers),
        WIDTH,
        HEADS,
        24,
        mixers=mixers,
        window_size=WINDOW,
        **options,
    )
    randomized(backbone, scale=0.05)
    return TitansCausalLM(backbone, preprocessor)


def mask_of(*lengths):
    return np.arange(TOKENS)[None] < np.array(lengths)[:, None]


def inputs(ids, mask):
    return {"token_ids": ids, "padding_mask": mask}


def recomputed(model, ids=IDS):
    run = traced(lambda ids, mask: model(inputs(ids, mask)))
    return to_numpy(run(ids, np.ones_like(ids)))


@pytest.mark.parametrize("mixers", [*MIXERS, ("MAL", "MAC")])
def test_each_steps_logits_are_those_of_recomputing(mixers):
    """Prompts shorter than, equal to and longer than a segment; ragged."""
    model = make(mixers if isinstance(mixers, str) else list(mixers))
    wanted = recomputed(model)
    assert np.abs(wanted).max() > 1
    for piece in (3,) if isinstance(mixers, str) else (TOKENS, 3):
        model.compile(sampler=Recorder(VOCABULARY))
        model.prefill_length = piece
        generate = model.make_generate_function()
        for lengths in ((1, 1), (3, 3), (4, 4), (5, 5), (13, 13), (9, 2)):
            have = generate(inputs(IDS, mask_of(*lengths)), None)
            first = min(lengths) - 1
            have = to_numpy(have["token_ids"])[:, first:]
            close(have, wanted[:, first:], ROUNDING)


def test_goes_on_from_a_memory():
    model = make("MAC")
    model.compile(sampler=Recorder(VOCABULARY))
    wanted = recomputed(model)
    stream = traced(lambda ids, state: model.backbone.stream(ids, state)[1])
    generate = model.make_generate_function()
    for read in (3, 6):
        start = model.backbone.get_initial_state(ROWS)
        state = tree.map_structure(ops.copy, stream(IDS[:, :read], start))
        later = np.roll(IDS, -read, axis=1)
        prompt = inputs(later, mask_of(2, 2)) | {"memory": state}
        have = to_numpy(generate(prompt, None)["token_ids"])
        close(have[:, 1 : TOKENS - read], wanted[:, read + 1 :], ROUNDING)
    with pytest.raises(ValueError, match="initial_state"):
        generate(prompt | {"memory": state * 2}, None)


def test_contrastive_search_sees_the_prompts_hidden_states():
    model = make("MAG")
    run = traced(lambda ids, mask: model.backbone(inputs(ids, mask)))
    wanted = to_numpy(run(IDS, np.ones_like(IDS)))
    model.prefill_length = 3
    model.compile(sampler=HiddenRecorder())
    generate = model.make_generate_function()
    for length in (1, 7, TOKENS):
        have = generate(inputs(IDS, mask_of(length, length)), None)
        have = to_numpy(have["token_ids"])
        assert have.shape == wanted.shape
        close(have[:, :length], wanted[:, :length], ROUNDING)


@pytest.fixture(scope="module")
def model():
    return make("MAC")


@pytest.fixture(scope="module")
def greedy(model):
    """What the likeliest token is, one recomputation after the other."""
    run = traced(lambda ids, mask: model(inputs(ids, mask)))
    ids, lengths = IDS.copy(), (6, 3)
    for step in range(min(lengths), TOKENS):
        logits = to_numpy(run(ids, mask_of(step, step).astype("int32")))
        likeliest = logits[:, step - 1].argmax(-1)
        ids[:, step] = np.where(
            mask_of(*lengths)[:, step], IDS[:, step], likeliest
        )
    assert len(set(ids[:, 6:].ravel())) > 3
    return ids, mask_of(*lengths)


@pytest.mark.parametrize(
    "sampler",
    [
        samplers.GreedySampler(),
        samplers.TopKSampler(k=1),
        samplers.TopPSampler(p=1e-6, k=5),
        samplers.BeamSampler(num_beams=1),
        samplers.ContrastiveSampler(k=3, alpha=0.0),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_every_sampler_can_be_greedy(model, greedy, sampler):
    wanted, mask = greedy
    model.compile(sampler=sampler)
    prompt = inputs(np.where(mask, IDS, 0), mask)
    have = model.generate(prompt, stop_token_ids=None)
    same(have["token_ids"], wanted)
    assert have["padding_mask"].all()


@pytest.mark.slow_on("jax", "tensorflow")
def test_beams_are_those_of_a_search_by_hand(model):
    beams, first = 4, 3
    model.compile(sampler=samplers.BeamSampler(num_beams=beams))
    mask = mask_of(first, first)
    prompt = inputs(np.where(mask, IDS, 0), mask)
    have = model.generate(prompt, stop_token_ids=None)["token_ids"]
    for row, found in zip(IDS, have, strict=True):
        kept = np.zeros((beams, TOKENS), "int32")
        kept[:, :first] = row[:first]
        likelihood = np.array([0.0] + [-1e9] * (beams - 1))
        for index in range(first, TOKENS):
            share = to_numpy(ops.log_softmax(recomputed(model, kept)))
            total = likelihood[:, None] + share[:, index - 1]
            best = np.argsort(total, axis=None)[-beams:]
            kept = kept[best // VOCABULARY]
            kept[:, index] = best % VOCABULARY
            likelihood = total.reshape(-1)[best]
        same(found, kept[-1])


def test_stops_where_it_is_told(model, greedy):
    wanted, mask = greedy
    model.compile(sampler="greedy")
    stop = tuple(int(row[8]) for row in wanted)
    # What is to be written must not hold a stop already.
    filler = min(set(range(VOCABULARY)) - set(stop))
    have = model.generate(
        inputs(np.where(mask, IDS, filler), mask), stop_token_ids=stop
    )
    for row in range(ROWS):
        new = np.flatnonzero(~mask[row] & np.isin(wanted[row], stop))[0]
        assert have["padding_mask"][row].sum() == new + 1
        same(have["token_ids"][row, : new + 1], wanted[row, : new + 1])


def test_an_empty_prompt_goes_on_from_its_first_place(model):
    model.compile(sampler="greedy")
    prompt = np.zeros_like(IDS)
    one = model.generate(inputs(prompt, mask_of(1, 1)), stop_token_ids=None)
    none = model.generate(inputs(prompt, mask_of(0, 0)), stop_token_ids=None)
    same(none["token_ids"][:, 1:], one["token_ids"][:, 1:])


@pytest.fixture(scope="module")
def text_model():
    tokenizer = TitansByteTokenizer()
    return make(
        "MAG",
        tokenizer.vocabulary_size(),
        TitansCausalLMPreprocessor(tokenizer, sequence_length=12),
    )


@pytest.mark.parametrize(
    "sampler", ["greedy", "top_k", "top_p", "beam", "contrastive"]
)
def test_strings_in_strings_out(text_model, sampler):
    text_model.compile(sampler=sampler)
    both = text_model.generate(["ab", "Wxyz"], max_length=9)
    for text, prompt in zip(both, ("ab", "Wxyz"), strict=True):
        assert text.startswith(prompt) and len(text) > len(prompt)
    if sampler == "greedy":
        one = text_model.generate("ab", max_length=9)
        rest = text_model.generate("ab", max_length=9, strip_prompt=True)
        assert one == "ab" + rest


def test_a_preset_generates_the_same(text_model, tmp_path):
    text_model.compile(sampler="greedy")
    text_model.save_to_preset(str(tmp_path))
    wanted = text_model.generate("ab")
    # What KerasHub writes for its own models names KerasHub's tasks.
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    assert "CausalLM" in metadata["tasks"]
    assert "MemoryKeeper" not in metadata["tasks"]
    for cls in (TitansCausalLM, keras_hub.models.CausalLM):
        loaded = cls.from_preset(str(tmp_path))
        assert type(loaded) is TitansCausalLM
        assert type(loaded.preprocessor) is TitansCausalLMPreprocessor
    loaded.compile(sampler="greedy")
    assert loaded.generate("ab") == wanted
    small = TitansCausalLM.from_preset(str(tmp_path), dtype="bfloat16")
    small.compile(sampler="greedy")
    assert small.backbone.compute_dtype == "bfloat16"
    assert small.generate("ab").startswith("ab")


def test_scores_are_the_models(model):
    mask = mask_of(9, 5)
    have = model.score(IDS, mask)
    wanted = traced(lambda ids, mask: model(inputs(ids, mask)))(
        IDS, mask.astype("int32")
    )
    close(to_numpy(have)[mask], to_numpy(wanted)[mask], ROUNDING)
    targets = np.roll(IDS, -1, axis=1)
    loss = to_numpy(model.score(IDS, scoring_mode="loss", target_ids=targets))
    share = to_numpy(ops.log_softmax(recomputed(model)))
    each = np.take_along_axis(share, targets[..., None], -1)[..., 0]
    close(loss, -each, ROUNDING)
    seen = []
    model.score(IDS, layer_intercept_fn=lambda x, i: (seen.append(i), x)[1])
    assert seen == [-1, 0]
    zeroed = to_numpy(model.score(IDS, layer_intercept_fn=lambda x, i: 0 * x))
    close(zeroed, np.zeros_like(zeroed), 1e-6)


def test_a_padding_mask_of_another_length_is_refused(model):
    mask = np.ones((len(IDS), TOKENS - 1), "int32")
    for call in (
        lambda: model.score(IDS, mask),
        lambda: model.memorize(inputs(IDS, mask)),
        lambda: model.generate(inputs(IDS, mask), stop_token_ids=None),
    ):
        with pytest.raises(ValueError, match="`padding_mask`"):
            call()


def test_scores_need_a_mode_and_targets(model):
    with pytest.raises(ValueError, match="scoring_mode.*'logits'.*'odds'"):
        model.score(IDS, scoring_mode="odds")
    with pytest.raises(ValueError, match="target_ids"):
        model.score(IDS, scoring_mode="loss")


def test_lora_trains_queries_and_values_alone():
    adapted = []
    for mixers in ("MAC", "attention"):  # the second one is trained
        model = make(mixers)
        before = recomputed(model) if mixers == "attention" else None
        model.backbone.enable_lora(2)
        adapted = [
            layer.path
            for layer in model.backbone._flatten_layers()
            if getattr(layer, "lora_enabled", False)
        ]
        assert len(adapted) == (4 if mixers == "MAC" else 2)
        assert {path.split("/")[-1] for path in adapted} == {"query", "value"}
    assert len(model.trainable_weights) == 2 * len(adapted)
    close(recomputed(model), before, 1e-6)
    start = to_numpy([v.value for v in model.non_trainable_weights])
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    x = inputs(IDS, np.ones_like(IDS))
    losses = model.fit(x, np.roll(IDS, -1, axis=1), epochs=6, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < losses[0] - 0.1
    same([v.value for v in model.non_trainable_weights], start)


@pytest.mark.slow_on("tensorflow")
def test_int8_says_nearly_the_same(tmp_path):
    tokenizer = TitansByteTokenizer()
    model = make(
        "LMM",
        tokenizer.vocabulary_size(),
        TitansCausalLMPreprocessor(tokenizer, sequence_length=12),
    )
    before = recomputed(model)
    model.quantize("int8")
    for layer in model.backbone._flatten_layers():
        if type(layer) is keras.layers.Dense:
            assert layer.quantization_mode == "int8", layer.path
    embedding = model.backbone.token_embedding
    assert embedding.quantization_mode == "int8"
    gates = model.backbone.transformer_layers[0].mixer.gates
    assert {m.quantization_mode for m in gates.maps.values()} == {None}
    after = recomputed(model)
    error = np.abs(after - before).mean() / np.abs(before).mean()
    assert 1e-5 < error < 0.1
    model.compile(sampler="greedy")
    assert model.generate("ab").startswith("ab")
    model.save_to_preset(str(tmp_path))
    again = keras_hub.models.CausalLM.from_preset(str(tmp_path))
    assert again.backbone.token_embedding.quantization_mode == "int8"
    same(recomputed(again), after)
