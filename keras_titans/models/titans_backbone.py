"""The Titans decoder, to KerasHub's contract."""

import keras
import keras_hub
from keras import ops

from keras_titans.layers import TitansBlock
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.quantized_parts import revived
from keras_titans.layers.quantized_parts import with_quantized_parts
from keras_titans.layers.token_order import RealTokensFirst
from keras_titans.layers.token_order import TokensInPlace
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.layout_map import titans_layout_map
from keras_titans.models.mixers import Mixers
from keras_titans.models.sizes import config_of_size
from keras_titans.models.sizes import default_intermediate_dim
from keras_titans.models.sizes import default_num_heads
from keras_titans.validation import check_bool
from keras_titans.validation import check_dtype
from keras_titans.validation import check_key_value_heads
from keras_titans.validation import check_padding_mask
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_threshold
from keras_titans.validation import check_unknown
from keras_titans.validation import check_whole_number
from keras_titans.validation import check_width


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
        vocabulary_size: int. Number of token ids.
        num_layers: int. Number of blocks.
        hidden_dim: int. Width of the model.
        num_heads: int. Heads of every attention. Defaults to
            `hidden_dim // 64`, or the next smaller number that divides
            `hidden_dim`.
        intermediate_dim: int. Hidden width of the multilayer perceptrons.
            Defaults to 8/3 of `hidden_dim`, rounded up to a multiple of 32.
        mixers: What mixes tokens in each block: `"MAC"`, `"MAG"`, `"MAL"`,
            `"LMM"` or `"attention"`; or a layer that is not built, such as a
            `keras_titans.layers.MemoryAsGate`, of which each block gets a
            new one with these settings; or a list with one of these for each
            block. Defaults to `"MAC"`.
        memory: `keras_titans.layers.NeuralMemory`,
            `keras_titans.layers.SlotMemory` or another memory layer, which is
            not built: each mixer that is given by name gets a new memory with
            these settings. Defaults to `NeuralMemory()`.
        num_key_value_heads: int. Heads of the attention's keys and values.
            Defaults to `num_heads`.
        window_size: int. Tokens of the attention's window; of its segment, in
            MAC. Defaults to `128`.
        num_persistent_tokens: int. Learned tokens before the sequence, in
            MAC, MAG and MAL. Defaults to `4`.
        dropout: float. Fraction of each branch's output to drop in training.
            Defaults to `0.0`.
        remat: bool. Whether to compute each branch again in the backward pass
            and keep only what enters it, as `keras_titans.layers.TitansBlock`.
            Defaults to `False`.
        tie_word_embeddings: bool. Whether the embedding is the output map
            too. Defaults to `False`.
        dtype: str or Keras dtype policy. The policy of all layers, those that
            are made from `mixers` and `memory` among them. States stay in
            float32 whatever it is. Defaults to Keras' global policy.
        **kwargs: `name` and `trainable`.

    `num_heads`, `num_key_value_heads`, `window_size` and
    `num_persistent_tokens` are for mixers that are given by name.

    Example:

    ```python
    import keras_hub
    import numpy as np
    from keras_titans.layers import NeuralMemory
    from keras_titans.models import TitansBackbone

    backbone = TitansBackbone(
        vocabulary_size=100,
        num_layers=2,
        hidden_dim=16,
        mixers=["MAG", "LMM"],
        memory=NeuralMemory(num_heads=2, head_dim=8, chunk_size=4),
        window_size=8,
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
        hidden_dim,
        num_heads=None,
        intermediate_dim=None,
        mixers="MAC",
        memory=None,
        num_key_value_heads=None,
        window_size=128,
        num_persistent_tokens=4,
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
        hidden_dim = check_positive_integer("hidden_dim", hidden_dim)
        if num_heads is None:
            num_heads = default_num_heads(hidden_dim)
        num_heads = check_positive_integer("num_heads", num_heads)
        check_width(hidden_dim, num_heads)
        if intermediate_dim is None:
            intermediate_dim = default_intermediate_dim(hidden_dim)
        intermediate_dim = check_positive_integer(
            "intermediate_dim", intermediate_dim
        )
        mixers = Mixers(mixers, memory, num_layers)
        num_key_value_heads = check_key_value_heads(
            num_key_value_heads, num_heads
        )
        window_size = check_positive_integer("window_size", window_size)
        num_persistent_tokens = check_whole_number(
            "num_persistent_tokens", num_persistent_tokens
        )
        dropout = check_threshold("dropout", dropout)
        remat = check_bool("remat", remat)
        tie_word_embeddings = check_bool(
            "tie_word_embeddings", tie_word_embeddings
        )
        dtype = check_dtype("dtype", dtype)
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
                mixer,
                intermediate_dim,
                dropout=dropout,
                remat=remat,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i, mixer in enumerate(
                mixers.make(
                    dtype,
                    num_heads=num_heads,
                    num_key_value_heads=num_key_value_heads,
                    window_size=window_size,
                    num_persistent_tokens=num_persistent_tokens,
                )
            )
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
        prepare_parts(self)

        # Configuration.
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self._mixers = mixers
        self.num_key_value_heads = num_key_value_heads
        self.window_size = window_size
        self.num_persistent_tokens = num_persistent_tokens
        self.dropout = dropout
        self.remat = remat
        self.tie_word_embeddings = tie_word_embeddings

    @property
    def mixers(self):
        """The argument `mixers`."""
        return self._mixers.given

    @property
    def memory(self):
        """The argument `memory`; None where no mixer is made with it."""
        return self._mixers.memory

    @classmethod
    def from_size(cls, size, mixers="MAC", memory=None, **overrides):
        """A backbone of a named size, with fresh weights.

        Args:
            size: str. `"titans_1m"`, `"titans_5m"`, `"titans_20m"`,
                `"titans_60m"`, or the paper's `"titans_170m"`,
                `"titans_340m"`, `"titans_400m"` and `"titans_760m"`. The
                multilayer perceptrons are as wide as makes up the number of
                weights in the name, with the size's own vocabulary.
            mixers: As the constructor's. Defaults to `"MAC"`.
            memory: As the constructor's. Defaults to `NeuralMemory()`.
            **overrides: Other arguments of the constructor, which replace the
                size's.

        Returns:
            A `TitansBackbone`.
        """
        return cls(**(config_of_size(size, mixers, memory) | overrides))

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
        return_diagnostics=False,
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
            return_diagnostics: Whether to return the memories' diagnostics.

        Returns:
            The hidden states `(batch, length, hidden_dim)`; where asked for,
            the diagnostics, a list with a dictionary for each block that has
            a memory; and the state.
        """
        self._check_state(initial_state)
        mask = None
        if padding_mask is not None:
            check_padding_mask(padding_mask, token_ids)
            mask = ops.cast(padding_mask, "bool")
        x = self.token_embedding(token_ids)
        diagnostics, states = [], []
        for block, state in zip(
            self.transformer_layers, initial_state, strict=True
        ):
            asked = return_diagnostics and block.mixer.has_memory
            x, *results, state = block(
                x,
                mask=mask,
                initial_state=state,
                training=training,
                update=update,
                return_diagnostics=asked,
                return_state=True,
            )
            diagnostics += results
            states.append(state)
        x = self.layer_norm(x)
        return (x, diagnostics, states) if return_diagnostics else (x, states)

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
            **self._mixers.get_config(),
        }
        for name in (
            "vocabulary_size",
            "num_layers",
            "num_heads",
            "hidden_dim",
            "intermediate_dim",
            "num_key_value_heads",
            "window_size",
            "num_persistent_tokens",
            "dropout",
            "remat",
            "tie_word_embeddings",
        ):
            config[name] = getattr(self, name)
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
