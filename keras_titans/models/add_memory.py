"""Memories beside the attentions of a model that is there already."""

import inspect
import sys

import keras
import numpy as np

from keras_titans.layers import AttentionWithMemory
from keras_titans.models.memory_placement import attention_of
from keras_titans.models.memory_placement import chosen_layers
from keras_titans.models.memory_placement import freeze_all_but
from keras_titans.models.memory_placement import make_memory
from keras_titans.models.stateful_calls import is_graph
from keras_titans.validation import check_bool
from keras_titans.validation import check_positive_integer
from keras_titans.validation import if_given

_ATTENTIONS = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
)


def add_memory(backbone, memory=None, layers=None, freeze=True, lora_rank=None):
    """A copy of a model, with a memory beside each of its self-attentions.

    Its outputs are those of the model, to the last bit, until it is trained:
    each memory's output is let in by a gate that is 0 at the start. Then
    memories and gates are trained, on sequences that are longer than the
    attention looks back; `keras_titans.layers.AttentionWithMemory` says what
    is computed.

    The model itself stays as it is, and shares no weights with the copy. It
    may be deleted where there is no room for both.

    Args:
        backbone: What to copy. A KerasHub backbone with `transformer_layers`
            (GPT-2, Llama, Gemma, Mistral, Qwen and others) or a
            `keras_hub.models.CausalLM` around one. Or a functional model
            with `keras.layers.MultiHeadAttention` or
            `keras.layers.GroupQueryAttention` in its graph.
        memory: `NeuralMemory`, `SlotMemory` or another memory layer, which is
            not built: each attention gets a new memory with these settings
            and with the attention's dtype policy. Or a function that takes a
            layer's index and returns one. Defaults to `NeuralMemory()`.
        layers: Indices of the layers that get a memory. All by default. In a
            functional model, the index counts self-attentions.
        freeze: Whether only memories and gates are trained from then on.
        lora_rank: Rank of LoRA updates of the backbone's own projections,
            which are trained too. All else of it is frozen then. Only for
            KerasHub's.

    Returns:
        A `keras_titans.models.MemoryBackbone`; for a language model, a
        `keras_titans.models.MemoryCausalLM`, which generates with the
        attentions' cache and the memories' states; for another functional
        model, a functional model. Each is saved and loaded as a model of its
        kind is. A saved model has its LoRA updates merged.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 16)(tokens)
    h = keras.layers.LayerNormalization()(x)
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=8)
    x = x + attention(h, h, use_causal_mask=True)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))

    longer = keras_titans.models.add_memory(
        model, keras_titans.layers.NeuralMemory(num_heads=2, chunk_size=8)
    )
    text = np.random.randint(0, 100, (2, 20))
    np.testing.assert_array_equal(longer.predict(text), model.predict(text))
    ```

    With KerasHub, and generation:

    ```python
    import keras_hub
    import numpy as np
    import keras_titans

    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
    )
    model = keras_titans.models.add_memory(
        keras_hub.models.LlamaCausalLM(backbone), layers=[1]
    )
    model.compile(sampler="greedy")
    prompt = {
        "token_ids": np.array([[3, 1, 4, 1, 0, 0, 0, 0]]),
        "padding_mask": np.array([[1, 1, 1, 1, 0, 0, 0, 0]]),
    }
    answer = model.generate(prompt, stop_token_ids=None)
    ```
    """
    freeze = check_bool("freeze", freeze)
    lora_rank = if_given(check_positive_integer, "lora_rank", lora_rank)
    hub = sys.modules.get("keras_hub")
    if hub is not None and isinstance(backbone, hub.models.CausalLM):
        return _language_model(backbone, memory, layers, freeze, lora_rank)
    if hub is not None and isinstance(backbone, hub.models.Backbone):
        return _backbone(backbone, memory, layers, freeze, lora_rank)
    if lora_rank is not None:
        raise ValueError(
            "Argument `lora_rank` takes a KerasHub backbone or language model, "
            "which have `enable_lora`. "
            f"Received: backbone={backbone}, lora_rank={lora_rank}."
        )
    return _functional(backbone, memory, layers, freeze)


def _language_model(model, *options):
    from keras_titans.models.memory_causal_lm import MemoryCausalLM
    from keras_titans.models.memory_causal_lm import causal_lm_class

    causal_lm_class(model.backbone)  # before any work
    return MemoryCausalLM(
        _backbone(model.backbone, *options), model.preprocessor
    )


