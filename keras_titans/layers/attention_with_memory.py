"""A memory beside an attention that is there already."""

import inspect

import keras
from keras import ops

from keras_titans.layers.attention_and_memory import check_memory
from keras_titans.layers.carried_states import carried_for
from keras_titans.layers.quantized_parts import LayerOfParts
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.ops.finite import finite_or_zero
from keras_titans.validation import check_instance

# What KerasHub's attentions call their first argument.
_FIRST = ("hidden_states", "inputs", "x")


@keras.saving.register_keras_serializable("keras_titans")
class AttentionWithMemory(LayerOfParts):
    """A self-attention with a memory beside it, that begins as if alone.

    Both read the same input, and a gate `a`, learned for each channel and 0
    at the start, lets the memory's output in:

        y = attention(x) + a * memory(x)

    So a trained model stays what it is, to the last bit, until it is trained
    further; the gate has a gradient at the first step, the memory from the
    second on. `keras_titans.models.add_memory` puts this layer in the place
    of a model's attentions.

    In a block that normalises before it attends, `x` is what the norm puts
    out: the features that the attention's own projections were trained on,
    at one scale in every layer, where the residual stream's grows. What the
    memory recalls is added where the attention's output is, so the block's
    multilayer perceptron sees both.

    Args:
        attention: The attention: `keras.layers.MultiHeadAttention`,
            `keras.layers.GroupQueryAttention`, or a KerasHub block's own.
        memory: A `NeuralMemory` or a `SlotMemory`.
        **kwargs: `name` and so on, for `keras.layers.Layer`.

    Call arguments:
        query: `(batch, length, width)`. What the memory reads, too.
        attention_mask, query_mask: Also the memory's: a token that must not
            attend to itself is padding, and changes nothing.
        value, key, value_mask, key_mask, return_attention_scores, cache,
            cache_update_index, cache_update_mask, use_causal_mask: As the
            attention's, where it has them.
        training: Whether the call is one of training.

    Returns:
        What the attention returns.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 32))
    x = keras.layers.LayerNormalization()(inputs)
    attention = keras_titans.layers.AttentionWithMemory(
        keras.layers.MultiHeadAttention(num_heads=2, key_dim=16),
        keras_titans.layers.NeuralMemory(num_heads=2),
    )
    x = inputs + attention(x, x, use_causal_mask=True)
    model = keras.Model(inputs, x)
    ```
    """

    def __init__(self, attention, memory, **kwargs):
        attention = check_instance("attention", attention, keras.layers.Layer)
        memory = check_memory("memory", memory)
        if memory.stateful:
            raise ValueError(
                "Argument `memory` must keep no state to itself. "
                "Received: a memory with stateful=True."
            )
        check_arguments(attention)
        # What is passed on is for the attention to cast.
        super().__init__(
            autocast=False, **{"dtype": memory.dtype_policy, **kwargs}
        )
        self.attention = attention
        self.memory = memory
        self.supports_masking = True

    def build(self, query_shape, value_shape=None, key_shape=None):
        if not self.attention.built:
            shapes = (query_shape, value_shape, key_shape)
            self.attention.build(*(x for x in shapes if x is not None))
        if not self.attention.trainable:
            # One that was loaded has not told the layers inside of it. On
            # TensorFlow it does not, either, if what is set was set before.
            self.attention.trainable = True
            self.attention.trainable = False
        if not self.memory.built:
            self.memory.build(query_shape)
        self.gate = self.add_weight(
            shape=(query_shape[-1],), initializer="zeros", name="gate"
        )
        prepare_parts(self)

    def __call__(self, *args, **kwargs):
        for name in _FIRST:
            if name in kwargs:
                args = (kwargs.pop(name), *args)
        return super().__call__(*args, **kwargs)

    def call(
        self,
        query,
        value=None,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        cache=None,
        cache_update_index=None,
        cache_update_mask=None,
        training=None,
        use_causal_mask=False,
    ):
        results = self.attention(
            query,
            **self._accepted(
                value=value,
                key=key,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                cache=cache,
                cache_update_index=cache_update_index,
                cache_update_mask=cache_update_mask,
                training=training,
                use_causal_mask=use_causal_mask,
            ),
        )
        alone = not isinstance(results, tuple)
        mixed, *others = (results,) if alone else results
        carried = carried_for(self)
        if carried is not None:
            recalled, carried[self] = self.memory(
                query,
                mask=carried.mask,
                initial_state=carried[self],
                training=training,
                return_state=True,
            )
        elif cache is not None:
            raise ValueError(
                f"Layer '{self.name}' got an attention's cache and no state "
                "of its memory. Generate with "
                "`keras_titans.models.MemoryCausalLM`, which carries both."
            )
        else:
            recalled = self.memory(
                query,
                mask=_real_tokens(query, query_mask, attention_mask),
                training=training,
                return_state=False,
            )
        # The gate's gradient is a product with all that was recalled.
        (recalled,), _ = finite_or_zero([recalled])
        gate = ops.cast(self.gate, recalled.dtype)
        mixed = mixed + ops.cast(gate * recalled, mixed.dtype)
        return mixed if alone else (mixed, *others)

    def _accepted(self, **options):
        """What is given, of what the attention takes."""
        names = _parameters(self.attention)
        return {
            name: value
            for name, value in options.items()
            if name in names and value is not None
        }

    def compute_output_spec(self, *args, **kwargs):
        given = inspect.signature(self.call).bind(*args, **kwargs).arguments
        query = given.pop("query")
        return self.attention.compute_output_spec(
            query, **self._accepted(**given)
        )

    def get_config(self):
        return {
            **super().get_config(),
            "attention": _unbuilt(self.attention),
            "memory": _unbuilt(self.memory),
        }


def check_arguments(attention):
    """Raise a ValueError for an attention that is called in another way."""
    known = list(inspect.signature(AttentionWithMemory.call).parameters)
    _, *others = _parameters(attention)
    unknown = [name for name in others if name not in known]
    if unknown:
        raise ValueError(
            "Argument `attention` must be a layer that is called with a "
            f"sequence and with any of {', '.join(known[2:])}. Received: "
            f"{type(attention).__name__} '{attention.name}', which also takes "
            f"{', '.join(unknown)}."
        )


def _parameters(attention):
    return list(inspect.signature(attention.call).parameters)


def _real_tokens(query, query_mask, attention_mask):
    """Boolean `(batch, length)`: the tokens that are no padding, or None.

    A mask of who attends to whom has padding in it as tokens that nobody
    attends to, themselves included.
    """
    masks = []
    if query_mask is not None:
        masks.append(ops.cast(query_mask, "bool"))
    if attention_mask is not None:
        mask = ops.cast(attention_mask, "bool")
        if len(mask.shape) == 4:  # (batch, heads, length, length)
            mask = mask[:, 0]
        if len(mask.shape) == 2:  # (length, length)
            mask = mask[None]
        masks.append(_diagonal(mask, ops.shape(query)[1]))
    if not masks:
        return None
    real = masks[0] if len(masks) == 1 else ops.logical_and(*masks)
    return ops.broadcast_to(real, ops.shape(query)[:2])


def _diagonal(mask, length):
    """`mask[b, t, t]`, where the middle axis may have a single row for all."""
    place = ops.arange(length, dtype="int32")
    same = place[:, None] == place[None, :]
    return ops.any(ops.logical_and(mask, same[None]), axis=1)


def _unbuilt(layer):
    """Serialised, to be built where it stands, with paths of its own."""
    config = keras.saving.serialize_keras_object(layer)
    config.pop("build_config", None)
    return config
