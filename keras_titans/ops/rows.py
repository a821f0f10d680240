"""Products along rows and channels, in forms that differentiate fast.

`x * s[..., None]` has a sum over the last axis in its gradient. XLA's loop
for such a sum is several times slower on CPUs than the same sum written as a
contraction, which is what an einsum's gradient is.
"""

from keras import ops


def scale_rows(x, scale):
    """`x[..., t, i] * scale[..., t]`."""
    return ops.einsum("...ti,...t->...ti", x, scale)


def scale_channels(x, scale):
    """`x[b, t, c] * scale[c]`.

    Flat, because XLA sums the rows of a matrix many times faster than the
    middle axis of three.
    """
    rows, tokens, channels = ops.shape(x)
    flat = ops.reshape(x, (rows * tokens, channels)) * scale
    return ops.reshape(flat, (rows, tokens, channels))


def row_dot(x, y):
    """`sum_i x[..., t, i] * y[..., t, i]`."""
    return ops.einsum("...i,...i->...", x, y)


def shared_product(x, w):
    """`x[b, h] @ w[h]`: each row's product with a matrix that all rows share.

    Each head's rows and tokens become one axis of a single product. A product
    that broadcasts `w` over the rows corrupts memory on TensorFlow (2.21, CPU)
    where there is one head.

    Args:
        x: `(B, H, b, i)`.
        w: `(H, i, o)`.

    Returns:
        `(B, H, b, o)`.
    """
    return ops.einsum("bhti,hio->bhto", x, w)


def times_transposed(x, w):
    """`x @ w^T`; for a single row as `w @ x^T`, which no engine transposes."""
    if x.shape[-2] == 1:
        return ops.swapaxes(ops.matmul(w, ops.swapaxes(x, -1, -2)), -1, -2)
    return ops.matmul(x, ops.swapaxes(w, -1, -2))
