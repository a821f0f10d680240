"""Products along rows, in the form that every engine differentiates fast.

`x * s[..., None]` has a sum over the last axis in its gradient. XLA's loop
for such a sum is several times slower on CPUs than the same sum written as a
contraction, which is what an einsum's gradient is.
"""

from keras import ops


def scale_rows(x, scale):
    """`x[..., t, i] * scale[..., t]`."""
    return ops.einsum("...ti,...t->...ti", x, scale)


def scale_channels(x, scale):
    """`x[..., c] * scale[c]`."""
    return ops.einsum("...c,c->...c", x, scale)


def row_dot(x, y):
    """`sum_i x[..., t, i] * y[..., t, i]`."""
    return ops.einsum("...i,...i->...", x, y)
