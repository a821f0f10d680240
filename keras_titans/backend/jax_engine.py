"""The loop and the inner gradient on JAX."""

import functools

import jax
import jax.numpy as jnp

from keras_titans.backend.rows import where_rows


def scan(step, carry, xs, shared=(), remat=True):
    """Fold `step(carry, x, shared) -> (carry, y)` over axis 0 of `xs`.

    Args:
        step: A pure function of its three arguments. It closes over no tensor.
        carry: Nested floating-point tensors, the same at every step.
        xs: Nested floating-point tensors with a common leading axis.
        shared: Nested floating-point tensors that every step sees whole.
        remat: Keep only the carries for the backward pass, and recompute.

    Returns:
        The last carry, and the `y`s stacked along a new leading axis.
    """
    if remat:
        return _remat_scan(step, carry, xs, shared)
    return jax.lax.scan(lambda c, x: step(c, x, shared), carry, xs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _remat_scan(step, carry, xs, shared):
    return scan(step, carry, xs, shared, remat=False)


def _forward(step, carry, xs, shared):
    def body(c, x):
        after, y = step(c, x, shared)
        return after, (c, y)

    last, (starts, ys) = jax.lax.scan(body, carry, xs)
    return (last, ys), (starts, xs, shared)


def _backward(step, saved, cotangent):
    starts, xs, shared = saved
    d_last, d_ys = cotangent

    def body(state, item):
        d_after, d_shared = state
        start, x, d_y = item
        _, pullback = jax.vjp(step, start, x, shared)
        d_start, d_x, d_here = pullback((d_after, d_y))
        return (d_start, jax.tree.map(jnp.add, d_shared, d_here)), d_x

    zeros = jax.tree.map(jnp.zeros_like, shared)
    (d_carry, d_shared), d_xs = jax.lax.scan(
        body, (d_last, zeros), (starts, xs, d_ys), reverse=True
    )
    return d_carry, d_xs, d_shared


_remat_scan.defvjp(_forward, _backward)


def vjp(fn, *primals):
    """The value of `fn` at `primals`, and its vector-Jacobian product."""
    return jax.vjp(fn, *primals)


def where_any(rows, new, old):
    """As `where_rows`, at no cost where no row is asked for."""
    return jax.lax.cond(
        jnp.any(rows),
        lambda new, old: where_rows(rows, new, old),
        lambda new, old: old,
        new,
        old,
    )
