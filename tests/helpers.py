"""What tests on any backend share."""

import keras
from keras import tree


def compiled(fn):
    """`fn` as the backend's own compiler runs it.

    XLA on JAX and TensorFlow: `fit` compiles with it on a GPU, so what only
    works without it is broken. Eager on PyTorch, where compiling a loop takes
    minutes and Keras does not do it by default.

    Args:
        fn: A function of tensors and nested structures of tensors.

    Returns:
        A function that takes and returns the same.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(fn)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras keeps autograph out of `fit` too.
        return tf.function(fn, autograph=False, jit_compile=True)
    return fn


def to_numpy(structure):
    """A nested structure of tensors as one of NumPy arrays."""
    return tree.map_structure(
        lambda x: None if x is None else keras.ops.convert_to_numpy(x),
        structure,
    )
