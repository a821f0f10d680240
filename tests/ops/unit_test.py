"""L2-normalisation, its gradient, and zero vectors."""

import numpy as np
from keras import ops

from keras_titans import backend
from keras_titans.ops.unit import unit
from keras_titans.ops.unit import unit_backward
from tests.helpers import close
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 5))
G = RNG.normal(size=(2, 3, 5))


def test_length_is_one_and_direction_kept():
    y = to_numpy(unit(ops.convert_to_tensor(X)))
    norm = np.linalg.norm(X, axis=-1, keepdims=True)
    close(y, X / norm, 1e-5)


def test_backward_equals_autodiff():
    x, g = ops.convert_to_tensor(X), ops.convert_to_tensor(G)
    _, pullback = backend.vjp(unit, x)
    close(unit_backward(x, g), pullback(g)[0], 1e-12)


def test_nothing_stays_nothing_with_a_finite_gradient():
    zero = ops.zeros((1, 2, 4))
    assert np.all(to_numpy(unit(zero)) == 0.0)
    found = to_numpy(unit_backward(zero, ops.ones_like(zero)))
    assert np.all(np.isfinite(found))
