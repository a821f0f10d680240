"""What a memory pays in training for what it writes."""

from keras import ops

from keras_titans.layers.watching import memory_in


def pays(layer, options):
    """Whether a call's writes cost anything: see `Titans`."""
    return (
        layer.has_memory
        and memory_in(layer).has_write_cost
        and bool(options["training"])
        and options["update"]
    )


def paying(layer, x, mask, state, aligned, options):
    """As a layer's `mixed`, but what its memory writes is added to the loss.

    The gates come out of whatever loop the memory is in with the diagnostics,
    so the loss is added outside of it, where Keras hears of it.
    """
    memory = memory_in(layer)
    asked = options["return_diagnostics"]
    options = {**options, "return_diagnostics": True}
    outputs, diagnostics, after = layer.mixed(x, mask, state, aligned, options)
    layer.add_loss(memory.cost_of_writing(diagnostics, mask))
    return outputs, diagnostics if asked else None, after


def cost_of_writing(rule, gates, mask):
    """The rule's cost of a call, over the number of tokens and heads.

    Of real tokens, that is, and of these of the finite ones.

    Args:
        rule: An update rule with a `write_cost`.
        gates: The gates' values by name, `(batch, length, heads)`.
        mask: `(batch, length)`, boolean, or None.
    """
    gate = next(iter(gates.values()))
    keep = ops.all(ops.isfinite(gate), axis=-1)
    if mask is not None:
        keep = ops.logical_and(keep, mask)
    gates = {
        name: ops.where(keep[..., None], gate, 0.0)
        for name, gate in gates.items()
    }
    count = ops.sum(ops.cast(keep, gate.dtype)) * gate.shape[-1]
    return ops.divide_no_nan(rule.write_cost(gates), count)
