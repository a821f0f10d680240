"""A linear scan on TensorFlow: two products in a row in each step, both ways.

Both directions are forward loops, so that XLA never has to stack what a loop's
own gradient would ask for. The number of chunks may be unknown until run time.
"""

import tensorflow as tf
from keras import tree

from keras_titans.backend.linear_scan import backward_step
from keras_titans.backend.linear_scan import forward_step
from keras_titans.backend.linear_scan import gradients


def linear_scan(read, target, write, decay, state):
    """See `keras_titans.ops.linear_scan`."""

    @tf.custom_gradient
    def run(read, target, write, *rest):
        *decay, state = rest
        errors = _column(target)
        states = _column(read, state)
        last, (errors, states) = _loop(
            forward_step, state, (read, target, write, decay), (errors, states)
        )

        def gradient(d_errors, d_states, d_last):
            d_state, (d_errors, d_after) = _loop(
                backward_step,
                d_last,
                (read, write, decay, d_errors, d_states),
                (_column(target), _column(read, state)),
                reverse=True,
            )
            *d_tokens, d_decay = gradients(
                errors, states, d_errors, d_after, decay
            )
            return *d_tokens, *d_decay, d_state

        return (errors, states, last), gradient

    return run(read, target, write, *decay, state)


def _column(xs, like=None):
    """What one step puts out: an array as long as `xs`."""
    shape = xs.shape[1:] if like is None else like.shape
    return tf.TensorArray(xs.dtype, _length(xs), element_shape=shape)


def _length(xs):
    return tf.shape(xs)[0] if xs.shape[0] is None else xs.shape[0]


def _loop(step, carry, xs, columns, reverse=False):
    """Fold `step(carry, x) -> (carry, ys)` over axis 0 of `xs`."""
    flat = tree.flatten(xs)
    count = _length(flat[0])
    arrays = [
        tf.TensorArray(x.dtype, count, element_shape=x.shape[1:]).unstack(x)
        for x in flat
    ]

    def body(i, carry, columns):
        at = count - 1 - i if reverse else i
        x = tree.pack_sequence_as(xs, [array.read(at) for array in arrays])
        after, ys = step(carry, x)
        columns = tuple(
            column.write(at, y) for column, y in zip(columns, ys, strict=True)
        )
        return i + 1, tf.ensure_shape(after, carry.shape), columns

    _, carry, columns = tf.while_loop(
        lambda i, *_: i < count,
        body,
        (tf.constant(0), carry, tuple(columns)),
        maximum_iterations=count,
    )
    return carry, [column.stack() for column in columns]
