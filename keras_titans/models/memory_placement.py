"""Which attention gets which memory, and how it is put there."""

from numbers import Integral

import keras

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers import NeuralMemory
from keras_titans.layers.layer_pattern import check_memory_pattern
from keras_titans.layers.layer_pattern import clone

# What KerasHub's blocks call their self-attention.
_ATTENTIONS = ("_self_attention_layer", "self_attention_layer", "attention")


def chosen_layers(layers, count):
    """Indices as numbers from 0 on, in order; all of `count` for None."""
    if layers is None:
        return list(range(count))
    if not isinstance(layers, list | tuple | range):
        layers = [layers]
    fits = all(
        not isinstance(i, bool)
        and isinstance(i, Integral)
        and -count <= i < count
        for i in layers
    )
    chosen = sorted(int(i) % count for i in layers) if fits else []
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(
            "Argument `layers` must be one or more different indices of the "
            f"model's {count} layers with a self-attention, or None for all. "
            f"Received: layers={layers}."
        )
    return chosen


def make_memory(name, pattern, number, attention):
    """The memory beside an attention, unbuilt, of the attention's dtype.

    Args:
        name: str. The argument that the pattern was passed as.
        pattern: A memory whose settings are used; or a function of the
            layer's number that returns one; or None for `NeuralMemory()`.
        number: int. The layer's index.
        attention: The attention.
    """
    if pattern is None:
        pattern = NeuralMemory()
    elif callable(pattern) and not isinstance(pattern, keras.Layer | type):
        pattern = pattern(number)
    pattern = check_memory_pattern(name, pattern)
    return clone(pattern, "memory", _float_policy(attention.dtype_policy))


def attention_of(block, backbone):
    """The name of a KerasHub block's attribute that is its self-attention."""
    for name in _ATTENTIONS:
        attention = getattr(block, name, None)
        if isinstance(attention, AttentionWithMemory):
            raise ValueError(
                "Argument `backbone` must have no memories yet. Received: "
                f"'{backbone.name}', whose layer '{block.name}' has one."
            )
        if isinstance(attention, keras.layers.Layer):
            return name
    raise ValueError(
        "Argument `backbone` must have `transformer_layers` with a "
        "self-attention each, as those of GPT-2, Llama, Gemma, Mistral or "
        f"Qwen, or `layers` must leave the others out. Received: "
        f"{type(backbone).__name__} with a layer '{block.name}', a "
        f"{type(block).__name__} without."
    )


def put_layer(block, name, layer):
    """Set a built layer's attribute to another layer."""
    tracker = block._tracker
    tracker.unlock()
    tracker.untrack(getattr(block, name))
    setattr(block, name, layer)
    tracker.lock()


def freeze_all_but(model, layers):
    """Leave only the weights of some of a model's layers to be trained."""
    for layer in model._flatten_layers(include_self=False):
        layer.trainable = False
    for layer in layers:
        layer.trainable = True
        layer.attention.trainable = False


def _float_policy(policy):
    """The policy itself, or what a quantised one computes in."""
    policy = getattr(policy, "default_policy", policy)  # of a map by layer
    if getattr(policy, "quantization_mode", None) is None:
        return policy
    if policy.compute_dtype == policy.variable_dtype:
        return policy.compute_dtype
    return f"mixed_{policy.compute_dtype}"
