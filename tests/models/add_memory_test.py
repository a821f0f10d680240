"""A model with memories begins as the model, and only they are trained."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.models import add_memory
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy
from tests.hub_models import FAMILIES
from tests.hub_models import IDS
from tests.hub_models import ROWS
from tests.hub_models import TOKENS
from tests.hub_models import VOCABULARY
from tests.hub_models import WIDTH
from tests.hub_models import inputs
from tests.hub_models import mask_of
from tests.hub_models import tiny

MASK = mask_of(TOKENS, 7)


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: models are trained and saved as users do."""


def memory(**options):
    options = {"head_dim": 4, "memory_depth": 1, "chunk_size": 4, **options}
    return NeuralMemory(num_heads=2, **options)


def predict(model, ids=IDS, mask=MASK):
    return model.predict(inputs(ids, mask), verbose=0)


def values(weights):
    """The weights' values by their paths, in arrays of their own."""
    found = {w.path: np.array(to_numpy(w.value)) for w in weights}
    assert len(found) == len(weights), "paths are not unique"
    return found


def changed(before, after):
    assert set(before) == set(after)
    return {name for name in before if np.any(before[name] != after[name])}


@pytest.mark.parametrize("family", FAMILIES)
def test_begins_as_the_backbone_which_stays_as_it_is(family):
    backbone = randomized(tiny(family), scale=0.1)
    wanted, before = predict(backbone), values(backbone.weights)
    layers = [id(layer) for layer in backbone._flatten_layers()]
    trained = [w.path for w in backbone.trainable_variables]
    grafted = add_memory(backbone, memory())
    same(predict(grafted), wanted)
    randomized(grafted)
    assert np.abs(predict(grafted) - wanted)[MASK].max() > 0.01
    same(predict(backbone), wanted)
    assert not changed(before, values(backbone.weights))
    assert layers == [id(layer) for layer in backbone._flatten_layers()]
    assert trained == [w.path for w in backbone.trainable_variables]


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("family", ["gpt2", "gemma"])
def test_padding_changes_nothing(family):
    grafted = add_memory(tiny(family), memory(), freeze=False)
    randomized(grafted, scale=0.2)
    ids = np.where(MASK, IDS, 1)
    have = predict(grafted, ids)
    close(have[1:, :7], predict(grafted, IDS[1:, :7], MASK[1:, :7]), ROUNDING)


def after_training(grafted, *steps):
    """The paths of the weights that are changed after so many steps each."""
    head = keras.layers.Dense(1, trainable=False)
    model = keras.Model(grafted.input, head(grafted.output))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = values(grafted.weights)
    targets, found = np.ones((ROWS, TOKENS, 1), "float32"), []
    for step in range(1, max(steps) + 1):
        model.train_on_batch(inputs(IDS, MASK), targets)
        if step in steps:
            found.append(changed(before, values(grafted.weights)))
    return found


def named(weights):
    return {w.path for w in weights}


def test_only_memories_and_gates_are_trained():
    grafted = add_memory(
        randomized(tiny("llama"), scale=0.1), memory(), layers=[0]
    )
    gates = {w.path for layer in grafted.memory_layers for w in [layer.gate]}
    everything = {
        w.path for layer in grafted.memory_layers for w in layer.memory.weights
    } | gates
    assert named(grafted.trainable_variables) == everything
    at_first, have = after_training(grafted, 1, 3)
    assert at_first == gates
    assert gates < have <= everything
    for part in ("query", "value", "output", "learning_rate", "initial"):
        assert any(part in path for path in have), part


@pytest.mark.slow_on("tensorflow")
def test_lora_is_trained_too():
    backbone = randomized(tiny("llama"), scale=0.1)
    wanted = predict(backbone)
    grafted = add_memory(backbone, memory(), layers=[0], lora_rank=2)
    same(predict(grafted), wanted)
    (have,) = after_training(grafted, 3)
    lora = {path for path in have if "lora" in path}
    assert len(lora) == 2 * 2 * 2  # layers, query and value, two factors
    assert not any("memory" in path for path in lora)
    assert all("lora" in path or "with_memory" in path for path in have)
    assert any("memory/query" in path for path in have)


