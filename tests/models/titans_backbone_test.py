"""The backbone: causal, masked, streamed, and of the size that it says."""

import json
import re

import keras
import keras_hub
import numpy as np
import pytest
from keras import tree

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansBackbone
from keras_titans.models.mixers import MIXERS
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

VOCABULARY, WIDTH, HEADS = 23, 16, 2
ROWS, TOKENS, WINDOW, CHUNK = 3, 11, 4, 4
IDS = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, TOKENS))
IDS = IDS.astype("int32")
ONES = np.ones_like(IDS)

every_mixer = pytest.mark.parametrize("mixers", MIXERS)


def memory(**options):
    return NeuralMemory(HEADS, WIDTH // HEADS, chunk_size=CHUNK, **options)


def make(mixers="MAC", **options):
    options = {
        "vocabulary_size": VOCABULARY,
        "num_layers": 1 if isinstance(mixers, str) else len(mixers),
        "num_heads": HEADS,
        "hidden_dim": WIDTH,
        "intermediate_dim": 24,
        "mixers": mixers,
        "window_size": WINDOW,
        **options,
    }
    if mixers != "attention":
        options.setdefault("memory", memory())
    return randomized(TitansBackbone(**options), scale=0.05)


def whole(backbone, ids, mask=None):
    mask = np.ones_like(ids) if mask is None else mask
    run = traced(lambda ids, mask: backbone(inputs(ids, mask)))
    return to_numpy(run(ids, mask))


def inputs(ids, mask):
    return {"token_ids": ids, "padding_mask": mask}


@every_mixer
def test_later_tokens_change_nothing_before_them(mixers):
    backbone = make(mixers)
    ids = IDS.copy()
    ids[:, 7] = (ids[:, 7] + 1) % VOCABULARY
    one, other = whole(backbone, IDS), whole(backbone, ids)
    close(one[:, :7], other[:, :7], 1e-6)
    assert np.abs(one[:, 7:] - other[:, 7:]).max(axis=(1, 2)).min() > 1e-3


@every_mixer
def test_padding_anywhere_changes_nothing(mixers):
    backbone = make(mixers)
    wanted = whole(backbone, IDS[:1, :6])
    ids, mask = IDS.copy(), np.zeros_like(IDS)
    for row, places in enumerate(
        ([0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10], [0, 2, 3, 6, 7, 10])
    ):
        ids[row, places], mask[row, places] = IDS[0, :6], 1
    have = whole(backbone, ids, mask)
    for row in range(ROWS):
        close(have[row][mask[row] == 1], wanted[0], 1e-5)


@pytest.mark.parametrize("length", [TOKENS - 1, TOKENS + 1])
def test_a_padding_mask_of_another_length_is_refused(length):
    backbone = make("attention")
    mask = np.ones((ROWS, length), "int32")
    state = backbone.get_initial_state(ROWS)
    for call in (
        lambda: backbone(inputs(IDS, mask)),
        lambda: backbone.predict(inputs(IDS, mask), verbose=0),
        lambda: backbone.stream(IDS, state, mask),
    ):
        with pytest.raises(ValueError, match="`padding_mask`") as error:
            call()
        assert str(TOKENS) in str(error.value)
        assert str(length) in str(error.value)


@every_mixer
def test_streams_pieces_as_the_whole(mixers):
    backbone = make(mixers)
    wanted = whole(backbone, IDS)
    stream = traced(lambda ids, state: backbone.stream(ids, state))
    state, found = backbone.get_initial_state(ROWS), []
    for start, stop in ((0, 1), (1, 6), (6, 11)):
        hidden, state = stream(IDS[:, start:stop], state)
        found.append(to_numpy(hidden))
    close(np.concatenate(found, axis=1), wanted, 1e-5)


@every_mixer
def test_masked_tokens_leave_the_state_as_it_was(mixers):
    backbone = make(mixers)
    stream = traced(lambda *args: backbone.stream(*args))
    _, state = stream(IDS, backbone.get_initial_state(ROWS))
    nothing = np.zeros((ROWS, 5), "int32")
    _, after = stream(IDS[:, :5], state, nothing)
    same(after, state)
    one = nothing.copy()
    one[:, 2] = 1
    _, after = stream(IDS[:, :5], state, one)
    _, wanted = stream(IDS[:, 2:3], state)
    close(after, wanted, 1e-6)


def test_a_mixer_for_each_layer():
    backbone = make([*MIXERS])
    names = [block.mixer.name for block in backbone.transformer_layers]
    assert names == ["mac", "mag", "mal", "lmm", "attention"]
    state = backbone.get_initial_state(ROWS)
    hidden, diagnostics, after = traced(
        lambda ids, state: backbone.stream(ids, state, return_diagnostics=True)
    )(IDS, state)
    surprises = [of_block["surprise"] for of_block in diagnostics]
    close(hidden, whole(backbone, IDS), 1e-5)
    assert [s.shape for s in surprises] == [(ROWS, TOKENS, HEADS)] * 4
    assert all(np.all(to_numpy(s) > 0) for s in surprises)
    tree.assert_same_structure(after, state)


def test_update_off_keeps_the_memory():
    backbone = make("MAG")
    state = backbone.get_initial_state(ROWS)
    stream = lambda **options: traced(
        lambda ids, state: backbone.stream(ids, state, **options)
    )
    _, after = stream(update=False)(IDS, state)
    for one, other in zip(state, after, strict=True):
        same(other["memory"]["memory"], one["memory"]["memory"])
    _, after = stream()(IDS, state)
    moved = to_numpy(after[0]["memory"]["memory"][0])
    assert np.abs(moved - to_numpy(state[0]["memory"]["memory"][0])).max() > 0


def test_the_state_does_not_grow():
    backbone = make(["MAC", "MAL"])
    state = backbone.get_initial_state(ROWS)
    shapes = lambda state: [tuple(x.shape) for x in tree.flatten(state)]
    stream = traced(lambda ids, state: backbone.stream(ids, state))
    for length in (1, 11):
        _, after = stream(IDS[:, :length], state)
        assert shapes(after) == shapes(state)
    assert {shape[0] for shape in shapes(state)} == {ROWS}


def test_dropout_only_in_training():
    backbone = make("attention", dropout=0.5)
    state = backbone.get_initial_state(ROWS)
    quiet, _ = backbone.stream(IDS, state)
    close(quiet, whole(backbone, IDS), 1e-5)
    loud, _ = backbone.stream(IDS, state, training=True)
    assert np.abs(to_numpy(loud) - to_numpy(quiet)).max() > 0.1


@pytest.mark.parametrize("tied", [False, True])
def test_logits_start_at_unit_scale(tied):
    backbone = TitansBackbone(
        500, 1, 64, intermediate_dim=96, tie_word_embeddings=tied, window_size=4
    )
    hidden = whole(backbone, IDS)
    logits = to_numpy(backbone.token_embedding(hidden, reverse=True))
    # Tied, a token's own logit stands out: it is left out of the sample.
    spread = np.std(np.sort(logits, axis=-1)[..., :-1])
    assert 0.7 < spread < 1.3


def test_runs_compiled_with_grouped_heads():
    backbone = make("MAG", num_key_value_heads=1, num_persistent_tokens=0)
    have = compiled(lambda ids, mask: backbone(inputs(ids, mask)))(IDS, ONES)
    close(have, whole(backbone, IDS), 1e-5)
    shape = backbone.get_initial_state(1)[0]["attention"]["key"].shape
    assert tuple(shape) == (1, WINDOW, 1, 1, WIDTH // HEADS)


def test_bfloat16():
    backbone = make("MAC", dtype="bfloat16")
    reference = make("MAC")
    for one, other in zip(backbone.weights, reference.weights, strict=True):
        assert one.path == other.path
        one.assign(to_numpy(other.value))
    have = backbone(inputs(IDS, ONES))
    assert keras.backend.standardize_dtype(have.dtype) == "bfloat16"
    have = to_numpy(keras.ops.cast(have, "float32"))
    assert np.abs(have - whole(reference, IDS)).mean() < 0.1
    memory = backbone.get_initial_state(1)[0]["memory"]["memory"][0]
    assert keras.backend.standardize_dtype(memory.dtype) == "float32"


@pytest.mark.parametrize("mixers", ["MAC", ["LMM", "MAL"]])
def test_configuration_and_preset(mixers, tmp_path):
    pattern = memory(anchor="chunk", memory_depth=1)
    backbone = make(mixers, memory=pattern, dropout=0.1)
    config = backbone.get_config()
    json.dumps(config)
    again = TitansBackbone.from_config(config)
    assert again.get_config() == config
    backbone.save_to_preset(str(tmp_path))
    for cls in (TitansBackbone, keras_hub.models.Backbone):
        loaded = cls.from_preset(str(tmp_path))
        assert type(loaded) is TitansBackbone
        same(whole(loaded, IDS), whole(backbone, IDS))
    small = TitansBackbone.from_preset(str(tmp_path), dtype="bfloat16")
    assert small.compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    "options, names",
    [
        ({"mixers": ["MAC"], "num_layers": 2}, "num_layers"),
        ({"hidden_dim": 15}, "`hidden_dim`.*`num_heads`"),
    ],
)
def test_arguments_that_do_not_fit_each_other(options, names):
    with pytest.raises(ValueError, match=names):
        make(**options)


def test_a_state_that_does_not_fit_is_named():
    backbone = make(["LMM", "LMM"])
    state = backbone.get_initial_state(ROWS)
    with pytest.raises(ValueError, match="initial_state.*2 blocks.*of 1"):
        backbone.stream(IDS, state[:1])
    with pytest.raises(ValueError, match="initial_state"):
        backbone.stream(IDS, None)
    with pytest.raises(ValueError, match="initial_state"):
        backbone.stream(IDS[:2], state)


@pytest.mark.parametrize("tied", [False, True])
def test_every_large_matrix_is_laid_out(tied):
    devices = np.array(["cpu:0"]).reshape(1, 1)
    mesh = keras.distribution.DeviceMesh((1, 1), ("batch", "model"), devices)
    backbone = make([*MIXERS], tie_word_embeddings=tied)
    layout = TitansBackbone.get_layout_map(mesh)
    found = set()
    for variable in backbone.variables:
        here = layout[variable.path]
        large = np.prod(variable.shape) >= WIDTH**2
        large |= "initial_memory" in variable.path
        assert (here is not None) == large, variable.path
        if large:
            assert len(here.axes) == len(variable.shape)
            found |= {key for key in layout if re.search(key, variable.path)}
    unused = set(layout) - found
    assert unused == (
        {r"token_embedding/reverse_embeddings"} if tied else set()
    )
    with pytest.raises(ValueError, match="model_parallel_dim_name"):
        TitansBackbone.get_layout_map(mesh, "heads")
