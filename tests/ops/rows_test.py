"""Products along rows and channels."""

import numpy as np
from keras import ops

from keras_titans.ops.rows import row_dot
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.rows import shared_product
from tests.helpers import close

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 2, 3, 4, 5))
T = ops.convert_to_tensor


def test_products():
    scale = X[..., 0]
    close(scale_rows(T(X), T(scale)), X * scale[..., None], 1e-12)
    close(row_dot(T(X), T(Y)), np.sum(X * Y, axis=-1), 1e-12)


def test_each_row_is_multiplied_with_the_shared_matrix():
    w = RNG.normal(size=(3, 5, 2))
    close(shared_product(T(X), T(w)), X @ w, 1e-12)
