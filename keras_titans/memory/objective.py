"""What a memory is asked to do: the loss that it descends at every token."""

import abc

import keras
from keras import ops

from keras_titans.validation import check_at_least_one
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive

TINY = 1e-30


class Objective(abc.ABC):
    """The loss between what a key reads and the value to be read there.

    Example:

    ```python
    import keras
    import keras_titans

    @keras.saving.register_keras_serializable("my_project")
    class Clipped(keras_titans.memory.Objective):
        slope = 2.0

        def gradient(self, prediction, target):
            return keras.ops.clip(2.0 * (prediction - target), -1.0, 1.0)

    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, head_dim=8, objective=Clipped(), anchor="chunk"
    )
    outputs = layer(keras.random.normal((1, 20, 16)))
    ```

    Attributes:
        slope: The largest derivative of `gradient` by the prediction. The
            momentum-normalised learning rate is in units of its inverse.
        linear: Whether `gradient` is `slope * (prediction - target)`.
            `anchor="token"` needs that.
    """

    slope: float
    linear = False

    @abc.abstractmethod
    def gradient(self, prediction, target):
        """The loss's gradient by the prediction.

        Args:
            prediction: `(..., tokens, dim)`.
            target: `(..., tokens, dim)`.

        Returns:
            `(..., tokens, dim)`.
        """

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("keras_titans")
class SquaredError(Objective):
    """`|M(k) - v|^2`, summed over the width (equation 12).

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2,
        head_dim=8,
        objective=keras_titans.memory.SquaredError(),
    )
    ```
    """

    slope = 2.0
    linear = True

    def gradient(self, prediction, target):
        return self.slope * (prediction - target)


@keras.saving.register_keras_serializable("keras_titans")
class Huber(Objective):
    """The Huber loss of the error's norm: large errors count linearly.

        |e| <= delta:   |e|^2                           e = M(k) - v
        otherwise:      2 delta |e| - delta^2

    It switches once a token, by the norm of the whole error. A token that the
    memory cannot explain then moves it by a bounded step. Needs
    `anchor="chunk"`.

    Args:
        delta: float. The norm at which the loss becomes linear. Defaults to
            `1.0`.

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2,
        objective=keras_titans.memory.Huber(delta=0.5),
        anchor="chunk",
    )
    ```

    References:
        - [It's All Connected](https://arxiv.org/abs/2504.13173), equation
            26 (Yaad)
    """

    slope = 2.0

    def __init__(self, delta: float = 1.0):
        self.delta = check_positive("delta", delta)

    def gradient(self, prediction, target):
        error = prediction - target
        # Its root has a gradient at 0, and differs from it by rounding.
        norm = ops.sqrt(ops.sum(error * error, axis=-1, keepdims=True) + TINY)
        return 2.0 * error * (self.delta / ops.maximum(norm, self.delta))

    def get_config(self):
        return {"delta": self.delta}


@keras.saving.register_keras_serializable("keras_titans")
class LpError(Objective):
    """`sum_i |e_i|^p`, the error's components to the power of `p`.

    With `p` above 2, large errors count more, as in Moneta (p = 3). The
    gradient `p sign(e) |e|^(p-1)` is smoothed at 0, as there: `sign(e)` is
    `tanh(sharpness e)` and `|e|` is `sqrt(e^2 + 1e-6)`. Needs
    `anchor="chunk"`. Its slope has no bound for `p` above 2, so that the
    learning rate is in units of `p`, the slope at an error of 1 over
    `p - 1`.

    Args:
        p: float of at least 1. The power. Defaults to `3.0`.
        sharpness: float. How steeply the smooth sign rises. Defaults to
            `10.0`.

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, objective=keras_titans.memory.LpError(p=3), anchor="chunk"
    )
    ```

    References:
        - [It's All Connected](https://arxiv.org/abs/2504.13173), equations
            24 and 25 (Moneta)
    """

    def __init__(self, p: float = 3.0, sharpness: float = 10.0):
        self.p = check_at_least_one("p", p)
        self.sharpness = check_positive("sharpness", sharpness)
        self.slope = self.p

    def gradient(self, prediction, target):
        error = prediction - target
        size = ops.sqrt(error * error + 1e-6)
        sign = ops.tanh(self.sharpness * error)
        return self.p * sign * size ** (self.p - 1.0)

    def get_config(self):
        return {"p": self.p, "sharpness": self.sharpness}


def check_objective(name, objective):
    """An objective that has all that is asked of it."""
    objective = check_instance(name, objective, Objective)
    kind = type(objective).__name__
    if not hasattr(objective, "slope"):
        raise ValueError(
            f"Argument `{name}` must have an attribute `slope`, the largest "
            "derivative of its `gradient` by the prediction. Received: "
            f"{name}={objective!r}, and class `{kind}` has none."
        )
    check_positive(f"{kind}.slope", objective.slope)
    return objective
