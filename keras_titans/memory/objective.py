"""What a memory is asked to do: the loss that it descends at every token."""

import abc

import keras

from keras_titans.validation import check_instance
from keras_titans.validation import check_positive


class Objective(abc.ABC):
    """The loss between what a key reads and the value to be read there.

    Example:

    ```python
    import keras
    import keras_titans

    @keras.saving.register_keras_serializable("my_project")
    class Huber(keras_titans.memory.Objective):
        slope = 2.0

        def gradient(self, prediction, target):
            return keras.ops.clip(2.0 * (prediction - target), -1.0, 1.0)

    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, head_dim=8, objective=Huber(), anchor="chunk"
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
