"""A part of a layer that keeps nothing for the backward pass."""

from keras import ops
from keras import tree

from keras_titans.layers.layer_scan import layer_scan


def recomputed(function, layers):
    """`function`, computed again in the backward pass, from its arguments.

    Args:
        function: From tensors to nested floating-point tensors. It calls
            `layers` and closes over no other tensor.
        layers: Layers that are built.

    Returns:
        A function of the same tensors.
    """
    variables = [v for layer in layers for v in layer.variables]

    def once(*tensors):
        step = lambda carry, xs: (carry, function(*xs))
        xs = [x[None] for x in tensors]
        nothing = ops.zeros(())  # which TensorFlow's loop asks for
        _, results = layer_scan(step, variables, nothing, xs, remat=True)
        return tree.map_structure(lambda x: x[0], results)

    return once
