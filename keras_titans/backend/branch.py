"""Work that is done only where it is needed."""

from keras import ops


def either(predicate, true_fn, false_fn):
    """What one of two functions returns, by a boolean scalar."""
    return ops.cond(predicate, true_fn, false_fn)


def when(flag, function, gradient, keep, tensors):
    """`function(keep, tensors)` if `flag`, else `tensors`.

    The gradient is given, because the engines' own of a branch is slow (JAX
    fills all that the branch which was not taken would have kept), or fails
    (TensorFlow, under XLA).

    Args:
        flag: What `known` returned.
        function: From a list of tensors to others of the same shapes and
            dtypes. It is linear, but for constants.
        gradient: Its gradient, likewise.
        keep: A boolean tensor for both.
        tensors: A list of floating-point tensors.
    """
    if isinstance(flag, bool):
        return function(keep, tensors) if flag else tensors
    return ops.cond(flag, lambda: function(keep, tensors), lambda: tensors)
