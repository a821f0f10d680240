"""The loop and the inner gradient on PyTorch."""

import contextlib

import keras
import torch
from keras import tree
from torch.utils.checkpoint import checkpoint

from keras_titans.backend.triangular import (
    unit_lower_inverse as inverse_by_products,
)


@contextlib.contextmanager
def eager():
    """A scope whose operations are carried out at once."""
    # While Keras infers shapes, tensors are without values, on "meta".
    with torch.no_grad(), keras.device("cpu"):
        yield


def scan(step, carry, xs, shared=(), remat=True):
    """Fold `step(carry, x, shared) -> (carry, y)` over axis 0 of `xs`.

    See `jax_engine.scan` for the arguments. A Python loop: PyTorch's own
    checkpointing drops what lies between two carries.
    """
    if remat and torch.is_grad_enabled():
        body = _checkpointed(step)
    else:
        body = step
    # One unbind, not n slices: each slice's gradient would be a full array.
    columns = [x.unbind(0) for x in tree.flatten(xs)]
    ys = []
    for row in zip(*columns, strict=True):
        carry, y = body(carry, tree.pack_sequence_as(xs, list(row)), shared)
        ys.append(tree.flatten(y))
        structure = y
    stacked = [torch.stack(column) for column in zip(*ys, strict=True)]
    return carry, tree.pack_sequence_as(structure, stacked)


def _checkpointed(step):
    def body(carry, x, shared):
        return checkpoint(
            step,
            carry,
            x,
            shared,
            use_reentrant=False,
            preserve_rng_state=False,
        )

    return body


def vjp(fn, *primals):
    """The value of `fn` at `primals`, and its vector-Jacobian product.

    Not `torch.func.vjp`, which does not work under a checkpoint.
    """
    differentiable = torch.is_grad_enabled()

    def source(x):
        if differentiable and x.requires_grad:
            return x
        return x.detach().requires_grad_()

    with torch.enable_grad():
        sources = [source(x) for x in primals]
        value = fn(*sources)

    def pullback(cotangent):
        return torch.autograd.grad(
            value,
            sources,
            cotangent,
            create_graph=differentiable,
            retain_graph=True,
            materialize_grads=True,
            allow_unused=True,
        )

    return value, pullback


def unit_lower_inverse(strict):
    """See `keras_titans.ops.triangular`.

    On a CPU by substitution, which takes a tenth of the time of the products.
    """
    if strict.device.type != "cpu":
        return inverse_by_products(strict)
    one = torch.eye(strict.shape[-1], dtype=strict.dtype, device=strict.device)
    return torch.linalg.solve_triangular(
        strict, one, upper=False, unitriangular=True
    )


def split_last(x, width):
    """See `rows.split_last`. Keras' own reads a tensor's values for it."""
    return x.split([width, x.shape[-1] - width], dim=-1)


def known(flag):
    """A boolean tensor's truth; True where the program must not depend on it.

    What is compiled or exported has no branches, and does all the work.
    """
    fixed = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return True if fixed or flag.is_meta else bool(flag)


def inference(fn, variables, jit_compile):
    """A function that keeps nothing for gradients. Threads may share it.

    See `jax_engine.inference` for the arguments. Nothing is compiled, as in
    Keras' own `predict` on PyTorch.
    """
    return torch.no_grad()(fn)
