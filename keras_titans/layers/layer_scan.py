"""A loop whose every step calls layers."""

import keras
from keras import ops
from keras import tree

from keras_titans import backend


def layer_scan(step, variables, carry, xs, remat):
    """Fold `step(carry, x) -> (carry, y)` over axis 0 of `xs`.

    The engines' loops differentiate what they are handed and nothing that a
    step closes over. So the variables' values are handed in, and each step
    finds them where it looks for the variables. Whole numbers travel as
    floats, exact up to 2^24, because loops of gradients take no others.

    Args:
        step: A function that uses `variables` and closes over no tensor.
        variables: The variables of the layers that it calls.
        carry: Nested tensors, the same at every step.
        xs: Nested tensors with a common leading axis.
        remat: Keep only the carries for the backward pass, and recompute.

    Returns:
        The last carry, and the `y`s stacked along a new leading axis.
    """
    is_float = lambda x: keras.backend.is_float_dtype(x.dtype)
    # Those of quantized layers have no gradient, and are closed over.
    fixed = [(v, v.value) for v in variables if not is_float(v)]
    variables = [v for v in variables if is_float(v)]
    carry_dtypes, x_dtypes = (
        tree.map_structure(lambda x: x.dtype, structure)
        for structure in (carry, xs)
    )

    def body(carry, x, weights):
        mapping = [*zip(variables, weights, strict=True), *fixed]
        with keras.StatelessScope(state_mapping=mapping):
            after, y = step(_cast(carry, carry_dtypes), _cast(x, x_dtypes))
        return tree.map_structure(_float, after), y

    after, ys = backend.scan(
        body,
        tree.map_structure(_float, carry),
        tree.map_structure(_float, xs),
        [variable.value for variable in variables],
        remat,
    )
    return _cast(after, carry_dtypes), ys


def _float(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    if keras.backend.is_float_dtype(dtype):
        return x
    return ops.cast(x, "float32")


def _cast(structure, dtypes):
    return tree.map_structure(
        lambda x, dtype: ops.cast(x, keras.backend.standardize_dtype(dtype)),
        structure,
        dtypes,
    )
