"""What the baselines share: the contract of a mixer, and its usual parts."""

import keras
from keras import ops

from keras_titans.layers.short_convolution import ShortConvolution
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import zeros_like_spec


class Mixer(StatefulLayer):
    """A causal layer from a sequence to a sequence of the same shape.

    A subclass mixes tokens (`mix`) and says what it carries from one call to
    the next (`state_spec`). The state starts at 0, is float32 whatever the
    compute dtype, and stays as it is at masked tokens.

    Args:
        return_state: Whether to return the state after the outputs.
        stateful: Whether a call starts where the last one ended.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask: Boolean, `(batch, length)`. Tokens that are masked are as if
            they were not there.
        initial_state: A state as returned by an earlier call or by
            `get_initial_state`.
        training: Not used.
        return_state: Whether to return the state, if not as constructed.

    Returns:
        `(batch, length, width)` and, where `return_state`, the state: a
        dictionary of tensors with the batch on axis 0.
    """

    has_memory = False

    def call(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        return_state=None,
    ):
        return self.run(inputs, mask, initial_state, return_state)

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        return_state=None,
    ):
        return self.run_spec(inputs, mask, initial_state, return_state)

    def get_initial_state(self, batch_size):
        self.check_built()
        return zeros_like_spec(self.state_spec(None), batch_size)

    def add_dense(self, units, input_width, name):
        """A projection without bias, built."""
        dense = keras.layers.Dense(
            units, use_bias=False, dtype=self.dtype_policy, name=name
        )
        dense.build((None, None, input_width))
        return dense

    def add_convolution(self, taps, channels, name):
        """A short causal convolution, built."""
        convolution = ShortConvolution(taps, dtype=self.dtype_policy, name=name)
        convolution.build((None, None, channels))
        return convolution

    def add_norm(self, width, name):
        norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name=name)
        norm.build((None, None, width))
        return norm

    def carried(self, batch_size, *shape):
        """An entry of `state_spec`."""
        return keras.KerasTensor((batch_size, *shape), self.state_dtype)

    def precise(self, x):
        """`x` in the dtype of the state."""
        return ops.cast(x, self.state_dtype)

    def real(self, x, count):
        """1 at real tokens and 0 at padding, `(batch, tokens, 1)`, or 1."""
        if count is None:
            return 1.0
        place = ops.arange(ops.shape(x)[1], dtype="int32")[None, :, None]
        return self.precise(place < count[:, None, None])


class Drawn(keras.initializers.RandomUniform):
    """Weights `fn(u)`, with `u` uniform between two bounds."""

    def __init__(self, fn, low, high, seed=None):
        super().__init__(low, high, seed)
        self.fn = fn

    def __call__(self, shape, dtype=None):
        return self.fn(super().__call__(shape, dtype))


def split_heads(x, num_heads):
    """`(batch, tokens, num_heads * d)` to `(batch, tokens, num_heads, d)`."""
    rows, tokens, width = ops.shape(x)
    return ops.reshape(x, (rows, tokens, num_heads, width // num_heads))


def join_heads(x):
    """`(batch, tokens, num_heads, d)` to `(batch, tokens, num_heads * d)`."""
    rows, tokens, heads, width = ops.shape(x)
    return ops.reshape(x, (rows, tokens, heads * width))
