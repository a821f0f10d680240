"""L2-normalisation, and its gradient written out."""

from keras import ops

from keras_titans.ops.rows import row_dot
from keras_titans.ops.rows import scale_rows

# Added to the sum of squares: small beside any feature that carries a signal,
# large enough that a zero vector stays zero and has a finite gradient.
EPSILON = 1e-6


def unit(x):
    """`x / |x|` over the last axis."""
    return scale_rows(x, _inverse_norm(x))


def unit_backward(x, gradient):
    """The gradient at `x` from the gradient at `unit(x)`."""
    scale = _inverse_norm(x)
    y = scale_rows(x, scale)
    along = row_dot(y, gradient)
    return scale_rows(gradient - scale_rows(y, along), scale)


def _inverse_norm(x):
    return ops.rsqrt(row_dot(x, x) + EPSILON)
