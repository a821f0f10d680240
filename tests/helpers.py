"""What tests on any backend share."""

import hypothesis
import keras
import numpy as np
from keras import tree

# What float32 leaves of equality behind the steep gates of random weights;
# float64 agrees to 1e-14.
ROUNDING = 1e-4

# For properties of layers: each example is compiled where an engine compiles.
few_examples = hypothesis.settings(
    max_examples=8 if keras.backend.backend() == "torch" else 3
)


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


def traced(fn):
    """`fn` traced once for each shape where an eager loop is slow.

    JAX compiles a loop outside `jit` each time, TensorFlow traces it. Eager
    on PyTorch. Arguments may be nested structures, None and keywords.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(fn)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(
            lambda *args, **kwargs: fn(*args, **kwargs), autograph=False
        )
    return fn


def close(have, want, tolerance):
    """Nested arrays are finite, and equal within a share of their size."""
    tree.map_structure(
        lambda a, b: _close(a, b, tolerance), to_numpy(have), to_numpy(want)
    )


def _close(have, want, tolerance):
    assert have.shape == want.shape
    assert np.all(np.isfinite(have))
    scale = max(1.0, np.max(np.abs(want), initial=0.0))
    assert np.max(np.abs(have - want), initial=0.0) <= tolerance * scale


def same(have, want):
    """Nested arrays are equal to the last bit."""
    tree.map_structure(
        lambda a, b: np.testing.assert_array_equal(a, b, strict=True),
        to_numpy(have),
        to_numpy(want),
    )


def randomized(layer, seed=0, scale=0.3):
    """Move every weight off its start, so that none hides behind a 0 or 1."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        start = keras.ops.convert_to_numpy(weight.value)
        weight.assign(start + scale * rng.normal(size=start.shape))
    return layer


def layer_weights(layer):
    """A layer's weights by their path below it, in float64."""
    return {
        weight.path.split(f"{layer.name}/", 1)[1]: np.array(
            keras.ops.convert_to_numpy(weight.value), "float64"
        )
        for weight in layer.weights
    }


def gradients(layer, loss, *args, **kwargs):
    """`loss(layer(...))` and its gradients by the layer's trainable weights.

    Returns:
        A number, and an array, or None for no gradient, for each weight.
    """
    backend = keras.backend.backend()
    weights = layer.trainable_variables
    if backend == "jax":
        import jax

        def run(values):
            result, _ = layer.stateless_call(
                values, layer.non_trainable_variables, *args, **kwargs
            )
            return loss(result)

        value, found = jax.jit(jax.value_and_grad(run))(
            [w.value for w in weights]
        )
    elif backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(layer(*args, **kwargs))
        found = tape.gradient(value, [w.value for w in weights])
    else:
        layer.zero_grad()
        value = loss(layer(*args, **kwargs))
        value.backward()
        found = [w.value.grad for w in weights]
    return float(to_numpy(value)), to_numpy(found)


def check_gradients(layer, loss, *args, **kwargs):
    """Hold a float64 layer's gradients in training to finite differences.

    Every trainable weight must have one, and is moved on its own, so that a
    small one's error shows.
    """
    _, found = gradients(layer, loss, *args, training=True, **kwargs)
    weights = layer.trainable_variables
    start = to_numpy([w.value for w in weights])
    assert not layer.non_trainable_variables

    @traced
    def at(values):
        results, _ = layer.stateless_call(values, [], *args, **kwargs)
        return loss(results)

    rng = np.random.default_rng(1)
    step = 1e-6
    for i, (weight, g) in enumerate(zip(weights, found, strict=True)):
        assert g is not None, f"nothing reaches {weight.path}"
        assert np.abs(g).max() > 1e-6, f"nothing reaches {weight.path}"
        direction = rng.normal(size=g.shape)

        def slope(by):
            values = []
            for way in (by, -by):
                moved = list(start)
                moved[i] = start[i] + way * direction
                moved = [keras.ops.convert_to_tensor(w) for w in moved]
                values.append(float(to_numpy(at(moved))))
            return (values[0] - values[1]) / (2 * by)

        # Two steps, so that a bend of third order does not show.
        found_slope = (4 * slope(step) - slope(2 * step)) / 3
        wanted = np.sum(g * direction)
        size = max(1.0, np.abs(wanted))
        assert abs(found_slope - wanted) < 1e-6 * size, weight.path


def gradient(fn, arguments):
    """Of a function of nested structures to a number, on any backend."""
    flat = tree.flatten(arguments)
    packed = lambda flat: fn(*tree.pack_sequence_as(arguments, list(flat)))
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.grad(packed)(flat)
    if name == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(flat)
            value = packed(flat)
        return tape.gradient(value, flat)
    import torch

    flat = [x.detach().requires_grad_() for x in flat]
    return list(torch.autograd.grad(packed(flat), flat))
