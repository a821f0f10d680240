"""What is read is kept, where it was asked for, and nowhere else."""

import copy

import keras
import numpy as np
import pytest
from keras import tree

from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

LENGTH = 16
IDS = np.random.default_rng(0).integers(97, 123, (2, 45)).astype("int32")
PROMPTS = np.array([[65, 66, 67], [68, 69, 70]], "int32")


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: KerasHub's samplers mix JAX's two kinds of whole numbers."""


def language_model(text=False, chunk_size=4, window_size=4):
    backbone = TitansBackbone(
        vocabulary_size=259,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=12,
        mixers=["MAG", "LMM"],
        memory=NeuralMemory(2, 4, chunk_size=chunk_size),
        window_size=window_size,
    )
    randomized(backbone)
    preprocessor = None
    if text:
        preprocessor = TitansCausalLMPreprocessor(
            TitansByteTokenizer(), sequence_length=LENGTH
        )
    model = TitansCausalLM(backbone, preprocessor)
    model.compile(sampler="greedy")
    return model


@pytest.fixture(scope="module")
def of_ids():
    return language_model()


@pytest.fixture(scope="module")
def of_text():
    return language_model(text=True)


@pytest.fixture(autouse=True)
def nothing_kept(of_ids, of_text):
    of_ids.reset_memory()
    of_text.reset_memory()


def generate(model, prompts, length=LENGTH, **options):
    room = [(0, 0), (0, length - prompts.shape[1])]
    inputs = {
        "token_ids": np.pad(prompts, room),
        "padding_mask": np.pad(np.ones_like(prompts, bool), room),
    }
    outputs = model.generate(inputs, stop_token_ids=None, **options)
    return np.asarray(outputs["token_ids"])[:, prompts.shape[1] :]


def test_it_is_the_state_after_the_whole(of_ids):
    backbone = of_ids.backbone
    whole = traced(
        lambda ids: backbone.stream(ids, backbone.get_initial_state(2))[1]
    )(IDS)
    of_ids.memorize(IDS, piece_length=32)
    memory = of_ids.get_memory()
    close(memory.state, whole, ROUNDING)
    assert memory.tokens.tolist() == [45, 45]
    of_ids.reset_memory()
    of_ids.memorize(IDS[:, :7])
    of_ids.memorize(list(IDS[:, 7:]))
    close(of_ids.get_memory().state, whole, ROUNDING)


@pytest.mark.slow_on("tensorflow")
def test_rows_of_any_lengths(of_ids):
    of_ids.memorize([IDS[0, :40].tolist(), IDS[1, :9].tolist()])
    both = of_ids.get_memory()
    assert both.tokens.tolist() == [40, 9]
    of_ids.reset_memory()
    of_ids.memorize(IDS[:, :9])
    close(of_ids.get_memory().rows(1).state, both.rows(1).state, ROUNDING)
    of_ids.memorize(IDS[:, 9:40])
    close(of_ids.get_memory().rows(0).state, both.rows(0).state, ROUNDING)


def lasting(memory):
    """What the memories hold, apart from what attention sees."""
    return [
        array
        for path, array in tree.flatten_with_path(memory.state)
        if [key for key in path if isinstance(key, str)][-1]
        in ("memory", "momentum")
    ]


def test_without_update_only_the_window_moves(of_ids):
    of_ids.memorize(IDS[:, :20])
    before = of_ids.get_memory()
    of_ids.memorize(IDS[:, 20:], update=False)
    after = of_ids.get_memory()
    same(lasting(after), lasting(before))
    assert lasting(after)
    moved = np.abs(
        after.state[0]["attention"]["key"] - before.state[0]["attention"]["key"]
    )
    assert moved.max() > 0.01
    of_ids.memorize(IDS[:, 20:])
    pairs = zip(lasting(of_ids.get_memory()), lasting(before), strict=True)
    assert all(np.abs(a - b).max() > 1e-4 for a, b in pairs)


def test_generation_goes_on_from_it(of_ids):
    """As after a prompt that holds all that was memorised."""
    fresh = generate(of_ids, PROMPTS)
    of_ids.memorize(IDS)
    before = of_ids.get_memory()
    have = generate(of_ids, PROMPTS)
    prompts = np.concatenate([IDS, PROMPTS], axis=1)
    after = of_ids.get_memory()
    same(after.state, before.state)  # and keeps nothing of its own
    of_ids.reset_memory()
    length = prompts.shape[1] + LENGTH - PROMPTS.shape[1]
    want = generate(of_ids, prompts, length)
    np.testing.assert_array_equal(have, want)
    assert (have != fresh).any()


def test_generation_is_kept_if_asked_for(of_ids):
    written = generate(of_ids, PROMPTS, keep_memory=True)
    kept = of_ids.get_memory()
    assert kept.tokens.tolist() == [LENGTH, LENGTH]
    of_ids.reset_memory()
    of_ids.memorize(np.concatenate([PROMPTS, written], axis=1))
    close(kept.state, of_ids.get_memory().state, ROUNDING)


def test_nothing_else_keeps_or_uses_it(of_ids):
    inputs = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
    fresh = of_ids.predict(inputs, verbose=0)
    of_ids.memorize(IDS[:, ::-1])
    before = of_ids.get_memory()
    close(of_ids.predict(inputs, verbose=0), fresh, 1e-6)
    of_ids.evaluate(inputs, IDS, verbose=0)
    same(of_ids.get_memory().state, before.state)


@pytest.mark.slow_on("jax", "tensorflow")
def test_texts(of_text):
    fresh = of_text.generate("ab", max_length=12)
    of_text.memorize("the cat sat")
    of_text.memorize(" on the mat")
    text = of_text.generate("ab", max_length=12)
    memory = of_text.get_memory()
    assert memory.tokens.tolist() == [22]
    of_text.reset_memory()
    of_text.memorize([np.frombuffer(b"the cat sat on the mat", "uint8")])
    close(of_text.get_memory().state, memory.state, ROUNDING)
    of_text.set_memory(memory)
    both = of_text.generate(["ab", "ab"], max_length=12)
    assert both == [text, text]
    assert isinstance(text, str) and text != fresh


def test_a_file_and_a_fresh_start(of_ids, tmp_path):
    start = of_ids.get_memory()
    assert start.tokens.tolist() == [0]
    first = of_ids.backbone.get_initial_state(1)
    close(start.state, to_numpy(first), 1e-6)
    of_ids.memorize(IDS)
    kept = of_ids.get_memory()
    of_ids.save_memory(tmp_path / "memory")
    of_ids.reset_memory()
    same(of_ids.get_memory().state, start.state)
    of_ids.load_memory(tmp_path / "memory")
    same(of_ids.get_memory().state, kept.state)
    assert MemorySnapshot.load(tmp_path / "memory").tokens.tolist() == [45, 45]


def test_what_is_got_and_set_is_a_copy(of_ids):
    of_ids.memorize(IDS)
    mine = of_ids.get_memory()
    before = mine.copy()
    of_ids.set_memory(mine)
    for array in tree.flatten(mine.state):
        array[...] = 0
    same(of_ids.get_memory().state, before.state)


def test_one_row_starts_all(of_ids):
    of_ids.memorize(IDS[0])
    of_ids.memorize(PROMPTS)
    both = of_ids.get_memory()
    of_ids.reset_memory()
    of_ids.memorize(np.concatenate([IDS[0], PROMPTS[1]]))
    close(of_ids.get_memory().state, both.rows(1).state, ROUNDING)
    of_ids.set_memory(both)
    with pytest.raises(ValueError, match="has 2 rows.*Received: 3"):
        of_ids.memorize(IDS[[0, 0, 0]])


def test_weights_that_changed_are_seen(tmp_path):
    model = language_model()
    model.memorize(IDS[0])
    memory = model.get_memory()
    memory.save(tmp_path / "memory")
    weight = model.backbone.weights[0]
    weight.assign(1.01 * weight.value)
    with pytest.raises(ValueError, match="have changed"):
        model.memorize(IDS[0])
    with pytest.raises(ValueError, match="other weights"):
        model.load_memory(tmp_path / "memory")
    model.load_memory(tmp_path / "memory", strict=False)
    model.memorize(IDS[0])
    assert model.get_memory().tokens.tolist() == [90]
    other = language_model(chunk_size=8)
    with pytest.raises(ValueError, match="another architecture"):
        other.set_memory(memory, strict=False)
    wider = language_model(window_size=6)
    with pytest.raises(ValueError, match="0/attention/key"):
        wider.set_memory(memory, strict=False)


def test_it_is_no_part_of_the_model(of_ids, tmp_path):
    layers, weights = list(of_ids.layers), len(of_ids.weights)
    of_ids.memorize(IDS)
    assert list(of_ids.layers) == layers and len(of_ids.weights) == weights
    of_ids.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_memory().tokens.tolist() == [0]
    again.set_memory(of_ids.get_memory())  # its weights are the same
    assert copy.deepcopy(of_ids).get_memory().tokens.tolist() == [0]


@pytest.mark.parametrize(
    "inputs, names",
    [
        ("text", "preprocessor"),
        ([], "at least one token"),
        ([[], []], "at least one token"),
        (np.ones((1, 2, 3), "int32"), "rows of token ids"),
        (np.ones((1, 2)), "rows of token ids"),
    ],
)
def test_bad_inputs_are_named(inputs, names, of_ids):
    with pytest.raises(ValueError, match=names):
        of_ids.memorize(inputs)
    with pytest.raises(ValueError, match="piece_length"):
        of_ids.memorize(IDS, piece_length=0)
    with pytest.raises(ValueError, match="MemorySnapshot"):
        of_ids.set_memory([])
