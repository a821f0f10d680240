"""The backbone around a backbone: its settings, its LoRA, its states."""

import keras
import numpy as np
import pytest

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers import NeuralMemory
from keras_titans.models import MemoryBackbone
from keras_titans.models import add_memory
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.hub_models import TOKENS
from tests.hub_models import WIDTH
from tests.hub_models import inputs
from tests.hub_models import mask_of
from tests.hub_models import tiny


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: models are saved as users do."""


def memory(**options):
    return NeuralMemory(2, 8, memory_depth=1, chunk_size=4, **options)


def predict(model):
    return model.predict(inputs(mask=mask_of(TOKENS, 7)), verbose=0)


def test_what_it_has_not_is_the_backbones():
    backbone = MemoryBackbone(tiny("llama"), memory(), layers=[0])
    assert backbone.hidden_dim == WIDTH
    assert backbone.num_query_heads == 4
    assert backbone.transformer_layers is backbone.backbone.transformer_layers
    assert not hasattr(backbone, "no_such_thing")
    assert backbone.token_embedding is backbone.backbone.token_embedding


def test_settings_make_the_same_anew():
    one = MemoryBackbone(
        tiny("gemma"), [memory(kernel_size=2)], layers=[-1], freeze=False
    )
    config = one.get_config()
    other = MemoryBackbone.from_config(config)
    assert other.get_config() == config
    assert [w.path for w in other.trainable_variables] == [
        w.path for w in one.trainable_variables
    ]
    assert other.memory_layers[0].memory.kernel_size == 2
    other = MemoryBackbone.from_config({**config, "dtype": "bfloat16"})
    dtypes = {
        layer.compute_dtype
        for layer in (
            other,
            other.transformer_layers[0],
            other.memory_layers[0].memory,
            other.memory_layers[0].attention,
        )
    }
    assert dtypes == {"bfloat16"}


def test_each_layer_needs_a_memory():
    with pytest.raises(ValueError, match="one for each of the 2 layers"):
        MemoryBackbone(tiny("gpt2"), [memory()])
    with pytest.raises(ValueError, match="Argument `backbone` must be a"):
        MemoryBackbone(keras.layers.Dense(3))


def test_nothing_is_changed_where_something_does_not_fit():
    backbone = tiny("gpt2")
    with pytest.raises(ValueError, match="Argument `memories`"):
        MemoryBackbone(backbone, [memory(), keras.layers.Dense(3)])
    assert not any(
        isinstance(layer, AttentionWithMemory)
        for layer in backbone._flatten_layers()
    )


def test_states_are_the_memories():
    backbone = MemoryBackbone(tiny("gpt2"), memory())
    states = backbone.get_initial_state(3)
    assert len(states) == 2
    wanted = backbone.memory_layers[1].memory.get_initial_state(3)
    same(states[1], wanted)
    assert {leaf.shape[0] for leaf in keras.tree.flatten(states)} == {3}


def run(model):
    """Eagerly: TensorFlow's `predict` does not see a LoRA come."""
    return to_numpy(model(inputs(mask=mask_of(TOKENS, 7).astype("int32"))))


def test_lora_leaves_the_memories_alone(tmp_path):
    backbone = add_memory(randomized(tiny("llama"), scale=0.1), memory())
    trained = {w.path for w in backbone.trainable_variables}
    wanted = run(backbone)
    backbone.enable_lora(2)
    close(run(backbone), wanted, 1e-6)
    have = {w.path for w in backbone.trainable_variables}
    assert trained < have
    assert len(have - trained) == 2 * 2 * 2
    assert all("lora" in path for path in have - trained)
    assert not any("memory" in path for path in have - trained)
    randomized(backbone, scale=0.2)
    wanted = run(backbone)
    path = str(tmp_path / "model.lora.h5")
    backbone.save_lora_weights(path)
    lora = [w for w in backbone.weights if "lora" in w.path]
    assert len(lora) == 8
    for weight in lora:
        weight.assign(np.zeros(weight.shape))
    assert np.abs(run(backbone) - wanted).max() > 1e-3
    backbone.load_lora_weights(path)
    same(run(backbone), wanted)


@pytest.mark.slow_on("tensorflow")
def test_a_quantized_backbone_gets_memories_of_floats():
    backbone = randomized(tiny("gpt2"), scale=0.1)
    backbone.quantize("int8")
    wanted = predict(backbone)
    grafted = add_memory(backbone, memory())
    same(predict(grafted), wanted)
    layer = grafted.memory_layers[0]
    assert layer.memory.dtype_policy.name == "float32"
    randomized(grafted)
    assert np.abs(predict(grafted) - wanted).max() > 1e-3


def test_all_weights_have_paths_of_their_own():
    """PyTorch knows a model's weights by them."""
    backbone = MemoryBackbone(tiny("gpt2"), memory())
    paths = [w.path for w in backbone.weights]
    assert len(set(paths)) == len(paths)
    if keras.backend.backend() == "torch":
        model = keras.Model(backbone.input, backbone.output)
        known = {id(p) for p in model.parameters()}
        assert {id(w.value) for w in backbone.trainable_weights} <= known


def test_layout_of_the_family_fits():
    """A family's `get_layout_map` speaks of its own weights only."""
    backbone = MemoryBackbone(tiny("llama"), memory())
    mesh = keras.distribution.DeviceMesh(
        (1, 1), ("batch", "model"), devices=["cpu:0"]
    )
    layout = type(backbone.backbone).get_layout_map(mesh)
    for weight in backbone.weights:
        found = layout[weight.path]
        if found is not None:
            assert len(found.axes) == len(weight.shape), weight.path
            assert "with_memory" not in weight.path


def test_masks_reach_all_memories():
    backbone = randomized(MemoryBackbone(tiny("gpt2"), memory()), scale=0.2)
    seen = []
    for layer in backbone.memory_layers:
        original = layer.memory.call

        def call(x, mask=None, original=original, **options):
            seen.append(to_numpy(mask))
            return original(x, mask=mask, **options)

        layer.memory.call = call
    mask = mask_of(TOKENS, 7)
    backbone(inputs(mask=mask.astype("int32")))
    assert len(seen) == 2
    for have in seen:
        same(have, mask)
