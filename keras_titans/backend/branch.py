"""Work that is done only where it is needed."""

from keras import ops


def either(predicate, true_fn, false_fn):
    """What one of two functions returns, by a boolean scalar."""
    return ops.cond(predicate, true_fn, false_fn)


def when(flag, function, tensors):
    """`function(tensors)` if `flag`, else `tensors`.

    Args:
        flag: What `known` returned.
        function: From nested tensors to others of the same shapes and dtypes.
        tensors: Nested tensors.
    """
    if isinstance(flag, bool):
        return function(tensors) if flag else tensors
    return ops.cond(flag, lambda: function(tensors), lambda: tensors)
