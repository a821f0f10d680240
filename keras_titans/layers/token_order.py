"""Putting real tokens first for a whole stack of layers, and back again."""

import keras
from keras import ops

from keras_titans.layers.watching import current_watch
from keras_titans.ops import alignment
from keras_titans.validation import check_padding_mask


class RealTokensFirst(keras.layers.Layer):
    """Each row's real tokens in front, so that causal layers need no mask.

    Done once for a model, this is what every layer would do with its mask.

    Call arguments:
        inputs: `(batch, length)`.
        mask: `(batch, length)`, nonzero where a token is real.

    Returns:
        The inputs in their new order; and where each is now, for
        `TokensInPlace`.
    """

    def call(self, inputs, real):
        check_padding_mask(real, inputs)
        # A length that is known at run time only is checked by this.
        real = ops.reshape(real, ops.shape(inputs))
        watch = current_watch()
        if watch is not None:
            # Each memory is told of the padding, and leaves it in its place.
            watch.real = ops.cast(real, "bool")
            place = ops.arange(ops.shape(inputs)[1], dtype="int32")
            return inputs, ops.broadcast_to(place, ops.shape(inputs))
        order, slot, _ = alignment.real_tokens_first(real)
        return alignment.take_tokens(inputs, order), slot

    def compute_output_spec(self, inputs, real):
        check_padding_mask(real, inputs)
        return (
            keras.KerasTensor(inputs.shape, inputs.dtype),
            keras.KerasTensor(inputs.shape, "int32"),
        )


class TokensInPlace(keras.layers.Layer):
    """Undo `RealTokensFirst`.

    Padding gets what the real token before it got.
    """

    def call(self, inputs, slot):
        return alignment.take_tokens(inputs, slot)

    def compute_output_spec(self, inputs, slot):
        return keras.KerasTensor(inputs.shape, inputs.dtype)
