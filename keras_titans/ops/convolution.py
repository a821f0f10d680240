"""A short depthwise causal convolution that can go on where it stopped."""

from keras import ops

from keras_titans.ops.rows import scale_channels


def causal_convolution(x, kernel, earlier=None):
    """Each channel's weighted sum of its own last few inputs.

    Args:
        x: `(batch, tokens, channels)`.
        kernel: `(taps, channels)`; the last tap is the token's own.
        earlier: `(batch, taps - 1, channels)`: the inputs before the first,
            or None for zeros.

    Returns:
        `(batch, tokens, channels)`.
    """
    taps = kernel.shape[0]
    if earlier is not None:
        x = ops.concatenate([earlier, x], axis=1)
    tokens = ops.shape(x)[1]
    y = scale_channels(x, kernel[-1])
    for lag in range(1, taps):
        # Scaled, then shifted: the shift costs no copy of its own.
        z = scale_channels(x, kernel[-1 - lag])
        y += ops.pad(z, [(0, 0), (lag, 0), (0, 0)])[:, :tokens]
    return y if earlier is None else y[:, taps - 1 :]
