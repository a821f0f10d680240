"""A KerasHub language model with memories, and how it generates."""

import inspect

import keras
import keras_hub
from keras import ops

from keras_titans.models.continuation import continued
from keras_titans.models.continuation import prompts_of
from keras_titans.models.continuation import token_at
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.memory_backbone import MemoryBackbone
from keras_titans.models.task_parts import check_preprocessor
from keras_titans.validation import check_instance
from keras_titans.validation import check_texts
from keras_titans.validation import check_unknown

# What some families build a cache from besides the tokens, and text has not.
_NOT_OF_TEXT = (
    "img_embeddings",
    "padding_mask",
    "vision_indices",
    "vision_mask",
)

# Gemma 3's tokenizer has an id for images that its text models do not embed.
_IMAGE_IDS = 1


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class MemoryCausalLM(keras_hub.models.CausalLM):
    """A language model around a `MemoryBackbone`, of any KerasHub family.

    What the family's own class does is done by it: the logits, `score`, one
    step with its cache of keys and values. Its `generate` cannot carry more
    than that cache, and feeds the last token of a prompt twice, which a
    memory must not read twice. So `generate` is this class's: the memories'
    states are carried on beside the cache.

    Args:
        backbone: A `MemoryBackbone`.
        preprocessor: The family's preprocessor, or None for a model of token
            ids.
        **kwargs: As `keras_hub.models.CausalLM`.

    Example:

    ```python
    import keras_hub
    import numpy as np
    import keras_titans
    from keras_titans.models import MemoryBackbone
    from keras_titans.models import MemoryCausalLM

    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
    )
    memory = keras_titans.layers.NeuralMemory(num_heads=2, chunk_size=4)
    model = MemoryCausalLM(MemoryBackbone(backbone, memory))
    model.compile(sampler="greedy")
    prompt = {
        "token_ids": np.array([[3, 1, 4, 1, 0, 0, 0, 0]]),
        "padding_mask": np.array([[1, 1, 1, 1, 0, 0, 0, 0]]),
    }
    answer = model.generate(prompt, stop_token_ids=None)
    ```
    """

    backbone_cls = MemoryBackbone
    preprocessor_cls = keras_hub.models.CausalLMPreprocessor

    def __init__(self, backbone, preprocessor=None, **kwargs):
        check_unknown(self, kwargs, ("compile", "name", "trainable"))
        backbone = check_instance("backbone", backbone, MemoryBackbone)
        check_preprocessor(
            preprocessor,
            keras_hub.models.CausalLMPreprocessor,
            backbone,
            _IMAGE_IDS,
        )
        family = causal_lm_class(backbone.backbone)
        self.family = family(
            backbone=backbone, preprocessor=None, compile=False
        )
        self.backbone = backbone
        self.preprocessor = preprocessor
        super().__init__(
            inputs=self.family.input, outputs=self.family.output, **kwargs
        )

    def call_with_cache(self, token_ids, cache, cache_update_index):
        """Read tokens from a cache on.

        Args:
            token_ids: `(batch, length)`.
            cache: A dictionary: `"attention"`, the family's own cache;
                `"memory"`, the memories' states in a list.
            cache_update_index: Where in the sequence the tokens begin.

        Returns:
            The logits, the hidden states, and the cache after.
        """
        with self.backbone.carrying(cache["memory"]) as carried:
            logits, hidden, attention = self.family.call_with_cache(
                token_ids, cache["attention"], cache_update_index
            )
        cache = {"attention": attention, "memory": carried.states}
        return logits, hidden, cache

    def build_cache(self, token_ids, count):
        """The cache after the first tokens of all rows.

        Keys and values of the tokens behind are there too, as the family
        leaves them; they are written anew when their tokens are read.

        Args:
            token_ids: `(batch, length)`: the prompts, and room to generate.
            count: How many tokens of each row the memories read.

        Returns:
            The hidden states of the first `count` tokens, and some behind;
            and the cache.
        """
        rows, length = ops.shape(token_ids)
        place = ops.arange(length, dtype="int32")[None, :]
        real = ops.broadcast_to(place < count, (rows, length))
        states = self.backbone.get_initial_state(rows)
        build = self.family._build_cache
        _, *others = inspect.signature(build).parameters
        with self.backbone.carrying(states, real) as carried:
            hidden, attention = build(token_ids, **dict.fromkeys(others))
        return hidden, {"attention": attention, "memory": carried.states}

    def _normalize_generate_inputs(self, inputs):
        if self.preprocessor is not None:
            check_texts("inputs", inputs)
        return super()._normalize_generate_inputs(inputs)

    def generate_step(self, inputs, stop_token_ids=None):
        """Continue a batch of prompts. What `generate` compiles and calls.

        Args:
            inputs: A dictionary: `"token_ids"` and `"padding_mask"`,
                `(batch, length)`, prompts of one or more tokens at the front.
            stop_token_ids: Ids of which one ends a row; None for none.

        Returns:
            A dictionary of `"token_ids"` and `"padding_mask"`.
        """
        token_ids, padding_mask, index = prompts_of(inputs)
        hidden, cache = self.build_cache(token_ids, index - 1)
        if isinstance(self.sampler, keras_hub.samplers.ContrastiveSampler):
            last = token_at(token_ids, index - 1)
            _, here, _ = self.call_with_cache(last, cache, index - 1)
            hidden = ops.slice_update(hidden, (0, index - 1, 0), here)
        return continued(
            self,
            self.call_with_cache,
            token_ids,
            padding_mask,
            cache,
            index,
            hidden,
            stop_token_ids,
        )

    def score(self, *args, **kwargs):
        """Logits or losses of given tokens, as the family's `score`."""
        return self.family.score(*args, **kwargs)


def causal_lm_class(backbone):
    """The KerasHub class of language models around a backbone's class.

    Raises:
        ValueError: If there is none, or none that reads text alone with one
            cache.
    """
    for cls in _subclasses(keras_hub.models.CausalLM):
        if cls.backbone_cls is type(backbone) and hasattr(cls, "_build_cache"):
            _, _, *others = inspect.signature(cls._build_cache).parameters
            if set(others) <= set(_NOT_OF_TEXT) and _is_of_text(backbone):
                return cls
    raise ValueError(
        "Argument `backbone` must be a text decoder of which KerasHub has a "
        "`CausalLM` with one cache of keys and values, as GPT-2, Llama, Gemma, "
        f"Mistral or Qwen. Received: {type(backbone).__name__}."
    )


def _is_of_text(backbone):
    return set(backbone.input) == {"token_ids", "padding_mask"}


def _subclasses(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
