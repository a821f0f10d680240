"""The squared error, and the seam for other objectives."""

import keras
import numpy as np
from keras import ops

from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import SquaredError
from keras_titans.memory import UpdateRule
from keras_titans.ops.chunk import Shared
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.sequence import Tokens
from keras_titans.ops.sequence import fresh_memory
from keras_titans.ops.sequence import memorize
from tests import reference
from tests.helpers import close
from tests.helpers import to_numpy
from tests.helpers import traced


class Huber(Objective):
    slope = 2.0

    def gradient(self, prediction, target):
        return ops.clip(2.0 * (prediction - target), -1.0, 1.0)


def huber(key, value, weights, network):
    """Its gradient by the weights, of the loss itself."""

    def loss(w):
        error = network(key, w) - value
        size = np.where(error.real < 0, -error, error)
        return np.sum(np.where(size.real < 0.5, error**2, size - 0.25))

    return reference.gradient(loss, weights)


def test_squared_error():
    have = SquaredError().gradient(ops.convert_to_tensor([3.0]), 1.0)
    close(have, np.array([4.0], "float32"), 1e-6)
    assert SquaredError.linear and SquaredError.slope == 2.0


def test_another_objective_equals_the_definition():
    rng = np.random.default_rng(0)
    tokens, dim, size = 9, 3, 4
    draw = lambda: rng.normal(size=(1, tokens, 1, dim))
    query, key = reference.unit(draw()), reference.unit(draw())
    value = draw()
    gate = lambda: rng.uniform(0.1, 0.9, (1, tokens, 1))
    theta, eta, alpha = gate(), gate(), gate()
    fast = MLPMemory(2, 1.4, "tanh")
    weights = [rng.normal(size=(1, *s)) for s in fast.map_shapes(dim)]
    rates = rng.uniform(0.1, 1.0, (1, 1, 1, 1))

    def run(*tensors):
        return memorize(
            Tokens(*tensors),
            fresh_memory(
                [ops.convert_to_tensor(w) for w in weights], 1, True, True
            ),
            Shared([ops.convert_to_tensor(r) for r in rates], ()),
            Recipe(fast, Huber(), UpdateRule(), "chunk", size),
        )

    tensors = query, key, value, theta, np.log(eta), np.log(1 - alpha)
    read, _, memory = traced(run)(*map(ops.convert_to_tensor, tensors))

    w = [x[0] for x in weights]
    s = [np.zeros_like(x) for x in w]
    clipped = False
    for t in range(tokens):
        if t % size == 0:
            anchor = w
        k, v = key[0, t, 0], value[0, t, 0]
        clipped |= bool(np.any(abs(reference.mlp(k, anchor) - v) > 0.5))
        g = huber(k, v, anchor, reference.mlp)
        for m, rate in enumerate((rates.item(), 1.0)):
            s[m] = eta[0, t, 0] * s[m] - theta[0, t, 0] * rate * g[m]
        w = [(1 - alpha[0, t, 0]) * x + y for x, y in zip(w, s)]
        wanted = reference.mlp(query[0, t, 0], w)
        close(to_numpy(read)[0, t, 0], wanted, 1e-10)
    assert clipped, "the objective was only ever a square"
    for m, x in enumerate(w):
        close(to_numpy(memory.memory[m])[0, 0], x, 1e-10)


def test_config_round_trip():
    config = keras.saving.serialize_keras_object(SquaredError())
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, SquaredError)
