"""Every argument of everything public: what is no value for it is refused."""

import inspect
import json
import math

import keras
import keras_hub
import numpy as np
import pytest

import keras_titans
from keras_titans import layers
from keras_titans import memory
from keras_titans import models
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.validation import check_unknown

NUMBERS = ["x", "4", math.nan, math.inf, -1, True, np.True_, [4], {}]
OBJECTS = ["x", "", 0, [], {}, math.nan, object(), int]

# Of each kind: its arguments, and what is no value for them. None is one where
# it is the default.
KINDS = {
    "switch": (
        "accumulate add_end_token add_start_token freeze learn_write_rate "
        "lowercase monitor normalize_learning_rate read_first remat residual "
        "return_diagnostics return_state segmented stateful "
        "tie_word_embeddings unit_norm update use_bias with_memory_tokens",
        ["x", "", math.nan, None, 1.0, 0.01, 1, 0, [], np.ones(1, bool)],
    ),
    "positive integer": (
        "chunk_size depth frequency hidden_dim horizon intermediate_dim "
        "kernel_size num_channels num_classes num_heads num_layers num_slots "
        "num_tokens patch_size segment_length segments_per_gradient "
        "sequence_length vocabulary_size window_size head_dim "
        "lora_rank memory_depth num_key_value_heads top_k",
        [*NUMBERS, None, 0, 2.5, 4.0],
    ),
    "positive integer or None": (
        "image_frequency pad_to_multiple_of",
        [*NUMBERS, 0, 2.5],
    ),
    "integer from 0 on": (
        "linear_window num_persistent_tokens",
        [*NUMBERS, None, 2.5, 4.0],
    ),
    "positive number": (
        "clipnorm delta expansion first hidden_rate last logit_scale maximum "
        "sharpness",
        [*NUMBERS, None, 0],
    ),
    "number from 1 on": ("p", [*NUMBERS, None, 0.5]),
    "number in [0, 1)": ("dropout threshold", [*NUMBERS, None, 1.0]),
    "number in (0, 1)": ("write_rate", [*NUMBERS, None, 0, 1.0]),
    "numbers below a maximum": (
        "initial",
        [*NUMBERS, 0, 1, [], [0.1, math.nan], [0.1, True]],
    ),
    "gate": ("forgetting learning_rate momentum", [*NUMBERS, object(), int]),
    "choice": (
        "anchor forget_to logs pooling size truncate",
        ["x", "", None, 0, math.nan, [], {}, np.array(["token"])],
    ),
    "mixers": ("mixers", [*OBJECTS, None, ["MAC"] * 9, ["x"], [3]]),
    "activation": ("activation gate_activation", OBJECTS),
    "initializer": (
        "bias_initializer initializer kernel_initializer memory_initializer "
        "slot_initializer",
        [*OBJECTS, None, np.ones(2), "relu"],
    ),
    "regularizer or constraint": (
        "bias_constraint bias_regularizer kernel_constraint "
        "kernel_regularizer memory_constraint memory_regularizer "
        "write_regularizer",
        OBJECTS,
    ),
    "dtype": ("dtype", ["x", 3, math.nan]),
    "object": (
        "attention backbone memory mixer model network objective preprocessor "
        "tokenizer update_rule",
        [*OBJECTS, None, memory.MLPMemory],
    ),
    "memories": ("memories", [*OBJECTS, [None] * 9]),
    "layers": ("layers", ["x", [], {}, 9, [0, 0], True, 0.0, math.nan]),
    "state": ("state", ["x", None, 0, {}, {"memory": "x"}]),
    "fingerprint": ("fingerprint", ["x", 0, [], ["x"], [1, 2], math.nan]),
    "tokens": ("tokens", ["x", None, -1, 2.5, math.nan, [1, 2, 3]]),
    "sample": ("sample", ["x", None, 0, [], np.ones((0, 3))]),
    "folder": ("log_dir", ["", 0, [], math.nan]),
    "words": ("words", ["x", 0, math.nan, [3]]),
    "texts": ("texts", ["x", 0, None, math.nan]),
    "file, or what would be in it": ("merges vocabulary", [0, 3, math.nan]),
}
BAD = {
    name: values for names, values in KINDS.values() for name in names.split()
}


