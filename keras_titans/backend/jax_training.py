"""Training steps on JAX."""

import jax
import keras
from keras import ops
from keras import tree

from keras_titans.backend.stepped_model import SteppedModelBase
from keras_titans.backend.stepped_model import Values


def loop(step, carry, count, keep=False):
    """`carry = step(i, carry)` for each `i` below `count`; no gradients.

    Args:
        step: A function of a whole number and the carry.
        carry: Nested tensors of any dtype, the same at every step.
        count: How many steps.
        keep: Whether to keep what each step starts from.

    Returns:
        The last carry; and a function from `i` to the carry that step `i`
        started from, or None.
    """
    if not keep:
        return jax.lax.fori_loop(0, count, step, carry), None

    def body(carry, i):
        return step(i, carry), carry

    last, starts = jax.lax.scan(body, carry, jax.numpy.arange(count))
    return last, lambda i: jax.tree.map(lambda x: x[i], starts)


def vjp_with_aux(fn, primals):
    """The value, the vector-Jacobian product and the rest of `fn(*primals)`.

    Args:
        fn: A function of float tensors to a list of float tensors, and
            anything else.
        primals: A list of float tensors.

    Returns:
        The list; a function from as many cotangents to a list of the
        primals'; and the rest.
    """
    values, pullback, aux = jax.vjp(fn, *primals, has_aux=True)
    return values, lambda cotangents: list(pullback(list(cotangents))), aux


class SteppedModel(SteppedModelBase):
    """`SteppedModelBase` on JAX."""

    def train_step(self, state, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        values = Values(*(list(part) for part in state))
        values = self.train_on_values(values, x, y, sample_weight)
        return self._logs(values), tuple(values)

    def test_step(self, state, data):
        trainable, non_trainable, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        values = Values(list(trainable), list(non_trainable), [], list(metrics))
        values = self.test_on_values(values, x, y, sample_weight)
        return self._logs(values), (
            values.trainable,
            values.non_trainable,
            values.metrics,
        )

    def predict_step(self, state, data):
        trainable, non_trainable = state
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        values = Values(list(trainable), list(non_trainable), [], [])
        return self.predict_on_values(values, x), non_trainable

    def weights_of(self, values):
        return values.trainable

    def optimized(self, values, gradients):
        trainable, optimizer = self.optimizer.stateless_apply(
            values.optimizer, gradients, values.trainable
        )
        return values._replace(
            trainable=list(trainable), optimizer=list(optimizer)
        )

    def gradient_scale(self, values):
        mapping = list(zip(self.optimizer.variables, values.optimizer))
        with keras.StatelessScope(state_mapping=mapping):
            return self.optimizer.scale_loss(ops.ones(()))

    def for_metrics(self, outputs, training):
        # Keras takes the gradient around the outputs here, where masks go.
        return tree.map_structure(ops.copy, outputs) if training else outputs

    def _logs(self, values):
        mapping = list(zip(self.metrics_variables, values.metrics))
        with keras.StatelessScope(state_mapping=mapping):
            return self.get_metrics_result()
