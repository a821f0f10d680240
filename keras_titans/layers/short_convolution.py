"""The short causal convolution as a layer with a tail to go on from."""

import keras
import numpy as np
from keras import ops

from keras_titans.ops.alignment import last_tokens
from keras_titans.ops.convolution import causal_convolution


class ShortConvolution(keras.layers.Layer):
    """Each channel's weighted sum of its own last `kernel_size` inputs."""

    def __init__(self, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size, input_shape[-1]),
            initializer=FadingTaps(),
            name="kernel",
        )

    def call(self, inputs, earlier=None, count=None):
        """Convolve, and say what the next call must look back to.

        Args:
            inputs: `(batch, tokens, channels)`, each row's real tokens first.
            earlier: `(batch, kernel_size - 1, channels)`, the inputs before
                these, or None for zeros.
            count: `(batch,)`: each row's real tokens, or None if all are.

        Returns:
            `(batch, tokens, channels)`; and the next call's `earlier`, or
            None where there was none.
        """
        if earlier is None:
            return causal_convolution(inputs, self.kernel), None
        before = ops.cast(earlier, inputs.dtype)
        outputs = causal_convolution(inputs, self.kernel, before)
        tail = last_tokens(inputs, before, count)
        return outputs, ops.cast(tail, earlier.dtype)


class FadingTaps(keras.initializers.RandomNormal):
    """Half as much of each token before: 1, 1/2, 1/4, ... and a little noise.

    So a key has its token's own mark and, fainter, that of the tokens before
    it, with the same sign in queries and keys: a token finds where it stood,
    and what followed it, before anything is learned.
    """

    def __init__(self, stddev=0.1, seed=None):
        super().__init__(stddev=stddev, seed=seed)

    def __call__(self, shape, dtype=None):
        noise = super().__call__(shape, dtype)
        fading = 2.0 ** -np.arange(shape[0] - 1, -1, -1)
        return noise + ops.cast(fading[:, None], noise.dtype)

    def get_config(self):
        return {"stddev": self.stddev, "seed": self._init_seed}
