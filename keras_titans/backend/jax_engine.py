"""The loop and the inner gradient on JAX."""

import functools

import jax
import jax.numpy as jnp
import keras

from keras_titans.backend.jax_loop import is_traced
from keras_titans.backend.jax_loop import loop
from keras_titans.backend.rows import where_rows


def eager():
    """A scope whose operations are carried out at once."""
    return jax.ensure_compile_time_eval()


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
    return loop(step, carry, xs, shared)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _remat_scan(step, carry, xs, shared):
    return scan(step, carry, xs, shared, remat=False)


def _forward(step, carry, xs, shared):
    def body(c, x, shared):
        after, y = step(c, x, shared)
        return after, (c, y)

    last, (starts, ys) = loop(body, carry, xs, shared)
    return (last, ys), (starts, xs, shared)


def _backward(step, saved, cotangent):
    one = jax.tree.leaves(saved[1])[0].shape[0] == 1
    if one and is_traced((saved, cotangent)):
        return _hidden(
            functools.partial(_backward_loop, step), saved, cotangent
        )
    return _backward_loop(step, saved, cotangent)


def _hidden(function, *arguments):
    """`function(*arguments)` where XLA does not look.

    A loop of one step is none to XLA, which takes from the forward pass what
    is the same there, and so keeps it all. A branch it leaves alone.
    """
    surely = jax.lax.rng_uniform(0.0, 1.0, ()) < 2.0
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(function, *arguments),
    )
    return jax.lax.cond(surely, function, lambda *_: nothing, *arguments)


def _backward_loop(step, saved, cotangent):
    starts, xs, shared = saved
    d_last, d_ys = cotangent

    def body(state, item, shared):
        d_after, d_shared = state
        start, x, d_y = item
        _, pullback = jax.vjp(step, start, x, shared)
        d_start, d_x, d_here = pullback((d_after, d_y))
        return (d_start, jax.tree.map(jnp.add, d_shared, d_here)), d_x

    zeros = jax.tree.map(jnp.zeros_like, shared)
    (d_carry, d_shared), d_xs = loop(
        body, (d_last, zeros), (starts, xs, d_ys), shared, reverse=True
    )
    return d_carry, d_xs, d_shared


_remat_scan.defvjp(_forward, _backward)


def vjp(fn, *primals):
    """The value of `fn` at `primals`, and its vector-Jacobian product."""
    return jax.vjp(fn, *primals)


def where_any(rows, new, old):
    """As `where_rows`, at no cost where no row is asked for."""
    if not is_traced((rows, new, old)):
        return where_rows(rows, new, old)
    return jax.lax.cond(
        jnp.any(rows),
        lambda new, old: where_rows(rows, new, old),
        lambda new, old: old,
        new,
        old,
    )


def either(predicate, true_fn, false_fn):
    """What one of two functions returns, by a boolean scalar.

    A plain branch where the scalar has a value: JAX's own would compile both
    functions at each call.
    """
    if is_traced(predicate):
        return jax.lax.cond(predicate, true_fn, false_fn)
    return true_fn() if predicate else false_fn()


def known(flag):
    """A boolean tensor's truth; in a compiled function the tensor itself."""
    return flag if is_traced(flag) else bool(flag)


def inference(fn, variables, jit_compile):
    """A function that is compiled, and that threads may share.

    Keras' own `predict` gives the weights' buffers away while it runs and
    writes them back afterwards. This one reads them, and changes nothing.

    Args:
        fn: A function of tensors and nested structures of tensors.
        variables: The Keras variables that it reads.
        jit_compile: Whether XLA compiles it on TensorFlow. JAX always does.

    Returns:
        A function that takes and returns the same.
    """

    @jax.jit
    def run(values, args):
        mapping = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            return fn(*args)

    return lambda *args: run([variable.value for variable in variables], args)


def when(flag, function, gradient, keep, tensors):
    """See `branch.when`."""
    if isinstance(flag, bool):
        return function(keep, tensors) if flag else tensors
    return _when(function, gradient, flag, keep, tensors)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _when(function, gradient, flag, keep, tensors):
    return jax.lax.cond(flag, lambda: function(keep, tensors), lambda: tensors)


def _when_forward(function, gradient, flag, keep, tensors):
    return _when(function, gradient, flag, keep, tensors), (flag, keep)


def _when_backward(function, gradient, kept, upstream):
    return None, None, _when(gradient, function, *kept, upstream)


_when.defvjp(_when_forward, _when_backward)
