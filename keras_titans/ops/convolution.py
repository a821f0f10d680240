"""A short depthwise causal convolution that can go on where it stopped."""

from keras import ops

from keras_titans.ops.rows import scale_channels


def causal_convolution(x, kernel, earlier):
    """Each channel's weighted sum of its own last few inputs.

    Args:
        x: `(batch, tokens, channels)`.
        kernel: `(taps, channels)`; the last tap is the token's own.
        earlier: `(batch, taps - 1, channels)`: the inputs before the first.

    Returns:
        `(batch, tokens, channels)`.
    """
    tokens = ops.shape(x)[1]
    taps = kernel.shape[0]
    x = ops.concatenate([earlier, x], axis=1)
    y = scale_channels(x[:, :tokens], kernel[0])
    for tap in range(1, taps):
        y += scale_channels(x[:, tap : tap + tokens], kernel[tap])
    return y


def last_inputs(x, earlier, count=None):
    """The inputs that the next call's first tokens will look back to.

    Args:
        x: `(batch, tokens, channels)`, each row's real tokens first.
        earlier: `(batch, taps - 1, channels)`.
        count: `(batch,)`: each row's real tokens, or None if all are.

    Returns:
        `(batch, taps - 1, channels)`.
    """
    kept = earlier.shape[1]
    x = ops.concatenate([earlier, x], axis=1)
    if count is None:
        return x[:, ops.shape(x)[1] - kept :]
    index = count[:, None] + ops.arange(kept, dtype="int32")[None, :]
    return ops.take_along_axis(x, index[..., None], axis=1)
