"""Forecasts of series of several channels."""

import keras
from keras import layers
from keras import ops

from keras_titans.layers import TitansBlock
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.quantized_parts import revived
from keras_titans.layers.quantized_parts import with_quantized_parts
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.mixers import Mixers
from keras_titans.validation import check_dtype
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_threshold
from keras_titans.validation import check_unknown
from keras_titans.validation import check_whole_number
from keras_titans.validation import check_width
from keras_titans.validation import if_given
from keras_titans.validation import same_shape

EPSILON = 1e-5


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class TitansForecaster(keras.Model):
    """Reads a series of any length and forecasts the steps that follow.

    The series is normalised by its own mean and deviation, channel by channel,
    and the forecast is brought back to its scale: a model works at any level.
    Steps are read in patches, by decoder blocks whose memory reaches further
    back than any window. To what they see in the last patch is added a linear
    map of the last steps' differences to the very last:

        z = (x - mean) / deviation
        z_next = z_last + W (z_recent - z_last) + head(blocks(patches(z)))
        x_next = mean + deviation * z_next

    `W` and the head start at zero, so an untrained model forecasts that
    everything stays as it is.

    Args:
        horizon: int. How many steps to forecast.
        num_channels: int. Channels of the series, all of which are forecast.
        num_layers: int. Number of blocks. Defaults to `2`.
        hidden_dim: int. Width of the blocks. Defaults to `64`.
        num_heads: int. Heads of every attention. Defaults to `4`.
        intermediate_dim: int. Hidden width of the multilayer perceptrons.
            Defaults to twice `hidden_dim`.
        mixers: What mixes tokens in each block, as
            `keras_titans.models.TitansBackbone`'s. Defaults to `"MAG"`.
        memory: `keras_titans.layers.NeuralMemory`,
            `keras_titans.layers.SlotMemory` or another memory layer, which is
            not built: each mixer that is given by name gets a new memory with
            these settings. Defaults to `NeuralMemory()`.
        window_size: int. Patches of the attention's window; of its segment,
            in MAC. Defaults to `32`.
        patch_size: int. Steps that are read as one. A length that is no
            multiple of it is padded at its beginning. Defaults to `8`.
        linear_window: int. How many of the last steps the linear map sees; 0
            for no such map. Defaults to `96`.
        dropout: float. Fraction of each branch's output to drop in training.
            Defaults to `0.0`.
        dtype: str or Keras dtype policy. The policy of all layers, those that
            are made from `mixers` and `memory` among them. States stay in
            float32 whatever it is. Defaults to Keras' global policy.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: `(batch, length, num_channels)`, any length.

    Returns:
        `(batch, horizon, num_channels)`.

    Example:

    ```python
    import numpy as np
    import keras_titans

    t = np.arange(2000)
    series = np.stack([np.sin(t / 9), np.cos(t / 15)], axis=-1)
    windows = np.lib.stride_tricks.sliding_window_view(series, 112, axis=0)
    windows = windows[::16].swapaxes(1, 2).astype("float32")

    model = keras_titans.models.TitansForecaster(
        horizon=16, num_channels=2, hidden_dim=16, num_heads=2
    )
    model.compile("adam", "mse")
    model.fit(windows[:, :96], windows[:, 96:], verbose=0)
    forecast = model.predict(windows[:1, :96], verbose=0)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 5.7
        - [Reversible Instance Normalization](
            https://openreview.net/forum?id=cGDAkQo1C0p)
        - [Are Transformers Effective for Time Series Forecasting?](
            https://arxiv.org/abs/2205.13504), NLinear
    """

    def __init__(
        self,
        horizon,
        num_channels,
        num_layers=2,
        hidden_dim=64,
        num_heads=4,
        intermediate_dim=None,
        mixers="MAG",
        memory=None,
        window_size=32,
        patch_size=8,
        linear_window=96,
        dropout=0.0,
        dtype=None,
        **kwargs,
    ):
        check_unknown(self, kwargs, ("name", "trainable"))
        horizon = check_positive_integer("horizon", horizon)
        num_channels = check_positive_integer("num_channels", num_channels)
        num_layers = check_positive_integer("num_layers", num_layers)
        hidden_dim = check_positive_integer("hidden_dim", hidden_dim)
        num_heads = check_positive_integer("num_heads", num_heads)
        check_width(hidden_dim, num_heads)
        intermediate_dim = if_given(
            check_positive_integer, "intermediate_dim", intermediate_dim
        )
        mixers = Mixers(mixers, memory, num_layers)
        window_size = check_positive_integer("window_size", window_size)
        patch_size = check_positive_integer("patch_size", patch_size)
        linear_window = check_whole_number("linear_window", linear_window)
        dropout = check_threshold("dropout", dropout)
        dtype = check_dtype("dtype", dtype)
        inner_dim = 2 * hidden_dim
        if intermediate_dim is not None:
            inner_dim = intermediate_dim
        blocks = [
            TitansBlock(
                mixer,
                inner_dim,
                dropout=dropout,
                dtype=dtype,
                name=f"block_{i}",
            )
            for i, mixer in enumerate(
                mixers.make(dtype, num_heads=num_heads, window_size=window_size)
            )
        ]

        # Functional model.
        inputs = keras.Input((None, num_channels), name="series")
        mean = ops.mean(inputs, axis=1, keepdims=True)
        variance = ops.var(inputs, axis=1, keepdims=True)
        deviation = ops.sqrt(variance + EPSILON)
        z = (inputs - mean) / deviation
        x = _patches(z, patch_size, hidden_dim, dtype)
        for block in blocks:
            x = block(x)
        x = layers.RMSNormalization(dtype=dtype, name="output_norm")(x[:, -1])
        x = layers.Dense(
            horizon * num_channels,
            kernel_initializer="zeros",
            dtype=dtype,
            name="head",
        )(x)
        x = layers.Reshape((horizon, num_channels), dtype=dtype)(x)
        last = z[:, -1:]
        forecast = last + ops.cast(x, z.dtype)
        if linear_window:
            recent = _last_steps(z - last, linear_window)
            forecast = forecast + _linear(recent, horizon)
        super().__init__(inputs, mean + deviation * forecast, **kwargs)
        self.dtype_policy = dtype
        prepare_parts(self)

        # Configuration.
        self.horizon = horizon
        self.num_channels = num_channels
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self._mixers = mixers
        self.window_size = window_size
        self.patch_size = patch_size
        self.linear_window = linear_window
        self.dropout = dropout

    @property
    def mixers(self):
        """The argument `mixers`."""
        return self._mixers.given

    @property
    def memory(self):
        """The argument `memory`; None where no mixer is made with it."""
        return self._mixers.memory

    def call(self, inputs, training=None, mask=None):
        shape = tuple(getattr(inputs, "shape", ()))
        if not same_shape(shape, (None, None, self.num_channels)):
            raise ValueError(
                "Argument `inputs` must be series of shape (batch, length, "
                f"{self.num_channels}), with num_channels={self.num_channels}. "
                f"Received: shape {shape}."
            )
        if shape[1] == 0:
            raise ValueError(
                "Argument `inputs` must have at least one step. "
                f"Received: shape {shape}."
            )
        return super().call(inputs, training=training, mask=mask)

    def get_config(self):
        # Not the functional model's: it has all that this one is made of.
        config = {
            name: getattr(self, name)
            for name in (
                "name",
                "trainable",
                "horizon",
                "num_channels",
                "num_layers",
                "hidden_dim",
                "num_heads",
                "intermediate_dim",
                "window_size",
                "patch_size",
                "linear_window",
                "dropout",
            )
        }
        config |= self._mixers.get_config()
        config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        return with_quantized_parts(config, self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return revived(lambda config: cls(**config), config)


def _patches(z, size, width, dtype):
    """`(B, N, C)` to `(B, ceil(N / size), width)`; the last is whole."""
    # Backwards, so that patches are counted from the end.
    z = ops.pad(ops.flip(z, axis=1), [[0, 0], [0, size - 1], [0, 0]])
    embedding = layers.Conv1D(
        width, size, strides=size, dtype=dtype, name="patch_embedding"
    )
    return ops.flip(embedding(z), axis=1)


def _last_steps(z, count):
    """`(B, N, C)` to `(B, count, C)`; zeros where there are no steps."""
    steps = ops.pad(z, [[0, 0], [count, 0], [0, 0]])[:, -count:]
    return layers.Reshape((count, z.shape[-1]), dtype="float32")(steps)


def _linear(recent, horizon):
    """`(B, count, C)` to `(B, horizon, C)`, the same for every channel."""
    dense = layers.Dense(
        horizon,
        use_bias=False,
        kernel_initializer="zeros",
        dtype="float32",
        name="linear",
    )
    return ops.transpose(dense(ops.transpose(recent, (0, 2, 1))), (0, 2, 1))
