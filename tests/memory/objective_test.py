"""The objectives: each gradient is that of its loss; the seam for others."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.memory import Huber
from keras_titans.memory import LpError
from keras_titans.memory import Objective
from keras_titans.memory import SquaredError
from keras_titans.memory import Titans
from keras_titans.ops.recurrence import recurrence
from keras_titans.ops.sequence import memorize
from tests.helpers import close
from tests.helpers import to_numpy
from tests.memory_case import Case
from tests.reference import gradient

PREDICTION, TARGET = np.random.default_rng(0).normal(size=(2, 5, 3))


def huber(error, delta):
    size = np.sqrt(np.sum(error**2))
    if size.real <= delta:
        return size**2
    return 2 * delta * size - delta**2


LOSSES = {
    "squared": (SquaredError(), lambda e: np.sum(e**2), 1e-12),
    "huber": (Huber(1.5), lambda e: huber(e, 1.5), 1e-12),
    # Smoothed at 0, and exact away from it.
    "cubic": (
        LpError(3, sharpness=1e3),
        lambda e: np.sum((e * np.sign(e.real)) ** 3),
        1e-4,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_the_loss(name):
    objective, loss, tolerance = LOSSES[name]
    have = objective.gradient(*map(ops.convert_to_tensor, (PREDICTION, TARGET)))
    want = [
        gradient(lambda p, t=t: loss(p[0] - TARGET[t]), [PREDICTION[t]])[0]
        for t in range(len(TARGET))
    ]
    close(have, np.stack(want), tolerance)


def test_an_error_of_0_has_a_finite_gradient():
    zero = ops.zeros((2, 3))
    for objective, *_ in LOSSES.values():
        assert np.all(to_numpy(objective.gradient(zero, zero)) == 0.0)


class Clipped(Objective):
    slope = 2.0

    def gradient(self, prediction, target):
        return ops.clip(2.0 * (prediction - target), -1.0, 1.0)


@pytest.mark.parametrize("objective", [Huber(0.5), LpError(), Clipped()])
def test_the_chunks_equal_the_loop(objective):
    case = Case("mlp2-unit", Titans(), "chunk", objective=objective)
    through = lambda function: case.run(
        function, case.arrays(), return_norms=True
    )
    read, norms, memory = through(memorize)
    want, want_norms, want_memory = through(recurrence)
    squared = case.definition()[0]
    assert np.abs(to_numpy(want) - squared).max() > 1e-3
    close((read, norms), (want, want_norms), 1e-10)
    close(memory.state, want_memory.state, 1e-10)


@pytest.mark.parametrize("objective", [SquaredError(), Huber(0.3), LpError(4)])
def test_config_round_trip(objective):
    config = keras.saving.serialize_keras_object(objective)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(objective)
    assert again.get_config() == objective.get_config()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`delta`"):
        Huber(delta=0)
    with pytest.raises(ValueError, match="`p`"):
        LpError(p=0.5)
