"""What a memory pays in training for what it writes."""

from keras import ops

from keras_titans.layers.watching import WITH_GATES
from keras_titans.layers.watching import memory_in


def pays(layer, options):
    """Whether a call's writes cost anything: see `UpdateRule.write_cost`."""
    return (
        layer.has_memory
        and memory_in(layer).write_cost > 0.0
        and bool(options["training"])
        and options["update"]
    )


def paying(layer, x, mask, state, aligned, options):
    """As a layer's `mixed`, but what its memory writes is added to the loss.

    The gates come out of whatever loop the memory is in with the surprises,
    so the loss is added outside of it, where Keras hears of it.
    """
    memory = memory_in(layer)
    asked = options["return_surprise"]
    options = {**options, "return_surprise": _with_gates(asked)}
    outputs, told, after = layer.mixed(x, mask, state, aligned, options)
    layer.add_loss(memory.cost_of_writing(told, mask))
    width = memory.surprise_width(asked)
    return outputs, told[..., :width] if width else None, after


def mean_over_tokens(values, mask):
    """The mean of `(batch, length, heads)` over tokens and heads.

    Over real tokens, that is, and of these over the finite ones.
    """
    values = ops.mean(values, axis=-1)
    keep = ops.isfinite(values)
    if mask is not None:
        keep = ops.logical_and(keep, mask)
    values = ops.where(keep, values, 0.0)
    count = ops.sum(ops.cast(keep, values.dtype))
    return ops.divide_no_nan(ops.sum(values), count)


def _with_gates(asked):
    return asked if isinstance(asked, str) else WITH_GATES
