"""Training steps on TensorFlow."""

import tensorflow as tf
from keras import tree

from keras_titans.backend.stepped_model import StatefulSteps


def loop(step, carry, count, keep=False):
    """`carry = step(i, carry)` for each `i` below `count`; no gradients.

    See `jax_training.loop`. The number of steps may be unknown until run time.
    """
    carry = tree.map_structure(tf.convert_to_tensor, carry)
    starts = ()
    if keep:
        starts = tuple(
            tf.TensorArray(x.dtype, count, element_shape=x.shape)
            for x in tree.flatten(carry)
        )

    def body(i, carry, starts):
        starts = tuple(
            array.write(i, x)
            for array, x in zip(starts, tree.flatten(carry) if keep else ())
        )
        after = tree.map_structure(
            lambda x, like: tf.ensure_shape(x, like.shape),
            step(i, carry),
            carry,
        )
        return i + 1, after, starts

    _, last, starts = tf.while_loop(
        lambda i, *_: i < count, body, (tf.constant(0), carry, starts)
    )
    if not keep:
        return last, None
    return last, lambda i: tree.pack_sequence_as(
        carry, [array.read(i) for array in starts]
    )


def vjp_with_aux(fn, primals):
    """The value, the vector-Jacobian product and the rest of `fn(*primals)`.

    See `jax_training.vjp_with_aux`.
    """
    # Without a graph, one tensor in two places would count twice.
    primals = [tf.identity(x) for x in primals]
    with tf.GradientTape() as tape:
        tape.watch(primals)
        values, aux = fn(*primals)

    def pullback(cotangents):
        found = tape.gradient(
            values,
            primals,
            output_gradients=list(cotangents),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [tf.convert_to_tensor(x) for x in found]  # dense

    return values, pullback, aux


class SteppedModel(StatefulSteps):
    """`SteppedModelBase` on TensorFlow."""

    def weights_of(self, values):
        return [tf.convert_to_tensor(v.value) for v in self.trainable_variables]

    def _values(self):
        return tree.map_structure(tf.convert_to_tensor, super()._values())

    def replicas(self):
        return tf.distribute.get_strategy().num_replicas_in_sync

    def optimized(self, values, gradients):
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return values
