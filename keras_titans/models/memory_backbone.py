"""A KerasHub backbone with memories beside its attentions."""

import contextlib
import inspect

import keras
import keras_hub

from keras_titans.layers import AttentionWithMemory
from keras_titans.layers.carried_states import carrying
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.quantized_parts import revived
from keras_titans.layers.quantized_parts import with_quantized_parts
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.memory_placement import attention_of
from keras_titans.models.memory_placement import chosen_layers
from keras_titans.models.memory_placement import freeze_all_but
from keras_titans.models.memory_placement import make_memory
from keras_titans.models.memory_placement import put_layer
from keras_titans.validation import check_bool
from keras_titans.validation import check_instance
from keras_titans.validation import check_unknown


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class MemoryBackbone(keras_hub.models.Backbone):
    """Another backbone, with a memory beside the attention of its blocks.

    `keras_titans.models.add_memory` makes one from a backbone that it leaves
    as it is. What this one has not itself, such as `hidden_dim`, is its
    `backbone`'s.

    Args:
        backbone: A backbone with `transformer_layers`. It is taken over: its
            blocks get an `AttentionWithMemory` in their attentions' place.
        memories: A memory, as `add_memory` takes it; or a list with one for
            each of `layers`.
        layers: Indices of the blocks that get a memory; None for all.
        freeze: Whether only the memories and their gates are trained.
        dtype: A dtype policy that a saved backbone is made anew with.
        **kwargs: `name` and `trainable`.

    Attributes:
        memory_layers: A list of the `AttentionWithMemory`s.

    Example:

    ```python
    import keras_hub
    import numpy as np
    import keras_titans
    from keras_titans.models import MemoryBackbone

    backbone = MemoryBackbone(
        keras_hub.models.GPT2Backbone(
            vocabulary_size=50,
            num_layers=2,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=16,
            max_sequence_length=32,
        ),
        keras_titans.layers.NeuralMemory(num_heads=2, chunk_size=4),
        layers=[1],
    )
    ids = np.ones((2, 12), "int32")
    hidden = backbone({"token_ids": ids, "padding_mask": ids})
    ```
    """

    def __init__(
        self,
        backbone,
        memories=None,
        layers=None,
        freeze=True,
        dtype=None,
        **kwargs,
    ):
        check_unknown(self, kwargs, ("name", "trainable"))
        freeze = check_bool("freeze", freeze)
        if isinstance(backbone, dict) and "class_name" in backbone:
            backbone = _revived(backbone, dtype)
        elif dtype is not None:
            raise ValueError(
                "Argument `dtype` must be None for a backbone that is made, "
                f"which has its own. Received: dtype={dtype!r}."
            )
        check_backbone(backbone)
        self.backbone = backbone
        self.token_embedding = backbone.token_embedding
        blocks = backbone.transformer_layers
        layers = chosen_layers(layers, len(blocks))
        if not isinstance(memories, list | tuple):
            memories = [memories] * len(layers)
        if len(memories) != len(layers):
            raise ValueError(
                "Argument `memories` must be one memory, or one for each of "
                f"the {len(layers)} layers. Received: {len(memories)}."
            )
        # All of them, before anything is changed.
        names = [attention_of(blocks[i], backbone) for i in layers]
        width = backbone.hidden_dim
        places, memory_layers = [], []
        for i, name, memory in zip(layers, names, memories, strict=True):
            attention = getattr(blocks[i], name)
            layer = AttentionWithMemory(
                attention,
                make_memory("memories", memory, i, attention),
                name="with_memory",
            )
            with keras.name_scope(blocks[i].name):
                layer.build((None, None, width))
            places.append((blocks[i], name))
            memory_layers.append(layer)
        for (block, name), layer in zip(places, memory_layers, strict=True):
            put_layer(block, name, layer)
        self.memory_layers = memory_layers
        super().__init__(
            inputs=backbone.input,
            outputs=backbone.output,
            dtype=backbone.dtype_policy,
            **kwargs,
        )
        prepare_parts(self)
        self._places = tuple(places)
        self.layers_with_memory = tuple(layers)
        self.freeze = freeze
        if freeze:
            freeze_all_but(backbone, memory_layers)

    def __getattr__(self, name):
        backbone = self.__dict__.get("backbone")
        try:
            return super().__getattr__(name)  # PyTorch's modules have one
        except AttributeError:
            if backbone is None or name.startswith("_"):
                raise
        return getattr(backbone, name)

    def get_initial_state(self, batch_size):
        """The memories' states before anything was read, in a list.

        Args:
            batch_size: Number of rows.
        """
        return [
            layer.memory.get_initial_state(batch_size)
            for layer in self.memory_layers
        ]

    def carrying(self, states, mask=None):
        """A scope within which the memories go on from states.

        Args:
            states: A list, as `get_initial_state` returns it.
            mask: Boolean, `(batch, length)`: the tokens that the memories
                read, None for all.

        Returns:
            A context manager. What it yields has the states after the call in
            `states`.
        """
        return carrying(self.memory_layers, states, mask)

    def enable_lora(self, rank, target_layer_names=None):
        """Adapt the backbone itself too, by LoRA on its projections.

        Memories and gates are trained as before.

        Args:
            rank, target_layer_names: As
                `keras_hub.models.Backbone.enable_lora`'s.
        """
        with self._memories_aside():
            self.backbone.enable_lora(rank, target_layer_names)
        self.freeze = True

    def save_lora_weights(self, filepath):
        """As `keras_hub.models.Backbone.save_lora_weights`."""
        with self._memories_aside():
            self.backbone.save_lora_weights(filepath)

    def load_lora_weights(self, filepath):
        """As `keras_hub.models.Backbone.load_lora_weights`."""
        with self._memories_aside():
            self.backbone.load_lora_weights(filepath)

    @contextlib.contextmanager
    def _memories_aside(self):
        """Within it, the backbone is as it was without memories."""
        pairs = list(zip(self._places, self.memory_layers, strict=True))
        for (block, name), layer in pairs:
            put_layer(block, name, layer.attention)
        try:
            yield
        finally:
            for (block, name), layer in pairs:
                put_layer(block, name, layer)

    def get_config(self):
        config = {
            **super().get_config(),
            "backbone": serialized(self.backbone),
            "memories": [
                keras.saving.serialize_keras_object(layer.memory)
                for layer in self.memory_layers
            ],
            "layers": list(self.layers_with_memory),
            "freeze": self.freeze,
        }
        return with_quantized_parts(config, self)

    @classmethod
    def from_config(cls, config):
        return revived(super().from_config, config)


def check_backbone(backbone):
    """Raise a ValueError for what has no blocks of attention."""
    check_instance("backbone", backbone, keras_hub.models.Backbone)
    layers = getattr(backbone, "transformer_layers", None)
    if not layers or not isinstance(layers, list):
        raise ValueError(
            "Argument `backbone` must have `transformer_layers`, as KerasHub's "
            "GPT-2, Llama, Gemma, Mistral and Qwen have. "
            f"Received: {type(backbone).__name__}."
        )


def serialized(backbone):
    """A backbone's class and settings, complete.

    Some of KerasHub's `get_config`s forget an argument.
    """
    config = keras.saving.serialize_keras_object(backbone)
    arguments = inspect.signature(type(backbone).__init__).parameters
    for name in list(arguments)[1:]:
        if name not in config["config"] and hasattr(backbone, name):
            config["config"][name] = keras.saving.serialize_keras_object(
                getattr(backbone, name)
            )
    return config


def _revived(config, dtype=None):
    if dtype is not None:
        config = {**config, "config": {**config["config"], "dtype": dtype}}
    return keras.saving.deserialize_keras_object(config)
