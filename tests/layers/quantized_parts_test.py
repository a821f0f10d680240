"""A file of a quantized model has what it takes to quantize its layers."""

import warnings

import keras
import numpy as np
import pytest

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from tests.helpers import close
from tests.helpers import same

WIDTH = 8
X = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype("float32")


def memory():
    return NeuralMemory(2, 4, memory_depth=1, chunk_size=4)


def beside_attention(x):
    attention = keras.layers.MultiHeadAttention(2, 4)
    return AttentionWithMemory(attention, memory())(x, x)


LAYERS = {
    "memory": lambda x: memory()(x),
    "slots": lambda x: SlotMemory(2, 3, 4)(x),
    "MAC": lambda x: TitansBlock("MAC", 12, 2, 4, memory())(x),
    "attention": lambda x: TitansBlock("attention", 12, num_heads=2)(x),
    "beside": beside_attention,
}


def model_of(mix):
    x = keras.Input((None, WIDTH))
    return keras.Model(x, mix(x))


def denses(model):
    return [x for x in model._flatten_layers() if type(x) is keras.layers.Dense]


def again(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("name", LAYERS)
def test_int8_is_saved(name, tmp_path):
    model = model_of(LAYERS[name])
    before = model.predict(X, verbose=0)
    model.quantize("int8")
    wanted = model.predict(X, verbose=0)
    assert np.abs(wanted - before).max() > 0
    same(again(model, tmp_path).predict(X, verbose=0), wanted)


@pytest.mark.parametrize(
    "quantize",
    [
        lambda model: model.quantize("int4"),
        lambda model: model.quantize("float8"),
        lambda model: model.quantize("int8", filters="query"),
        lambda model: model.quantize(
            config=keras.quantizers.Int8QuantizationConfig(
                activation_quantizer=None
            )
        ),
    ],
    ids=["int4", "float8", "one_layer", "weights_only"],
)
def test_modes_filters_and_configs_are_saved(quantize, tmp_path):
    model = model_of(LAYERS["memory"])
    quantize(model)
    other = again(model, tmp_path)
    modes = lambda model: [x.quantization_mode for x in denses(model)]
    assert modes(other) == modes(model)
    close(other.predict(X, verbose=0), model.predict(X, verbose=0), 1e-6)


@pytest.mark.parametrize("first", ["lora", "int8"])
def test_lora_and_int8(first, tmp_path):
    model = model_of(LAYERS["memory"])
    if first == "int8":
        model.quantize("int8")
    for layer in denses(model):
        layer.enable_lora(1, b_initializer="ones")
    if first == "lora":
        model.quantize("int8")
    wanted = model.predict(X, verbose=0)
    # Keras quantizes what the adapters add when it saves.
    close(again(model, tmp_path).predict(X, verbose=0), wanted, 0.05)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_dtype_policies_are_kept(policy, tmp_path):
    model = model_of(lambda x: NeuralMemory(2, 4, dtype=policy)(x))
    model.quantize("int8")
    other = again(model, tmp_path)
    names = lambda model: [x.dtype_policy.name for x in denses(model)]
    assert names(other) == names(model)
    assert names(model)[0] == f"int8_from_{policy}"


def test_nothing_is_said_of_layers_inside():
    block = TitansBlock("MAG", 12, 2, 4, memory())
    model = model_of(block)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.quantize("int8")
    said = [str(x.message) for x in said]
    said = [x for x in said if "`quantize`" in x]
    assert all("InputLayer" in x for x in said), said  # Keras' own


def gptq():
    return keras.quantizers.GPTQConfig(["text"], list, group_size=-1)


@pytest.mark.parametrize("name", LAYERS)
def test_a_mode_that_no_file_has_is_refused_before_any_work(name):
    model = model_of(LAYERS[name])
    before = [weight.path for weight in model.weights]
    for options in ({"mode": "gptq"}, {}):
        with pytest.raises(ValueError, match="`mode`.*'int8'.*mode='gptq'"):
            model.quantize(config=gptq(), **options)
    assert [weight.path for weight in model.weights] == before


def test_parts_that_have_such_a_mode_before_are_not_saved(tmp_path):
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((None, None, WIDTH), (None, None, WIDTH))
    for part in attention._flatten_layers(include_self=False):
        if type(part) is keras.layers.EinsumDense:
            part.quantize("gptq", config=gptq())
    model = model_of(lambda x: AttentionWithMemory(attention, memory())(x, x))
    with pytest.raises(ValueError, match="'int8'.*Received: .*'gptq'"):
        model.save(tmp_path / "model.keras")