def _backbone(backbone, memory, layers, freeze, lora_rank):
    from keras_titans.models import memory_backbone

    memory_backbone.check_backbone(backbone)
    blocks = backbone.transformer_layers
    memories = []
    for i in chosen_layers(layers, len(blocks)):  # before any work
        attention = getattr(blocks[i], attention_of(blocks[i], backbone))
        memories.append(make_memory("memory", memory, i, attention))
    copy = keras.saving.deserialize_keras_object(
        memory_backbone.serialized(backbone)
    )
    _copy_weights(backbone, copy)
    result = memory_backbone.MemoryBackbone(copy, memories, layers, freeze)
    if lora_rank is not None:
        result.enable_lora(lora_rank)
    return result


def _functional(model, memory, layers, freeze):
    found = _self_attentions(model)
    if not found:
        raise ValueError(
            "Argument `backbone` must be a KerasHub backbone with "
            "`transformer_layers`, a `keras_hub.models.CausalLM` around one, "
            "or a functional model that calls "
            "`keras.layers.MultiHeadAttention` or "
            "`keras.layers.GroupQueryAttention` on a sequence and itself. "
            f"Received: {type(model).__name__} '{model.name}', which has no "
            "such attention in its graph."
        )
    chosen = chosen_layers(layers, len(found))
    numbers = {id(found[i]): i for i in chosen}
    pairs = []

    def copied(layer):
        copy = layer.__class__.from_config(layer.get_config())
        pairs.append((layer, copy))
        if id(layer) not in numbers:
            return copy
        i = numbers[id(layer)]
        return AttentionWithMemory(
            copy,
            make_memory("memory", memory, i, layer),
            name=f"{layer.name}_with_memory",
        )

    outside = {id(layer) for layer in model.layers}
    result = keras.models.clone_model(
        model,
        clone_function=copied,
        recursive=not set(numbers) <= outside,
    )
    for layer, copy in pairs:
        if isinstance(layer, keras.layers.Layer):  # and no bare operation
            _copy_weights(layer, copy)
    if freeze:
        freeze_all_but(
            result,
            [
                layer
                for layer in result._flatten_layers()
                if isinstance(layer, AttentionWithMemory)
            ],
        )
    if model.compiled:  # anew, with an optimizer of the weights to train
        result.compile_from_config(model.get_compile_config())
    return result


def _self_attentions(model):
    """The attentions of a sequence to itself."""
    if not isinstance(model, keras.Model) or not is_graph(model):
        raise ValueError(
            "Argument `backbone` must be a KerasHub backbone or language "
            "model, or a functional model. "
            f"Received: {type(model).__name__} {model!r}."
        )
    calls: dict[str, list] = {}
    for node in _nodes(model):
        calls.setdefault(node.operation.name, []).append(node)
    found = []
    for nodes in calls.values():
        layer = nodes[0].operation
        if isinstance(layer, AttentionWithMemory):
            raise ValueError(
                "Argument `backbone` must have no memories yet. Received: "
                f"'{model.name}' with a layer '{layer.name}'."
            )
        if isinstance(layer, _ATTENTIONS):
            if all(_is_to_itself(node) for node in nodes):
                found.append(layer)
        elif isinstance(layer, keras.Model) and is_graph(layer):
            found += _self_attentions(layer)
    return found


def _nodes(model):
    """A model's calls of its layers, in an order that they can be made in."""
    graph = getattr(model, "_functional", model)  # a sequential model's
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def _is_to_itself(node):
    """Whether an attention's call is of one sequence, as query and value."""
    given = inspect.signature(node.operation.call).bind(
        *node.arguments.args, **node.arguments.kwargs
    )
    query, value = (given.arguments[name] for name in ("query", "value"))
    key = given.arguments.get("key")
    return (
        query is value
        and (key is None or key is value)
        and query.shape[-1] == node.outputs[0].shape[-1]
    )


def _copy_weights(layer, copy):
    """Give a copy the values of a layer's weights, in arrays of its own."""
    if [w.shape for w in layer.weights] != [w.shape for w in copy.weights]:
        raise ValueError(
            "Argument `backbone` must be made anew by its configuration, with "
            f"the same weights. Received: {type(layer).__name__} "
            f"'{layer.name}', which has {len(layer.weights)} weights, and its "
            f"copy {len(copy.weights)} or others. Add memories before LoRA."
        )
    for weight, other in zip(layer.weights, copy.weights, strict=True):
        # Through NumPy: on JAX a buffer may be given away by its owner.
        other.assign(np.array(keras.ops.convert_to_numpy(weight)))