def test_all_is_trained_where_nothing_is_frozen():
    grafted = add_memory(
        randomized(tiny("gpt2"), scale=0.1), memory(), [0], freeze=False
    )
    (have,) = after_training(grafted, 2)
    assert any("feedforward" in path for path in have)
    assert any("token_embedding" in path for path in have)
    assert any("memory/query" in path for path in have)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch's alone are kept"
)
def test_gradients_of_one_step_are_gone_at_the_next():
    """A weight that the model did not know of would keep them."""
    grafted = add_memory(randomized(tiny("gpt2"), scale=0.1), memory())
    model = keras.Model(grafted.input, grafted.output)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    targets = np.ones((ROWS, TOKENS, WIDTH), "float32")
    model.train_on_batch(inputs(IDS, MASK), targets)
    gate = grafted.memory_layers[0].gate.value
    first = to_numpy(gate.grad).copy()
    assert np.abs(first).max() > 0
    model.train_on_batch(inputs(IDS, MASK), targets)
    close(gate.grad, first, 1e-6)


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_a_keras_file_is_the_same_model(tmp_path, lora_rank):
    grafted = add_memory(
        randomized(tiny("llama"), scale=0.1),
        memory(),
        layers=[-1],
        lora_rank=lora_rank,
    )
    randomized(grafted, scale=0.2)
    wanted = predict(grafted)
    grafted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(predict(loaded), wanted, 1e-6)
    assert type(loaded) is type(grafted)
    have = named(loaded.trainable_variables)
    assert have == {
        w.path for w in grafted.trainable_variables if "lora" not in w.path
    }
    if lora_rank is None:
        grafted.save_weights(tmp_path / "model.weights.h5")
        fresh = type(grafted).from_config(grafted.get_config())
        assert np.abs(predict(fresh) - wanted).max() > 0.01
        fresh.load_weights(tmp_path / "model.weights.h5")
        close(predict(fresh), wanted, 1e-6)


def test_layers_and_memories_are_chosen():
    def by_layer(i):
        return SlotMemory(2, 3, 4) if i else memory(memory_depth=3)

    grafted = add_memory(tiny("qwen"), by_layer)
    kinds = [type(x.memory) for x in grafted.memory_layers]
    assert kinds == [NeuralMemory, SlotMemory]
    assert grafted.memory_layers[0].memory.network.depth == 3
    alone = add_memory(tiny("qwen"), by_layer, layers=1)
    assert [type(x.memory) for x in alone.memory_layers] == [SlotMemory]
    blocks = alone.transformer_layers
    have = [
        isinstance(block._self_attention_layer, AttentionWithMemory)
        for block in blocks
    ]
    assert have == [False, True]
    default = add_memory(tiny("qwen")).memory_layers[0].memory
    assert (default.num_heads, default.head_dim) == (1, 64)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_dtype_policies_are_kept(policy):
    backbone = tiny("llama", dtype=policy)
    grafted = add_memory(backbone, memory())
    assert grafted.dtype_policy.name == policy
    layer = grafted.memory_layers[0]
    assert layer.memory.dtype_policy.name == policy
    assert layer.attention.dtype_policy.name == policy
    same(predict(grafted), predict(backbone))


def test_what_a_config_forgets_is_kept():
    backbone = randomized(tiny("llama", tie_word_embeddings=True), scale=0.1)
    grafted = add_memory(backbone, memory())
    assert grafted.token_embedding.tie_weights
    same(predict(grafted), predict(backbone))


# Functional models.


