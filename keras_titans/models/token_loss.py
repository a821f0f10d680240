"""How a loss is put together from the losses of single tokens."""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_titans import backend

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")


class LossForm(NamedTuple):
    """What a loss makes of a batch of sequences."""

    per_token: bool  # else a mean over each row's tokens
    width: int  # how many values there are for each token
    masks: bool  # whether it leaves tokens out by itself


@functools.lru_cache(maxsize=64)
def loss_form(loss, target, dtype, output):
    """The `LossForm` of a loss, from its values for a few made-up tokens.

    The values of two pieces must be those of the whole.

    Args:
        loss: A `keras.losses.Loss`.
        target: Tuple. The shape of a token's target.
        dtype: The targets' dtype.
        output: Tuple. The shape of a token's output.
    """
    length, first = 5, 2
    rng = np.random.default_rng(0)
    shape = (2, length, *(n or 2 for n in target))
    y_true = rng.uniform(0.1, 0.9, shape)
    if not keras.backend.is_float_dtype(dtype):
        y_true = np.arange(y_true.size).reshape(shape) % 2
    y_true = y_true.astype("float32")
    y_pred = rng.uniform(0.1, 0.9, (2, length, *(n or 2 for n in output)))
    y_pred = y_pred.astype("float32")
    try:
        with backend.eager():
            values = values_of(loss, y_true, y_pred)
            masks = mask_of(values) is not None
            whole, one, other = (
                ops.convert_to_numpy(v)
                for v in (
                    values,
                    values_of(loss, y_true[:, :first], y_pred[:, :first]),
                    values_of(loss, y_true[:, first:], y_pred[:, first:]),
                )
            )
    except Exception as error:
        raise ValueError(_refusal(loss, str(error))) from error
    if whole.shape[:2] == (2, length):
        if _same(np.concatenate([one, other], axis=1), whole):
            return LossForm(True, int(np.prod(whole.shape[2:])), masks)
    elif whole.shape == one.shape == other.shape == (2,):
        means = (first * one + (length - first) * other) / length
        if _same(means, whole):
            return LossForm(False, 1, masks)
    raise ValueError(
        _refusal(
            loss,
            f"values of shape {whole.shape} for targets {shape} and outputs "
            f"{y_pred.shape}, which are not those of its pieces",
        )
    )


def values_of(loss, y_true, y_pred):
    """A loss' values before they are weighed and reduced."""
    return loss.call(
        ops.convert_to_tensor(y_true, dtype=loss.dtype),
        ops.convert_to_tensor(y_pred, dtype=loss.dtype),
    )


def mask_of(values):
    """The mask that a loss has put on its values, or None."""
    found: list[Any] = []
    _MaskOf(found.append)(values)
    return found[0]


class _MaskOf(keras.layers.Layer):
    """Tells of the mask that comes with its input.

    Keras hands a mask to the layers that ask for it, and to nobody else.
    """

    def __init__(self, tell):
        super().__init__(name="mask_of", autocast=False)
        self.supports_masking = True
        self.tell = tell

    def call(self, values, mask=None):
        self.tell(mask)
        return values


def _same(one, other):
    return one.shape == other.shape and np.allclose(
        one, other, rtol=1e-4, atol=1e-5, equal_nan=True
    )


def _refusal(loss, received):
    return (
        "Argument `loss` of `compile` must be a loss of each token, or its "
        "mean over tokens, for a sequence is read in segments. "
        f"Received: '{loss.name}', which gives {received}."
    )
