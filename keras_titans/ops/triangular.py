"""Solving a unit lower-triangular system with matrix products alone.

Not with the engines' own solvers. JAX's (jaxlib 0.10, CPU) spreads a batch
over the thread pool that it runs on and waits for it there: two solves at a
time, as in a backward pass, wait for each other for ever on two cores. Others
call a BLAS whose threads fight with the engine's for the cores; and on an
accelerator substitution goes row by row.
"""

from keras import ops

from keras_titans import backend


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
        inverse = backend.unit_lower_inverse(strict)
        x = ops.matmul(inverse, rhs)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            d_rhs = ops.matmul(ops.swapaxes(inverse, -1, -2), upstream)
            return -ops.matmul(d_rhs, ops.swapaxes(x, -1, -2)), d_rhs

        return x, gradient

    return solve(strict, rhs)
