"""A loop over a leading axis on JAX, in a compiled function and outside."""

import jax
import jax.numpy as jnp

# Not tuned: a layer's step runs in a small part of the time it is compiled in.
FEW_STEPS = 32


def loop(step, carry, xs, shared=(), reverse=False):
    """Fold `step(carry, x, shared) -> (carry, y)` over axis 0 of `xs`.

    Outside of a compiled function `jax.lax.scan` compiles a step that is a
    new function at every call, and keeps what it compiled: each call takes
    seconds, and after some hundreds of them the process has no room left. So
    there a few steps are run one by one, and many by a function that is
    compiled and dropped.

    Args:
        step: A pure function of its three arguments.
        carry, xs, shared: Nested tensors.
        reverse: Whether the last step comes first.

    Returns:
        The last carry, and the `y`s stacked along a new leading axis.
    """

    def scan(carry, xs, shared):
        return jax.lax.scan(
            lambda c, x: step(c, x, shared), carry, xs, reverse=reverse
        )

    if is_traced((carry, xs, shared)):
        return scan(carry, xs, shared)
    leaves, structure = jax.tree.flatten(xs)
    count = leaves[0].shape[0]
    if not 0 < count <= FEW_STEPS:
        return jax.jit(scan)(carry, xs, shared)
    steps = list(zip(*map(jnp.unstack, leaves), strict=True))
    ys = []
    for x in reversed(steps) if reverse else steps:
        carry, y = step(carry, structure.unflatten(x), shared)
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)


def is_traced(structure):
    """Whether any of it has no value yet."""
    return any(
        isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(structure)
    )
