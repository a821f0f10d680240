"""A decoder block around any way to mix tokens."""

import keras
from keras import activations
from keras import initializers
from keras import ops

from keras_titans.layers.layer_pattern import check_memory_pattern
from keras_titans.layers.mixers import MIXERS
from keras_titans.layers.mixers import WITH_MEMORY
from keras_titans.layers.mixers import make_mixer
from keras_titans.layers.quantized_parts import LayerOfParts
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.recompute import recomputed
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import mask_of
from keras_titans.layers.watching import current_watch
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
        mixer: `MemoryAsContext`, `MemoryAsGate`, `MemoryAsLayer`,
            `NeuralMemory`, `SlotMemory` or `WindowedAttention`; or str, one
            of `"MAC"`, `"MAG"`, `"MAL"`, `"LMM"` (the memory alone) and
            `"attention"`. The arguments `num_heads`, `window_size` and
            `memory` are for a mixer that is given by name.
        intermediate_dim: int. The hidden width of the multilayer perceptron.
        num_heads: int. Heads of the attention. `"LMM"` has no attention and
            needs none; the other names do.
        window_size: int. Tokens of the attention's window; of its segment, in
            `"MAC"`. Defaults to `128`.
        memory: `NeuralMemory`, `SlotMemory` or another memory layer, which is
            not built: the mixer gets a new memory with these settings and
            with the block's dtype policy. Defaults to `NeuralMemory()`.
        activation: str or callable. The gate's activation. Defaults to
            `"silu"`.
        kernel_initializer: str or Keras initializer. For the multilayer
            perceptron. Defaults to `"glorot_uniform"`.
        dropout: float. Fraction of each branch's output to drop in training.
            Defaults to `0.0`.
        remat: bool. Whether to keep only what enters a branch for the backward
            pass of training, and to compute the rest again there: less memory
            for one more forward pass. Calls with a state keep all. Defaults
            to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`.
        mask, initial_state, training, update, return_diagnostics,
            return_state: As the mixer's.

    Returns:
        What the mixer returns, the outputs being the block's: `(batch,
        length, width)`, then the diagnostics and the state where asked for.

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
        memory=None,
        activation="silu",
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        remat=False,
        **kwargs,
    ):
        # Keras would cast a state that is passed to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        named = {
            "num_heads": num_heads,
            "window_size": window_size,
            "memory": memory,
        }
        if isinstance(mixer, str):
            self.mixer = self._by_name(mixer, **named)
        else:
            self.mixer = check_instance("mixer", mixer, StatefulLayer)
            _check_none(named, "`mixer` is a layer, which has its own")
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

    def _by_name(self, mixer, num_heads, window_size, memory):
        check_choice("mixer", mixer, MIXERS)
        if mixer not in WITH_MEMORY:
            _check_none({"memory": memory}, f"`mixer` is {mixer!r}")
        if memory is not None:
            memory = check_memory_pattern("memory", memory)
        if mixer != "LMM" or num_heads is not None:
            check_positive_integer("num_heads", num_heads)
        if window_size is None:
            window_size = WINDOW_SIZE
        return make_mixer(
            mixer,
            memory,
            self.dtype_policy,
            num_heads=num_heads,
            window_size=check_positive_integer("window_size", window_size),
        )

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
        prepare_parts(self)

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
        return_diagnostics=False,
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
            **self._options(update, return_diagnostics),
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

    def _options(self, update, return_diagnostics):
        if self.mixer.has_memory:
            return {"update": update, "return_diagnostics": return_diagnostics}
        if return_diagnostics:
            raise ValueError(
                "Argument `return_diagnostics` needs a mixer with a memory. "
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
        return_diagnostics=False,
        return_state=None,
    ):
        return self.mixer.compute_output_spec(
            inputs,
            mask=mask,
            initial_state=initial_state,
            return_state=return_state,
            **self._options(update, return_diagnostics),
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


def _check_none(arguments, where):
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"Argument `{name}` must be None where {where}. "
                f"Received: {name}={value!r}."
            )
