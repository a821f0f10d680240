"""Training steps on PyTorch."""

import contextlib

import torch
from keras import tree

from keras_titans.backend.stepped_model import StatefulSteps


def loop(step, carry, count, keep=False):
    """`carry = step(i, carry)` for each `i` below `count`; no gradients.

    See `jax_training.loop`. Keras drops out by PyTorch's own random numbers
    here, and so they are a part of what a step starts from.
    """
    starts = []
    for i in range(count):
        if keep:
            starts.append((carry, _random_state()))
        carry = step(i, carry)

    def read(i):
        carry, random_state = starts[i]
        _set_random_state(random_state)
        return carry

    return carry, read if keep else None


@contextlib.contextmanager
def replayed():
    """What is run in here draws again what was drawn, and nothing more."""
    now = _random_state()
    try:
        yield
    finally:
        _set_random_state(now)


def _random_state():
    return torch.get_rng_state(), torch.cuda.get_rng_state_all()


def _set_random_state(state):
    torch.set_rng_state(state[0])
    torch.cuda.set_rng_state_all(state[1])


def vjp_with_aux(fn, primals):
    """The value, the vector-Jacobian product and the rest of `fn(*primals)`.

    See `jax_training.vjp_with_aux`. Not to be differentiated again.
    """
    sources = [x.detach().requires_grad_() for x in primals]
    with torch.enable_grad():
        values, aux = fn(*sources)

    def pullback(cotangents):
        pairs = [
            (value, cotangent)
            for value, cotangent in zip(values, cotangents, strict=True)
            if value.requires_grad
        ]
        return list(
            torch.autograd.grad(
                [value for value, _ in pairs],
                sources,
                [cotangent for _, cotangent in pairs],
                materialize_grads=True,
                allow_unused=True,
            )
        )

    # What is kept must not keep the graph.
    aux = tree.map_structure(
        lambda x: x.detach() if isinstance(x, torch.Tensor) else x, aux
    )
    return [x.detach() for x in values], pullback, aux


class SteppedModel(StatefulSteps):
    """`SteppedModelBase` on PyTorch."""

    def train_step(self, data):
        with torch.no_grad():
            return super().train_step(data)

    def optimized(self, values, gradients):
        self.optimizer.apply(gradients, self.trainable_variables)
        return values
