"""Each closed-form derivative against the backend's own differentiation."""

import numpy as np
import pytest
from keras import activations
from keras import ops

from keras_titans import backend
from keras_titans.memory.activations import derivative
from tests.helpers import close

# Between the kinks of the piecewise ones.
Z = np.array([-30.0, -3.7, -2.2, -0.8, -0.3, 0.3, 0.7, 1.6, 2.9, 4.2, 30.0])

NAMES = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh "
    "leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu "
    "soft_shrink softplus softsign sparse_plus squareplus tanh tanh_shrink"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_equals_autodiff(name):
    activation = activations.get(name)
    z = ops.convert_to_tensor(Z)
    _, pullback = backend.vjp(activation, z)
    wanted = pullback(ops.ones_like(z))[0]
    # TensorFlow's own has a root of 2 in float32, whatever its input.
    tolerance = 1e-7 if name == "gelu" else 1e-10
    close(derivative(activation)(z), wanted, tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_equals_finite_differences(name):
    activation = activations.get(name)
    at = lambda z: ops.convert_to_numpy(activation(ops.convert_to_tensor(z)))
    step = 1e-6
    z = Z[1:-1]
    wanted = (at(z + step) - at(z - step)) / (2 * step)
    close(derivative(activation)(ops.convert_to_tensor(z)), wanted, 1e-7)


def test_a_function_of_the_users():
    z = ops.convert_to_tensor(Z[2:-2])
    have = derivative(lambda z: ops.sin(z) * z)(z)
    close(have, np.cos(Z[2:-2]) * Z[2:-2] + np.sin(Z[2:-2]), 1e-12)
