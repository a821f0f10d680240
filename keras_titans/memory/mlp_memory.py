"""The paper's deep memory, a multilayer perceptron."""

import keras
from keras import activations

from keras_titans.memory.activations import derivative
from keras_titans.memory.memory_network import MemoryNetwork
from keras_titans.ops.rows import times_transposed
from keras_titans.ops.unit import unit
from keras_titans.ops.unit import unit_backward
from keras_titans.validation import check_activation
from keras_titans.validation import check_bool
from keras_titans.validation import check_positive
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
class MLPMemory(MemoryNetwork):
    """A multilayer perceptron: the paper's deep memory (section 3.1).

    `h_1 = f(x W_1)`, and so on; the last map has no activation.

    Args:
        depth: The number of dense maps, the paper's `L_M`. 1 is a matrix.
        expansion: The hidden width, in multiples of the head width.
        activation: Any elementwise Keras activation.
        residual: Add the input to the output.
        unit_norm: L2-normalise the hidden features. It bounds the step of the
            map above them, as unit keys bound that of the first.
        hidden_rate: As `MemoryNetwork.hidden_rate`.

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2,
        head_dim=8,
        network=keras_titans.memory.MLPMemory(depth=3, activation="gelu"),
    )
    ```
    """

    def __init__(
        self,
        depth=2,
        expansion=4,
        activation="silu",
        residual=False,
        unit_norm=True,
        hidden_rate=0.1,
    ):
        self.depth = check_positive_integer("depth", depth)
        self.expansion = check_positive("expansion", expansion)
        self.activation = check_activation("activation", activation)
        self.residual = check_bool("residual", residual)
        self.unit_norm = check_bool("unit_norm", unit_norm)
        self.hidden_rate = check_positive("hidden_rate", hidden_rate)

    @property
    def is_matrix(self):
        own = type(self).__call__ is MLPMemory.__call__
        return own and self.depth == 1 and not self.residual

    def map_shapes(self, dim):
        hidden = int(dim * self.expansion)
        widths = [dim] + [hidden] * (self.depth - 1) + [dim]
        return tuple(zip(widths[:-1], widths[1:], strict=True))

    def __call__(self, x, dense):
        h = x
        for m in range(self.depth - 1):
            h = self.activation(dense(m, h))
            if self.unit_norm:
                h = unit(h)
        y = dense(self.depth - 1, h)
        return x + y if self.residual else y

    def backward(self, x, weights, inputs, outputs, gradient):
        deltas = [gradient]
        for m in reversed(range(self.depth - 1)):
            g = times_transposed(deltas[0], weights[m + 1])
            if self.unit_norm:
                g = unit_backward(self.activation(outputs[m]), g)
            deltas.insert(0, g * derivative(self.activation)(outputs[m]))
        return deltas

    def get_config(self):
        return {
            "depth": self.depth,
            "expansion": self.expansion,
            "activation": activations.serialize(self.activation),
            "residual": self.residual,
            "unit_norm": self.unit_norm,
            "hidden_rate": self.hidden_rate,
        }
