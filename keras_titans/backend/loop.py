"""A loop that nobody differentiates, as often as is known only at run time."""

from keras import ops


def repeat(step, carry, count):
    """`carry = step(i, carry)` for each `i` below `count`.

    For inference: JAX differentiates no loop of unknown length. Where there
    is a gradient, `scan` is the loop.

    Args:
        step: A function of a whole number, int32, and the carry.
        carry: Nested tensors, the same at every step.
        count: An int32 tensor, or a number.

    Returns:
        The last carry.
    """
    _, carry = ops.while_loop(
        lambda i, _: i < count,
        lambda i, carry: (i + 1, step(i, carry)),
        (ops.convert_to_tensor(0, "int32"), carry),
    )
    return carry