def backbone(**options):
    sizes = {"vocabulary_size": 259, "num_layers": 1, "num_heads": 2}
    sizes |= {"hidden_dim": 8, "intermediate_dim": 8, "mixers": "MAG"}
    return TitansBackbone(**{**sizes, **options})


def functional():
    x = keras.Input((None, 8))
    return keras.Model(x, layers.NeuralMemory(2)(x))


def gpt():
    return keras_hub.models.GPT2Backbone(
        vocabulary_size=9,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
    )


def with_memory():
    return models.MemoryBackbone(gpt())


def vocabulary():
    tokens = ["<|pad|>", "<|start|>", "<|end|>", "a", "b", "ab"]
    return {token: i for i, token in enumerate(tokens)}


MIXER = {"num_heads": 2, "window_size": 8}
# What is public, and arguments that it can be made with: values, or functions
# that make them.
MADE_WITH = {
    "AttentionWithMemory": {
        "attention": lambda: keras.layers.MultiHeadAttention(2, 4),
        "memory": lambda: layers.NeuralMemory(2),
    },
    "Gate": {},
    "GatedDelta": {},
    "GatedMLPMemory": {},
    "Huber": {},
    "LpError": {},
    "MLPMemory": {},
    "MemoryAsContext": {"num_heads": 2, "segment_length": 8},
    "MemoryAsGate": MIXER,
    "MemoryAsLayer": MIXER,
    "MemoryBackbone": {"backbone": gpt},
    "MemoryBlock": {
        "memory": lambda: layers.NeuralMemory(2),
        "intermediate_dim": 8,
    },
    "MemoryCausalLM": {"backbone": with_memory},
    "MemoryMonitor": {"sample": np.ones((1, 3))},
    "MemorySnapshot": {"state": np.ones((2, 3))},
    "NeuralMemory": {"num_heads": 2},
    "PersistentTokens": {"num_tokens": 2},
    "SegmentedTrainer": {"model": functional, "segment_length": 4},
    "SlotMemory": {"num_heads": 2},
    "Spread": {"first": 0.1, "last": 0.2},
    "SquaredError": {},
    "StreamingModel": {"model": functional},
    "Titans": {},
    "TitansBackbone": {
        "vocabulary_size": 9,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 8,
        "mixers": "MAG",
    },
    "TitansBackbone.from_size": {"size": "titans_1m", "num_layers": 1},
    "TitansBlock": {"mixer": "MAG", "intermediate_dim": 8, "num_heads": 2},
    "TitansByteTokenizer": {},
    "TitansCausalLM": {"backbone": backbone},
    "TitansCausalLMPreprocessor": {"tokenizer": TitansByteTokenizer},
    "TitansClassifier": {"backbone": backbone, "num_classes": 2},
    "TitansForecaster": {"horizon": 2, "num_channels": 1, "num_heads": 2},
    "TitansTextClassifierPreprocessor": {"tokenizer": TitansByteTokenizer},
    "TitansTokenizer": {"vocabulary": vocabulary, "merges": ["a b"]},
    "TitansTokenizer.train": {"texts": ["aa"], "vocabulary_size": 260},
    "WindowedAttention": MIXER,
    "add_memory": {"backbone": gpt},
}
# What a base class asks for, and a subclass gives it.
SETTLED = {
    "MemoryAsContext": {"window_size"},
    "MemoryBlock": {"mixer", "num_heads", "window_size"},
}
PLACES = (layers, memory, models, keras_titans.callbacks)


def found(name):
    """What is public under a name."""
    first, *rest = name.split(".")
    (thing,) = [getattr(p, first) for p in PLACES if first in p.__all__]
    return getattr(thing, rest[0]) if rest else thing


