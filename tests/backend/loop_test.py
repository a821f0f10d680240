"""A loop of a length that is known when it runs."""

import numpy as np
from keras import ops

from keras_titans.backend import repeat
from tests.helpers import to_numpy


def test_steps_are_counted(run_mode):
    def fold(count, x):
        x = ops.convert_to_tensor(x)

        def step(i, carry):
            total, pair = carry
            return total + ops.cast(i, "float32") * x, [pair[1], pair[0]]

        return repeat(step, (ops.zeros_like(x), [x, 2 * x]), count)

    fold = run_mode(fold)
    x = np.array([1.0, -2.0], "float32")
    for count in (-1, 0, 1, 4):
        total, pair = to_numpy(fold(ops.convert_to_tensor(count), x))
        np.testing.assert_allclose(total, sum(range(count)) * x)
        np.testing.assert_allclose(pair[0], x * (2 if count % 4 == 1 else 1))
