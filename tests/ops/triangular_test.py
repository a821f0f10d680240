"""Unit lower-triangular systems against NumPy's solver."""

import numpy as np
import pytest
from keras import ops

from keras_titans.ops.triangular import solve_unit_lower
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 34, 64])
def test_solves(size):
    rng = np.random.default_rng(size)
    strict = np.tril(rng.normal(size=(2, size, size)), -1) / size
    rhs = rng.normal(size=(2, size, 3))
    have = solve_unit_lower(
        ops.convert_to_tensor(strict), ops.convert_to_tensor(rhs)
    )
    close(have, np.linalg.solve(np.eye(size) + strict, rhs), 1e-9)


def test_gradient_equals_finite_differences():
    rng = np.random.default_rng(0)
    strict = np.tril(rng.normal(size=(2, 5, 5)), -1)
    rhs = rng.normal(size=(2, 5, 3))
    total = lambda *args: ops.sum(ops.sin(solve_unit_lower(*args)))
    arguments = [ops.convert_to_tensor(strict), ops.convert_to_tensor(rhs)]
    found = to_numpy(gradient(total, arguments))
    at = lambda *args: float(to_numpy(total(*map(ops.convert_to_tensor, args))))
    by = 1e-6 * np.tril(rng.normal(size=strict.shape), -1)
    slope = (at(strict + by, rhs) - at(strict - by, rhs)) / 2.0
    assert abs(slope - np.sum(found[0] * by)) < 1e-11
    by = 1e-6 * rng.normal(size=rhs.shape)
    slope = (at(strict, rhs + by) - at(strict, rhs - by)) / 2.0
    assert abs(slope - np.sum(found[1] * by)) < 1e-11
