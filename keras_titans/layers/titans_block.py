"""A decoder block around any way to mix tokens."""

import keras
from keras import activations
from keras import initializers
from keras import ops

from keras_titans.layers.memory_as_context import MemoryAsContext
from keras_titans.layers.memory_as_gate import MemoryAsGate
from keras_titans.layers.memory_as_layer import MemoryAsLayer
from keras_titans.layers.neural_memory import NeuralMemory
from keras_titans.layers.quantized_parts import LayerOfParts
from keras_titans.layers.quantized_parts import keep_other_parts
from keras_titans.layers.recompute import recomputed
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import mask_of
from keras_titans.layers.watching import current_watch
from keras_titans.layers.windowed_attention import WindowedAttention
from keras_titans.layers.write_cost import pays
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import fill_tokens
from keras_titans.ops.finite import finite_or_zero
from keras_titans.validation import check_activation
from keras_titans.validation import check_bool
from keras_titans.validation import check_choice
from keras_titans.validation import check_initializer
from keras_titans.validation import check_instance
from keras_titans.validation import check_mask
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_threshold

WINDOW_SIZE = 128
MIXERS = {
    "LMM": NeuralMemory,
    "MAC": MemoryAsContext,
    "MAG": MemoryAsGate,
    "MAL": MemoryAsLayer,
    "attention": WindowedAttention,
}