def functional(attention=None, cross=False, nested=False, masked=True):
    """Two blocks, each with attention to itself, and one that looks across."""
    attention = attention or (lambda: keras.layers.MultiHeadAttention(2, 4))
    width = 8
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(VOCABULARY, width, mask_zero=masked)(tokens)
    for i in range(2):
        h = keras.layers.LayerNormalization()(x)
        if nested and i:
            inner = keras.Input((None, width))
            y = attention()(inner, inner, use_causal_mask=True)
            x = x + keras.Model(inner, y)(h)
        else:
            x = x + attention()(h, h, use_causal_mask=True)
        if cross and not i:
            x = x + attention()(x, h, use_causal_mask=True)
        x = x + keras.layers.Dense(width, "relu")(x)
    return randomized(keras.Model(tokens, x), scale=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cross": True},
        {"nested": True},
        {
            "attention": lambda: keras.layers.GroupQueryAttention(4, 4, 2),
            "masked": False,  # Keras' own drops masks
        },
    ],
    ids=["plain", "cross", "nested", "grouped"],
)
def test_functional_model_begins_as_it_was(options, tmp_path):
    model = functional(**options)
    ids = np.where(MASK, IDS, 0)
    wanted, before = model.predict(ids, verbose=0), values(model.weights)
    grafted = add_memory(model, memory())
    same(grafted.predict(ids, verbose=0), wanted)
    found = [
        layer
        for layer in grafted._flatten_layers()
        if isinstance(layer, AttentionWithMemory)
    ]
    assert len(found) == 2
    trained = named(grafted.trainable_variables)
    assert trained and all("with_memory" in path for path in trained)
    randomized(grafted)
    have = grafted.predict(ids, verbose=0)
    assert np.abs(have - wanted).max() > 0.01
    same(model.predict(ids, verbose=0), wanted)
    assert not changed(before, values(model.weights))
    grafted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded.predict(ids, verbose=0), have, 1e-6)
    if not options:  # layers inside layers are Keras' own to keep frozen
        assert named(loaded.trainable_variables) == trained


def test_functional_layers_are_chosen():
    model = functional(cross=True)
    names = [
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.MultiHeadAttention)
    ]
    grafted = add_memory(model, memory(), layers=[1], freeze=False)
    have = [layer.name for layer in grafted.layers]
    assert f"{names[-1]}_with_memory" in have
    assert sum("with_memory" in name for name in have) == 1
    assert len(grafted.trainable_variables) > len(model.trainable_variables)


@pytest.mark.slow_on("tensorflow")
def test_a_compiled_model_is_compiled_for_what_is_trained():
    model = functional()
    model.compile("adam", "mse")
    grafted = add_memory(model, memory())
    grafted.train_on_batch(IDS, np.ones((ROWS, TOKENS, 8), "float32"))
    count = len(grafted.optimizer.variables)
    assert count <= 2 * len(grafted.trainable_variables) + 2


# What is refused.


def test_what_has_no_attention_to_stand_beside_is_refused():
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="which has no such attention"):
        add_memory(dense)
    with pytest.raises(ValueError, match="`backbone` must be a KerasHub"):
        add_memory(keras.layers.Dense(3))
    resnet = keras_hub.models.ViTBackbone(
        image_shape=(8, 8, 3),
        patch_size=4,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        mlp_dim=4,
    )
    with pytest.raises(ValueError, match="must have `transformer_layers`"):
        add_memory(resnet)


def test_layers_that_are_not_there_are_refused():
    for layers in ([2], [-3], [], [0, 0], [0, -2], "all", [True], [0.0]):
        with pytest.raises(ValueError, match="Argument `layers`"):
            add_memory(tiny("gpt2"), memory(), layers=layers)


def test_a_second_memory_is_refused():
    grafted = add_memory(tiny("gpt2"), memory())
    with pytest.raises(ValueError, match="no memories yet"):
        add_memory(grafted.backbone, memory())
    with pytest.raises(ValueError, match="no memories yet"):
        add_memory(add_memory(functional(), memory()), memory())


def test_other_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Argument `lora_rank`"):
        add_memory(functional(), memory(), lora_rank=2)
    with pytest.raises(ValueError, match="Argument `lora_rank`"):
        add_memory(tiny("gpt2"), memory(), lora_rank=0)
    with pytest.raises(ValueError, match="Argument `memory`"):
        add_memory(tiny("gpt2"), keras.layers.Dense(3))
    with pytest.raises(ValueError, match="Argument `memory`"):
        add_memory(tiny("gpt2"), 3)
    with pytest.raises(ValueError, match="stateful=True"):
        add_memory(tiny("gpt2"), memory(stateful=True))
    adapted = tiny("gpt2")
    adapted.enable_lora(2)
    with pytest.raises(ValueError, match="before LoRA"):
        add_memory(adapted, memory())
