"""The Titans decoder, to KerasHub's contract."""

import keras
import keras_hub
from keras import ops

from keras_titans.layers import TitansBlock
from keras_titans.layers.quantized_parts import keep_other_parts
from keras_titans.layers.quantized_parts import revived
from keras_titans.layers.quantized_parts import with_quantized_parts
from keras_titans.layers.token_order import RealTokensFirst
from keras_titans.layers.token_order import TokensInPlace
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.layout_map import titans_layout_map
from keras_titans.models.mixers import make_mixer
from keras_titans.models.mixers import mixers_by_layer
from keras_titans.models.sizes import config_of_size
from keras_titans.validation import check_bool
from keras_titans.validation import check_choice
from keras_titans.validation import check_dtype
from keras_titans.validation import check_key_value_heads
from keras_titans.validation import check_padding_mask
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_threshold
from keras_titans.validation import check_unknown
from keras_titans.validation import check_whole_number


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class TitansBackbone(keras_hub.models.Backbone):
    """A decoder whose blocks memorise at test time.

    Token embedding, `num_layers` times a `keras_titans.layers.TitansBlock`,
    and a last norm. Each block has the mixer that `mixers` names: the memory
    as context, as gate or as layer, the memory alone, or attention alone.
    Positions are the attention's own and bounded by its window, so nothing
    bounds a sequence's length.

    Calling the model starts every sequence with a fresh memory. `stream` goes
    on from a state, with any number of tokens.

    Args:
        vocabulary_size: Number of token ids.
        num_layers: Number of blocks.
        num_heads: Heads of every attention and of every memory.
        hidden_dim: Width of the model.
        intermediate_dim: Hidden width of the multilayer perceptrons.
        mixers: `"MAC"`, `"MAG"`, `"MAL"`, `"LMM"` or `"attention"`; or a list
            with one of these for each block.
        num_key_value_heads: Heads of the attention's keys and values, if
            fewer than `num_heads`.
        window_size: Tokens of the attention's window; of its segment, in MAC.
        num_persistent_tokens: Learned tokens before the sequence, in MAC, MAG
            and MAL.
        memory_depth: Dense maps of each memory.
        chunk_size: Tokens that each memory writes at once.
        anchor: `"token"` or `"chunk"`, as `keras_titans.layers.NeuralMemory`.
        dropout: Fraction of each branch's output to drop in training.
        remat: Whether to compute each branch again in the backward pass and
            keep only what enters it, as `keras_titans.layers.TitansBlock`.
        tie_word_embeddings: Whether the embedding is the output map too.
        dtype: The dtype policy. Memories stay in float32 whatever it is.
        **kwargs: `name` and `trainable`.

    Example:

    ```python
    import keras_hub
    import numpy as np
    from keras_titans.models import TitansBackbone

    backbone = TitansBackbone(
        vocabulary_size=100,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        mixers=["MAG", "LMM"],
        window_size=8,
        chunk_size=4,
    )
    ids = np.ones((2, 12), "int32")
    hidden = backbone({"token_ids": ids, "padding_mask": ids})
    state = backbone.get_initial_state(2)
    first, state = backbone.stream(ids[:, :5], state)
    second, state = backbone.stream(ids[:, 5:], state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663)
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        mixers="MAC",
        num_key_value_heads=None,
        window_size=128,
        num_persistent_tokens=4,
        memory_depth=2,
        chunk_size=64,
        anchor="token",
        dropout=0.0,
        remat=False,
        tie_word_embeddings=False,
        dtype=None,
        **kwargs,
    ):
        check_unknown(self, kwargs, ("name", "trainable"))
        vocabulary_size = check_positive_integer(
            "vocabulary_size", vocabulary_size
        )
        num_layers = check_positive_integer("num_layers", num_layers)
        num_heads = check_positive_integer("num_heads", num_heads)
        hidden_dim = check_positive_integer("hidden_dim", hidden_dim)
        intermediate_dim = check_positive_integer(
            "intermediate_dim", intermediate_dim
        )
        names = mixers_by_layer(mixers, num_layers)
        mixers = mixers if isinstance(mixers, str) else names
        num_key_value_heads = check_key_value_heads(
            num_key_value_heads, num_heads
        )
        window_size = check_positive_integer("window_size", window_size)
        num_persistent_tokens = check_whole_number(
            "num_persistent_tokens", num_persistent_tokens
        )
        memory_depth = check_positive_integer("memory_depth", memory_depth)
        chunk_size = check_positive_integer("chunk_size", chunk_size)
        anchor = check_choice("anchor", anchor, ("token", "chunk"))
        dropout = check_threshold("dropout", dropout)
        remat = check_bool("remat", remat)
        tie_word_embeddings = check_bool(
            "tie_word_embeddings", tie_word_embeddings
        )
        dtype = check_dtype("dtype", dtype)
        attention = {
            "num_heads": num_heads,
            "num_key_value_heads": num_key_value_heads,
            "window_size": window_size,
        }
        memory = {
            "num_heads": num_heads,
            "memory_depth": memory_depth,
            "chunk_size": chunk_size,
            "anchor": anchor,
        }
        # Layers.
        # The logits' standard deviation is 1 at the start.
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            tie_weights=tie_word_embeddings,
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=hidden_dim**-0.5
            ),
            dtype=dtype,
            name="token_embedding",
        )
        self.transformer_layers = [
            TitansBlock(
                make_mixer(
                    mixer, attention, memory, num_persistent_tokens, dtype
                ),
                intermediate_dim,
                dropout=dropout,
                remat=remat,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i, mixer in enumerate(names)
        ]
        self.layer_norm = keras.layers.RMSNormalization(
            dtype=dtype, name="output_norm"
        )
        for layer in (self.token_embedding, self.layer_norm):
            layer.supports_masking = True  # they mix no tokens

        # Functional model.
        inputs = {
            name: keras.Input((None,), dtype="int32", name=name)
            for name in ("token_ids", "padding_mask")
        }
        first = RealTokensFirst(name="real_tokens_first")
        token_ids, slot = first(*inputs.values())
        x = self.token_embedding(token_ids)
        for block in self.transformer_layers:
            x = block(x)
        outputs = TokensInPlace(dtype=dtype, name="tokens_in_place")(
            self.layer_norm(x), slot
        )
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)
        keep_other_parts(self)

        # Configuration.
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.mixers = mixers
        self.num_key_value_heads = num_key_value_heads
        self.window_size = window_size
        self.num_persistent_tokens = num_persistent_tokens
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.anchor = anchor
        self.dropout = dropout
        self.remat = remat
        self.tie_word_embeddings = tie_word_embeddings

    @classmethod
    def from_size(cls, size, mixers="MAC", **overrides):
        """A backbone of a named size, with fresh weights.

        Args:
            size: `"titans_1m"`, `"titans_5m"`, `"titans_20m"`,
                `"titans_60m"`, or the paper's `"titans_170m"`,
                `"titans_340m"`, `"titans_400m"` and `"titans_760m"`. The
                multilayer perceptrons are as wide as makes up the number of
                weights in the name, with the size's own vocabulary.
            mixers: As the constructor's.
            **overrides: Any other argument of the constructor.

        Returns:
            A `TitansBackbone`.
        """
        return cls(**(config_of_size(size, mixers) | overrides))

    def get_initial_state(self, batch_size):
        """The state before anything was read: one for each block, in a list.

        Args:
            batch_size: Number of rows.
        """
        return [
            block.get_initial_state(batch_size)
            for block in self.transformer_layers
        ]

    def stream(
        self,
        token_ids,
        initial_state,
        padding_mask=None,
        training=None,
        update=True,
        return_surprise=False,
    ):
        """Read tokens from a state on.

        Args:
            token_ids: `(batch, length)`, any length.
            initial_state: What an earlier call or `get_initial_state`
                returned.
            padding_mask: `(batch, length)`. Tokens where it is 0 change
                nothing.
            training: Whether to drop out.
            update: Whether memories are written, or only read.
            return_surprise: Whether to return the surprises.

        Returns:
            The hidden states `(batch, length, hidden_dim)`; where asked for,
            the surprises, a list with `(batch, length, num_heads)` for each
            block that has a memory; and the state.
        """
        self._check_state(initial_state)
        mask = None
        if padding_mask is not None:
            check_padding_mask(padding_mask, token_ids)
            mask = ops.cast(padding_mask, "bool")
        x = self.token_embedding(token_ids)
        surprises, states = [], []
        for block, state in zip(
            self.transformer_layers, initial_state, strict=True
        ):
            surprising = return_surprise and block.mixer.has_memory
            x, *surprise, state = block(
                x,
                mask=mask,
                initial_state=state,
                training=training,
                update=update,
                return_surprise=surprising,
                return_state=True,
            )
            surprises += surprise
            states.append(state)
        x = self.layer_norm(x)
        return (x, surprises, states) if return_surprise else (x, states)

    def _check_state(self, state):
        if not isinstance(state, list | tuple) or len(state) != self.num_layers:
            raise ValueError(
                "Argument `initial_state` must be a list with a state for each "
                f"of the {self.num_layers} blocks, as `get_initial_state` "
                f"returns it. Received: {type(state).__name__}"
                + (f" of {len(state)}." if hasattr(state, "__len__") else ".")
            )

    def get_config(self):
        # Not KerasHub's, which forgets the dtype of a quantized backbone.
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }
        for name in (
            "vocabulary_size",
            "num_layers",
            "num_heads",
            "hidden_dim",
            "intermediate_dim",
            "mixers",
            "num_key_value_heads",
            "window_size",
            "num_persistent_tokens",
            "memory_depth",
            "chunk_size",
            "anchor",
            "dropout",
            "remat",
            "tie_word_embeddings",
        ):
            value = getattr(self, name)
            config[name] = value if name != "mixers" else _plain(value)
        return with_quantized_parts(config, self)

    @classmethod
    def from_config(cls, config):
        return revived(super().from_config, config)

    @staticmethod
    def get_layout_map(
        device_mesh,
        model_parallel_dim_name="model",
        data_parallel_dim_name="batch",
    ):
        """How to spread the weights over a mesh of devices.

        Args:
            device_mesh: A `keras.distribution.DeviceMesh` with both axes.
            model_parallel_dim_name: The axis that heads and hidden widths are
                spread over.
            data_parallel_dim_name: The axis that batches are spread over, and
                the matrices' other side.

        Returns:
            A `keras.distribution.LayoutMap` for
            `keras.distribution.ModelParallel`.

        Example:

        ```python
        mesh = keras.distribution.DeviceMesh((1, 8), ("batch", "model"))
        layout = TitansBackbone.get_layout_map(mesh)
        keras.distribution.set_distribution(
            keras.distribution.ModelParallel(layout_map=layout)
        )
        ```
        """
        return titans_layout_map(
            device_mesh, model_parallel_dim_name, data_parallel_dim_name
        )


def _plain(mixers):
    """Without the wrapper that Keras puts around a layer's lists."""
    return mixers if isinstance(mixers, str) else list(mixers)
