"""Rows of a batch from one of two places."""

from keras import ops
from keras import tree


def where_rows(rows, new, old):
    """`new` in some rows and `old` in the others.

    Args:
        rows: `(batch,)`, boolean.
        new, old: Nested tensors with the batch on axis 0.
    """
    return tree.map_structure(
        lambda a, b: ops.where(
            ops.reshape(rows, (-1, *[1] * (len(a.shape) - 1))), a, b
        ),
        new,
        old,
    )


def with_rows(x, batch_size, message):
    """`x` itself: its shape is known before any work."""
    return x


def split_last(x, width):
    """The first `width` entries of the last axis, and the others."""
    return ops.split(x, [width], axis=-1)