@keras.saving.register_keras_serializable("keras_titans")
class TitansBlock(LayerOfParts):
    """A decoder block: a mixer of tokens and a gated multilayer perceptron.

        x = x + mixer(norm(x))
        x = x + mlp(norm(x))

    with `mlp(x) = (f(x W_1) * x W_2) W_3` (SwiGLU). It stands wherever a
    block around `keras.layers.MultiHeadAttention` stood.

    A token that holds NaN or infinity is NaN in the outputs, and changes no
    other token.

    Args:
        mixer: A `MemoryAsContext`, `MemoryAsGate`, `MemoryAsLayer`,
            `NeuralMemory`, `SlotMemory` or `WindowedAttention`. Or one of the
            names "MAC", "MAG", "MAL", "LMM" (the memory alone) and
            "attention" for one with `num_heads` heads, a window or segment of
            `window_size` tokens, and else its defaults.
        intermediate_dim: The hidden width of the multilayer perceptron.
        num_heads, window_size: For a mixer that is given by name. Without
            `window_size`, it is 128.
        activation: The gate's.
        kernel_initializer: For the multilayer perceptron.
        dropout: Fraction of each branch's output to drop in training.
        remat: Whether to keep only what enters a branch for the backward pass
            of training, and to compute the rest again there: less memory for
            one more forward pass. Calls with a state keep all.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`.
        mask, initial_state, training, update, return_surprise, return_state: As
            the mixer's.

    Returns:
        What the mixer returns, the outputs being the block's: `(batch,
        length, width)`, then the surprises and the state where asked for.

    Example:

    ```python
    import keras
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 32)(tokens)
    for mixer in ("MAG", "LMM"):
        x = keras_titans.layers.TitansBlock(mixer, 64, num_heads=2)(x)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 4
    """

    def __init__(
        self,
        mixer,
        intermediate_dim,
        num_heads=None,
        window_size=None,
        activation="silu",
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        remat=False,
        **kwargs,
    ):
        # Keras would cast a state that is passed to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.mixer = self._made(mixer, num_heads, window_size)
        self.intermediate_dim = check_positive_integer(
            "intermediate_dim", intermediate_dim
        )
        self.activation = check_activation("activation", activation)
        self.kernel_initializer = check_initializer(
            "kernel_initializer", kernel_initializer
        )
        self.dropout = check_threshold("dropout", dropout)
        self.remat = check_bool("remat", remat)
        self.supports_masking = True

    def _made(self, mixer, num_heads, window_size):
        if not isinstance(mixer, str):
            mixer = check_instance("mixer", mixer, StatefulLayer)
            for name, value in (
                ("num_heads", num_heads),
                ("window_size", window_size),
            ):
                if value is not None:
                    raise ValueError(
                        f"Argument `{name}` goes with a mixer's name; a layer "
                        f"as `mixer` has its own. Received: {name}={value!r}."
                    )
            return mixer
        check_choice("mixer", mixer, MIXERS)
        if window_size is None:
            window_size = WINDOW_SIZE
        check_positive_integer("num_heads", num_heads)
        check_positive_integer("window_size", window_size)
        options = {"num_heads": num_heads, "dtype": self.dtype_policy}
        if mixer == "MAC":
            options["segment_length"] = window_size
        elif mixer != "LMM":
            options["window_size"] = window_size
        return MIXERS[mixer](**options, name=mixer.lower())

    def build(self, input_shape):
        width = input_shape[-1]
        hidden = (*input_shape[:-1], self.intermediate_dim)
        self.mixer_norm = self._norm("mixer_norm")
        self.mlp_norm = self._norm("mlp_norm")
        self.mlp_gate = self._dense(self.intermediate_dim, "mlp_gate")
        self.mlp_up = self._dense(self.intermediate_dim, "mlp_up")
        self.mlp_down = self._dense(width, "mlp_down")
        self.drop = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)
        for layer in (
            self.mixer_norm,
            self.mixer,
            self.mlp_norm,
            self.mlp_gate,
            self.mlp_up,
        ):
            if not layer.built:
                layer.build(input_shape)
        self.mlp_down.build(hidden)
        keep_other_parts(self)

    def _norm(self, name):
        norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name=name)
        norm.supports_masking = True  # it mixes no tokens
        return norm

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_surprise=False,
        return_state=None,
    ):
        mask = mask_of(inputs, mask)
        inputs = ops.cast(inputs, self.compute_dtype)
        if mask is not None:
            check_mask(mask, inputs.shape[:2], self.name)
            # Padding may be NaN, and a product of NaN with zero is NaN.
            inputs = fill_tokens(inputs, mask)
        options = {
            "initial_state": initial_state,
            "training": training,
            "return_state": return_state,
            **self._options(update, return_surprise),
        }
        mix = lambda x, mask=None: self.mixer(
            self._normalized(x), mask=mask, **options
        )
        feed = lambda x: self._feed(self.mlp_norm(x))
        if self.remat and training and self._is_apart(options):
            mix = recomputed(mix, [self.mixer_norm, self.mixer])
            feed = recomputed(
                feed, [self.mlp_norm, self.mlp_gate, self.mlp_up, self.mlp_down]
            )
        results = mix(inputs) if mask is None else mix(inputs, mask)
        mixed, *others = results if isinstance(results, tuple) else (results,)
        (inputs, mixed), finite = finite_or_zero([inputs, mixed])
        x = inputs + self.drop(mixed, training=training)
        x = x + self.drop(feed(x), training=training)
        x = blank_tokens(x, finite)
        return (x, *others) if others else x

    def _normalized(self, x):
        (x,), finite = finite_or_zero([x])
        return blank_tokens(self.mixer_norm(x), finite)

    def _feed(self, x):
        return self.mlp_down(self.activation(self.mlp_gate(x)) * self.mlp_up(x))

    def _is_apart(self, options):
        """Whether all that a call leaves behind is its output."""
        mixer = self.mixer
        stateful = mixer.stateful or mixer.returns_state(
            options["return_state"]
        )
        fresh = options["initial_state"] is None and not stateful
        watched = current_watch() is not None
        return fresh and not watched and not pays(mixer, options)

    def _options(self, update, return_surprise):
        if self.mixer.has_memory:
            return {"update": update, "return_surprise": return_surprise}
        if return_surprise:
            raise ValueError(
                "Argument `return_surprise` needs a mixer with a memory. "
                f"Received: mixer={self.mixer}."
            )
        return {}

    def get_initial_state(self, batch_size):
        """The mixer's state before anything was read."""
        return self.mixer.get_initial_state(batch_size)

    def reset_state(self):
        """Forget everything: the mixer's `reset_state`."""
        self.mixer.reset_state()

    def reset_states(self):
        """Another name of `reset_state`, as `keras.layers.RNN` has it."""
        self.reset_state()

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_surprise=False,
        return_state=None,
    ):
        return self.mixer.compute_output_spec(
            inputs,
            mask=mask,
            initial_state=initial_state,
            return_state=return_state,
            **self._options(update, return_surprise),
        )

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "mixer": keras.saving.serialize_keras_object(self.mixer),
                "intermediate_dim": self.intermediate_dim,
                "activation": activations.serialize(self.activation),
                "kernel_initializer": initializers.serialize(
                    self.kernel_initializer
                ),
                "dropout": self.dropout,
                "remat": self.remat,
            }
        )
        return config
