"""Compiled by each backend's compiler, and lowered for other devices."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from tests.helpers import close
from tests.helpers import to_numpy

BACKEND = keras.backend.backend()
ROWS, TOKENS, WIDTH = 2, 10, 4
X = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
X = X.astype("float32")
ANCHORS = pytest.mark.parametrize("anchor", ["token", "chunk"])


def model_of(anchor, length=TOKENS, **options):
    x = keras.Input((length, WIDTH))
    layer = NeuralMemory(2, 2, chunk_size=4, anchor=anchor, **options)
    return keras.Model(x, layer(x))


def trained(anchor, jit_compile, length=TOKENS, **options):
    """The losses of a few steps, and what is then predicted."""
    keras.utils.set_random_seed(0)
    model = model_of(anchor, length, **options)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    loss = model.fit(X, np.roll(X, 1, axis=1), epochs=3, verbose=0)
    return np.array(loss.history["loss"]), model.predict(X, verbose=0)


@ANCHORS
def test_fit_compiled_equals_fit_eager(anchor):
    for have, want in zip(trained(anchor, True), trained(anchor, False)):
        close(have, want, 1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own")
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("length", [TOKENS, None], ids=["static", "dynamic"])
@ANCHORS
def test_tensorflow_functions(anchor, length, xla):
    import tensorflow as tf

    layer = NeuralMemory(2, 2, chunk_size=4, anchor=anchor, return_state=True)
    layer.build((None, None, WIDTH))

    def step(x, mask, training):
        with tf.GradientTape() as tape:
            y, state = layer(x, mask=mask, training=training)
            loss = tf.reduce_sum(y * y) + tf.reduce_sum(state["memory"][0])
        weights = [w.value for w in layer.trainable_variables]
        return y, state, tape.gradient(loss, weights)

    mask = np.random.default_rng(1).random(X.shape[:2]) > 0.3
    run = tf.function(
        lambda x, mask: step(x, mask, True),
        jit_compile=xla,
        autograph=False,
        input_signature=[
            tf.TensorSpec((ROWS, length, WIDTH), "float32"),
            tf.TensorSpec((ROWS, length), "bool"),
        ],
    )
    for tokens in (TOKENS,) if length else (TOKENS, 3):
        some = X[:, :tokens], mask[:, :tokens]
        close(run(*some), step(*some, False), 1e-4)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX can lower for any device")
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@ANCHORS
def test_train_step_lowers_for_other_devices(anchor, platform):
    import jax
    import jax.export

    model = model_of(anchor)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    def loss(weights, others, x):
        y, others = model.stateless_call(weights, others, x, training=True)
        return ((y - x) ** 2).mean(), others

    def step(weights, others, slots, x):
        grad = jax.value_and_grad(loss, has_aux=True)
        (value, others), found = grad(weights, others, x)
        weights, slots = optimizer.stateless_apply(slots, found, weights)
        return value, weights, others, slots

    values = lambda variables: [v.value for v in variables]
    arguments = (
        values(model.trainable_variables),
        values(model.non_trainable_variables),
        values(optimizer.variables),
        X,
    )
    exported = jax.export.export(jax.jit(step), platforms=[platform])(
        *arguments
    )
    assert exported.platforms == (platform,)
    assert "custom_call" not in exported.mlir_module(), "tied to a library"
    assert np.isfinite(float(to_numpy(jax.jit(step)(*arguments)[0])))
