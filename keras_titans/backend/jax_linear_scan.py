"""A linear scan on JAX: two products in a row in each step, both ways."""

import jax

from keras_titans.backend.jax_loop import loop
from keras_titans.backend.linear_scan import backward_step
from keras_titans.backend.linear_scan import forward_step
from keras_titans.backend.linear_scan import gradients


@jax.custom_vjp
def linear_scan(read, target, write, decay, state):
    """See `keras_titans.ops.linear_scan`."""
    return _scan(read, target, write, decay, state)


def _scan(read, target, write, decay, state):
    step = lambda state, x, _: forward_step(state, x)
    last, (errors, states) = loop(step, state, (read, target, write, decay))
    return errors, states, last


def _forward(read, target, write, decay, state):
    errors, states, last = _scan(read, target, write, decay, state)
    return (errors, states, last), (read, write, decay, errors, states)


def _backward(kept, upstream):
    read, write, decay, errors, states = kept
    d_errors, d_states, d_last = upstream
    d_state, (d_errors, d_after) = loop(
        lambda d_after, x, _: backward_step(d_after, x),
        d_last,
        (read, write, decay, d_errors, d_states),
        reverse=True,
    )
    return *gradients(errors, states, d_errors, d_after, decay), d_state


linear_scan.defvjp(_forward, _backward)
