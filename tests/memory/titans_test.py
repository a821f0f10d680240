"""What numbers, gates and None mean; bounds; configurations; errors.

The equations are held to the definition in `tests/ops/recurrence_test.py`.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.memory import Gate
from keras_titans.memory import Spread
from keras_titans.memory import Titans
from tests.helpers import close
from tests.helpers import to_numpy
from tests.reference import theta_eta_alpha

NAMES = ("learning_rate", "momentum", "forgetting")


def largest_growth(rule, length):
    """Of a matrix memory at one key, over all cycles of saturated gates.

    Each token maps (W, S) linearly; a cycle's growth is the spectral radius
    of the product of its tokens' maps.
    """
    corners = np.array(list(itertools.product([-40.0, 40.0], repeat=3)))
    logits = dict(zip(NAMES, corners.T, strict=True))
    theta, eta, alpha = theta_eta_alpha(rule, logits, len(corners))
    steps = np.zeros((len(corners), 2, 2))
    steps[:, 0, 0] = 1 - alpha - 2.0 * theta
    steps[:, 0, 1] = steps[:, 1, 1] = eta
    steps[:, 1, 0] = -2.0 * theta
    cycles, largest = np.eye(2)[None], 0.0
    for _ in range(length):
        cycles = (steps[:, None] @ cycles).reshape(-1, 2, 2)
        radius = np.abs(np.linalg.eigvals(cycles)).max()
        largest = max(largest, radius)
    return largest


@pytest.mark.parametrize(
    "rule", [Titans(), Titans(Gate(maximum=0.1), momentum=Gate(maximum=0.9))]
)
def test_no_cycle_of_gates_makes_a_memory_grow(rule):
    assert largest_growth(rule, 5) < 1.0 + 1e-9


def test_a_long_and_strong_momentum_can_make_a_memory_grow():
    assert largest_growth(Titans(momentum=Gate(maximum=0.9)), 5) > 2.0


def test_a_number_is_a_constant():
    """What Keras' `SGD(learning_rate=0.01, momentum=0.9)` says."""
    rule = Titans(learning_rate=0.01, momentum=0.9, forgetting=0.1)
    assert rule.gates == {
        "learning_rate": 0.01,
        "momentum": 0.9,
        "forgetting": 0.1,
    }
    assert not any(isinstance(gate, Gate) for gate in rule.gates.values())


@pytest.mark.parametrize("off", [None, 0, 0.0])
def test_what_is_off(off):
    rule = Titans(momentum=off, forgetting=off)
    assert list(rule.gates) == ["learning_rate"]
    assert set(rule.initial_state([np.zeros(1)])) == {"memory"}


def test_clipnorm_scales_large_gradients_down():
    scale = Titans(clipnorm=2.0).scale_of(ops.convert_to_tensor([8.0, 1.0]))
    close(scale, np.array([0.25, 1.0], "float32"), 1e-6)
    assert Titans().scale_of(None) is None


def test_the_write_regularizer_is_of_the_learning_rate():
    rule = Titans(write_regularizer=keras.regularizers.L2(0.5))
    gates = {"learning_rate": ops.convert_to_tensor([[[0.5, 1.0]]])}
    assert float(to_numpy(rule.write_cost(gates))) == pytest.approx(0.625)
    assert rule.has_write_cost and not Titans().has_write_cost


@pytest.mark.parametrize(
    "rule",
    [
        Titans(),
        Titans(0.2, None, Gate(initial=Spread(0.1, 0.2)), False, "zero", 2.0),
        Titans(Gate(0.3, threshold=0.2), 0.9, write_regularizer="l1"),
    ],
)
def test_config_round_trip(rule):
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(rule)
    )
    assert again.get_config() == rule.get_config()
    for name in NAMES:
        assert type(getattr(again, name)) is type(getattr(rule, name))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"learning_rate": None}, "`learning_rate`.*number or a `Gate`"),
        ({"learning_rate": True}, "`learning_rate`.*Received.*True"),
        ({"learning_rate": 0}, "`learning_rate`"),
        ({"learning_rate": -0.1}, "`learning_rate`"),
        ({"momentum": True}, "`momentum`.*None for off"),
        ({"momentum": 1.0}, "`momentum`.*below 1"),
        ({"momentum": Gate(maximum=1.5)}, "`momentum`.*at most 1"),
        ({"forgetting": "yes"}, "`forgetting`"),
        ({"forgetting": float("nan")}, "`forgetting`"),
        ({"forget_to": "start"}, "`forget_to`"),
        ({"clipnorm": 0}, "`clipnorm`"),
        ({"write_regularizer": "l3"}, "`write_regularizer`"),
        (
            {"learning_rate": 0.1, "write_regularizer": "l1"},
            "`write_regularizer`.*`Gate`.*learning_rate=0.1",
        ),
    ],
)
def test_bad_arguments_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        Titans(**options)
