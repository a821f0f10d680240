"""Learned tokens before the sequence."""

import keras
from keras import initializers
from keras import ops

from keras_titans.validation import check_initializer
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
class PersistentTokens(keras.layers.Layer):
    """Learned vectors before the sequence, the same for every input.

    What is known about the task as a whole, beside what the memory and the
    attention know about the input (section 3.3 of the paper):

        x = [p_1, ..., p_P, x_1, ..., x_N]

    Args:
        num_tokens: How many, `P`.
        initializer: Of the tokens.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`.
        mask: Boolean, `(batch, length)`. The mask that goes on is True for
            the learned tokens.

    Returns:
        `(batch, num_tokens + length, width)`.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 64))
    x = keras_titans.layers.PersistentTokens(4)(inputs)
    x = keras_titans.layers.NeuralMemory(num_heads=4)(x)
    outputs = keras.layers.Lambda(lambda x: x[:, 4:])(x)
    model = keras.Model(inputs, outputs)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 3.3
    """

    def __init__(self, num_tokens, initializer="random_normal", **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = check_positive_integer("num_tokens", num_tokens)
        self.initializer = check_initializer("initializer", initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.tokens = self.add_weight(
            shape=(self.num_tokens, input_shape[-1]),
            initializer=self.initializer,
            name="tokens",
        )

    def call(self, inputs, mask=None):
        first = ops.broadcast_to(
            ops.cast(self.tokens, inputs.dtype)[None],
            (ops.shape(inputs)[0], *self.tokens.shape),
        )
        return ops.concatenate([first, inputs], axis=1)

    def compute_mask(self, inputs, mask=None):
        if mask is None:
            return None
        return ops.pad(
            mask, [(0, 0), (self.num_tokens, 0)], constant_values=True
        )

    def compute_output_shape(self, input_shape):
        batch_size, length, width = input_shape
        if length is not None:
            length += self.num_tokens
        return batch_size, length, width

    def get_config(self):
        return {
            **super().get_config(),
            "num_tokens": self.num_tokens,
            "initializer": initializers.serialize(self.initializer),
        }