def arguments_of(name):
    """Names and defaults, those of the package's base classes included."""
    thing, arguments = found(name), {}
    bases = thing.__mro__ if inspect.isclass(thing) else [thing]
    for base in bases:
        if inspect.isclass(base):
            ours = base.__module__.startswith("keras_titans")
            if not ours or "__init__" not in vars(base):
                continue
            base = base.__init__
        parameters = inspect.signature(base).parameters.values()
        own = {
            p.name: p.default
            for p in parameters
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
        }
        arguments = own | arguments
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    for given in SETTLED.get(name, ()):
        del arguments[given]
    return arguments


def made_with(name):
    """The arguments of `MADE_WITH`, with new objects among them."""
    return {
        key: value() if callable(value) else value
        for key, value in MADE_WITH[name].items()
    }


def test_everything_public_is_here():
    public = {
        name
        for place in PLACES
        for name in place.__all__
        if not inspect.isabstract(getattr(place, name))
    }
    assert public == {name for name in MADE_WITH if "." not in name}
    arguments = {key for name in MADE_WITH for key in arguments_of(name)}
    assert arguments == set(BAD)


@pytest.mark.parametrize("name", MADE_WITH)
def test_bad_values_are_refused_by_name(name):
    options, missed = made_with(name), []
    for argument, default in arguments_of(name).items():
        for value in BAD[argument]:
            if value is None and default is None:
                continue
            try:
                found(name)(**{**options, argument: value})
                missed.append((argument, value, "accepted"))
            except (TypeError, ValueError) as error:
                if f"`{argument}`" not in str(error):
                    missed.append((argument, value, error))
    assert not missed, missed


@pytest.mark.parametrize("name", MADE_WITH)
def test_unknown_arguments_are_refused_by_name(name):
    says = "no_such|takes no arguments"
    with pytest.raises((TypeError, ValueError), match=says):
        found(name)(**made_with(name), no_such=2)


def as_numpy(value):
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    return np.float32(value) if isinstance(value, float) else value


@pytest.mark.parametrize(
    "name", [name for name in MADE_WITH if hasattr(found(name), "get_config")]
)
def test_numbers_may_be_numpys(name):
    """And are kept as Python's, so that a configuration can be saved."""
    options = {**arguments_of(name), **made_with(name)}
    made = found(name)(**{k: as_numpy(v) for k, v in options.items()})
    config = made.get_config()
    for key, value in options.items():
        if isinstance(value, int | float) and key in config:
            assert type(config[key]) in (bool, int, float), key
            np.testing.assert_allclose(config[key], value, 1e-6)
            json.dumps(config[key])


def test_whole_numbers_will_do_for_numbers():
    gate = memory.Gate(maximum=np.int8(2), logit_scale=1)
    assert gate.maximum == 2.0 and gate.logit_scale == 1.0


def test_a_tokenizer_has_no_more_tokens_than_the_backbone():
    preprocessor = models.TitansCausalLMPreprocessor(TitansByteTokenizer())
    models.TitansCausalLM(backbone(), preprocessor)
    with pytest.raises(ValueError, match="`preprocessor`.*258.*259"):
        models.TitansCausalLM(backbone(vocabulary_size=258), preprocessor)


@pytest.mark.parametrize("bad", [None, 3, b"a", [], ["a", None], ("a", 3)])
def test_prompts_are_strings(bad):
    preprocessor = models.TitansCausalLMPreprocessor(TitansByteTokenizer())
    model = models.TitansCausalLM(backbone(), preprocessor)
    with pytest.raises(ValueError, match="`inputs` must be a string"):
        model.generate(bad)


def test_what_is_passed_on_may_be_passed():
    """To Keras and KerasHub, which know more arguments."""
    assert not backbone(trainable=False, name="mine").trainable
    model = models.TitansCausalLM(backbone(), name="mine", compile=False)
    assert model.name == "mine" and not model.compiled
    with pytest.raises(TypeError, match="`mine`.*`name`"):
        check_unknown(model, {"name": "x", "mine": 3}, ("name",))


def test_an_object_is_named_with_its_article():
    with pytest.raises(ValueError, match="an `UpdateRule`"):
        layers.NeuralMemory(2, update_rule=0)
