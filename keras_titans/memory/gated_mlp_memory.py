"""A gated multilayer perceptron as a memory."""

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


@keras.saving.register_keras_serializable("keras_titans")
class GatedMLPMemory(MemoryNetwork):
    """A gated multilayer perceptron (SwiGLU): `(f(x W_1) * x W_2) W_3`.

    Args:
        expansion: The hidden width, in multiples of the head width.
        activation: Any elementwise Keras activation, the gate's.
        residual: Add the input to the output.
        unit_norm: L2-normalise the hidden features.
        hidden_rate: As `MemoryNetwork.hidden_rate`.

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, head_dim=8, network=keras_titans.memory.GatedMLPMemory()
    )
    ```
    """

    def __init__(
        self,
        expansion=2,
        activation="silu",
        residual=False,
        unit_norm=True,
        hidden_rate=0.1,
    ):
        self.expansion = check_positive("expansion", expansion)
        self.activation = check_activation("activation", activation)
        self.residual = check_bool("residual", residual)
        self.unit_norm = check_bool("unit_norm", unit_norm)
        self.hidden_rate = check_positive("hidden_rate", hidden_rate)

    def map_shapes(self, dim):
        hidden = int(dim * self.expansion)
        return (dim, hidden), (dim, hidden), (hidden, dim)

    def __call__(self, x, dense):
        h = self.activation(dense(0, x)) * dense(1, x)
        if self.unit_norm:
            h = unit(h)
        y = dense(2, h)
        return x + y if self.residual else y

    def backward(self, x, weights, inputs, outputs, gradient):
        gate = self.activation(outputs[0])
        g = times_transposed(gradient, weights[2])
        if self.unit_norm:
            g = unit_backward(gate * outputs[1], g)
        slope = derivative(self.activation)(outputs[0])
        return [g * outputs[1] * slope, g * gate, gradient]

    def get_config(self):
        return {
            "expansion": self.expansion,
            "activation": activations.serialize(self.activation),
            "residual": self.residual,
            "unit_norm": self.unit_norm,
            "hidden_rate": self.hidden_rate,
        }
