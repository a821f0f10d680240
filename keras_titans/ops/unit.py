"""L2-normalisation, and its gradient written out."""

from keras import ops

# Added to the sum of squares: small beside any feature that carries a signal,
# large enough that a zero vector stays zero and has a finite gradient.
EPSILON = 1e-6


def unit(x):
    """`x / |x|` over the last axis."""
    return x * _inverse_norm(x)


def unit_backward(x, gradient):
    """The gradient at `x` from the gradient at `unit(x)`."""
    scale = _inverse_norm(x)
    y = x * scale
    along = ops.sum(y * gradient, axis=-1, keepdims=True)
    return scale * (gradient - y * along)


def _inverse_norm(x):
    return ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + EPSILON)
