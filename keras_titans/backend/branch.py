"""Work that is done only where it is needed."""

from keras import ops


def either(predicate, true_fn, false_fn):
    """What one of two functions returns, by a boolean scalar."""
    return ops.cond(predicate, true_fn, false_fn)


def when(flag, function, tensors, transpose):
    """`function(tensors)` if `flag`, else `tensors`.

    Args:
        flag: What `known` returned.
        function: A linear function from a list of tensors to others of the
            same shapes and dtypes.
        tensors: A list of floating-point tensors.
        transpose: The function's gradient, from a list to a list. TensorFlow
            needs it: under XLA it cannot differentiate a branch.
    """
    if isinstance(flag, bool):
        return function(tensors) if flag else tensors
    return ops.cond(flag, lambda: function(tensors), lambda: tensors)
