"""The derivatives of Keras' activations, in closed form where one is known."""

import math

from keras import activations
from keras import ops

from keras_titans import backend


def _gelu(z):
    # Keras' own default is the exact form: z * Phi(z).
    density = ops.exp(-0.5 * ops.square(z)) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + ops.erf(z / math.sqrt(2.0))) + z * density


def _silu(z):
    gate = ops.sigmoid(z)
    return gate * (1.0 + z * (1.0 - gate))


def _sigmoid(z):
    gate = ops.sigmoid(z)
    return gate * (1.0 - gate)


_DERIVATIVES = {
    activations.linear: ops.ones_like,
    activations.relu: lambda z: ops.cast(z > 0, z.dtype),
    activations.gelu: _gelu,
    activations.silu: _silu,
    activations.sigmoid: _sigmoid,
    activations.tanh: lambda z: 1.0 - ops.square(ops.tanh(z)),
    activations.softplus: ops.sigmoid,
    activations.exponential: ops.exp,
}


def derivative(activation):
    """The derivative of an elementwise activation, as a function.

    Args:
        activation: A function from `keras.activations`, or any elementwise
            function of `keras.ops`. The backend differentiates those that
            have no closed form here.

    Returns:
        A function of a tensor that returns a tensor of the same shape.
    """
    if activation in _DERIVATIVES:
        return _DERIVATIVES[activation]

    def by_autodiff(z):
        _, pullback = backend.vjp(activation, z)
        return pullback(ops.ones_like(z))[0]

    return by_autodiff
