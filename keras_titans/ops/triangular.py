"""Solving a unit lower-triangular system with matrix products alone.

Not with the engines' own solvers. JAX's (jaxlib 0.10, CPU) spreads a batch
over the thread pool that it runs on and waits for it there: two solves at a
time, as in a backward pass, wait for each other for ever on two cores. Others
call a BLAS whose threads fight with the engine's for the cores; and on an
accelerator substitution goes row by row.
"""

import numpy as np
from keras import ops


def solve_unit_lower(strict, rhs):
    """Solve `(I + strict) x = rhs`.

    Args:
        strict: `(..., b, b)`, zero on and above the diagonal.
        rhs: `(..., b, d)`.

    Returns:
        `(..., b, d)`.
    """

    @ops.custom_gradient
    def solve(strict, rhs):
        inverse = unit_lower_inverse(strict)
        x = ops.matmul(inverse, rhs)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            d_rhs = ops.matmul(ops.swapaxes(inverse, -1, -2), upstream)
            return -ops.matmul(d_rhs, ops.swapaxes(x, -1, -2)), d_rhs

        return x, gradient

    return solve(strict, rhs)


def unit_lower_inverse(strict):
    """The inverse of `I + strict`.

    By doubling: with the inverses `P` and `Q` of two diagonal blocks, and `R`
    below `P` and left of `Q`, the inverse of the block of both has `-Q R P`
    in the place of `R`. Exact at each step, unlike a truncated power series,
    and as accurate as substitution.

    Args:
        strict: `(..., b, b)`, zero on and above the diagonal.

    Returns:
        `(..., b, b)`.
    """
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
