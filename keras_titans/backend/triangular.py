"""The inverse of a unit lower-triangular matrix by matrix products alone."""

import numpy as np
from keras import ops

# Below this a product is too small to gain by being halved.
LARGEST_WHOLE = 16


def unit_lower_inverse(strict):
    """See `keras_titans.ops.triangular`.

    By doubling: with the inverses `P` and `Q` of two diagonal blocks, and `R`
    below `P` and left of `Q`, the inverse of the block of both has `-Q R P`
    in the place of `R`. Exact at each step, unlike a truncated power series,
    and as accurate as substitution. Large blocks are cut out, so that nothing
    is spent on the zeros around them.
    """
    size = strict.shape[-1]
    if size <= LARGEST_WHOLE or size % 2:
        return _inverse_of_whole(strict)
    half = size // 2
    diagonal = [strict[..., :half, :half], strict[..., half:, half:]]
    first, second = ops.unstack(unit_lower_inverse(ops.stack(diagonal)), 2)
    below = ops.matmul(strict[..., half:, :half], first)
    below = -ops.matmul(second, below)
    upper = ops.concatenate([first, ops.zeros_like(first)], axis=-1)
    lower = ops.concatenate([below, second], axis=-1)
    return ops.concatenate([upper, lower], axis=-2)


def _inverse_of_whole(strict):
    """By products of the whole matrix with the blocks of a size."""
    size = strict.shape[-1]
    inverse = ops.eye(size, dtype=strict.dtype) - strict * _joints(
        size, 1, strict.dtype
    )
    block = 2
    while block < size:
        joint = strict * _joints(size, block, strict.dtype)
        inverse = inverse - ops.matmul(ops.matmul(inverse, joint), inverse)
        block *= 2
    return inverse


def _joints(size, block, dtype):
    """Ones where two neighbouring diagonal blocks of a pair meet."""
    index = np.arange(size) // block
    row, column = index[:, None], index[None, :]
    return ops.convert_to_tensor(
        (row == column + 1) & (row % 2 == 1), dtype=dtype
    )
