"""The gates' formulas, their starts and switches."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.memory import UpdateRule
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy
from tests.reference import sigmoid

LOGITS = {
    "learning_rate": np.array([-2.0, 0.0, 1.5]),
    "momentum": np.array([0.5, -1.0, 3.0]),
    "forgetting": np.array([-4.0, 1.0, 0.0]),
}
RATE, ETA, ALPHA = (sigmoid(z) for z in LOGITS.values())
KEEP = 1.0 - ALPHA


def above(rate, threshold):
    return np.maximum(rate - threshold, 0.0) / (1.0 - threshold)


def gates(slope=2.0, **options):
    rule = UpdateRule(**options)
    logits = {
        name: ops.convert_to_tensor(LOGITS[name])
        for name in rule.initial_logits()
    }
    return rule.gates(logits, slope)


def test_normalised_learning_rate():
    theta, log_eta, log_keep = gates(
        max_learning_rate=0.8, max_momentum=0.9, slope=3.0
    )
    close(theta, 0.8 * RATE * (1 - 0.9 * ETA) * KEEP / 3.0, 1e-12)
    close(log_eta, np.log(0.9 * ETA), 1e-12)
    close(log_keep, np.log(KEEP), 1e-12)
    theta, *_ = gates(forget_first=True)
    close(theta, RATE * (1 - 0.5 * ETA) / 2.0, 1e-12)


def test_the_papers_learning_rate():
    theta, *_ = gates(max_learning_rate=0.8, normalize_learning_rate=False)
    close(theta, 0.8 * RATE, 1e-12)


def test_what_is_below_the_threshold_is_not_written():
    theta, *_ = gates(
        momentum=False, forgetting=False, slope=1.0, write_threshold=0.5
    )
    close(theta, above(RATE, 0.5), 1e-12)
    theta = ops.convert_to_numpy(theta)
    assert theta[0] == 0.0 and theta[1] == 0.0 and theta[2] > 0.6


def test_a_closed_gate_hears_what_opening_would_bring():
    rule = UpdateRule(
        momentum=False,
        forgetting=False,
        max_learning_rate=0.8,
        write_threshold=0.1,
    )
    theta = lambda z: rule.gates({"learning_rate": z}, 2.0)[0]
    z = np.array([-4.0, 1.5])
    assert to_numpy(theta(ops.convert_to_tensor(z)))[0] == 0.0
    slope = 0.8 / 0.9 / 2.0 * sigmoid(z) * (1.0 - sigmoid(z))
    (have,) = gradient(lambda z: ops.sum(theta(z)), [ops.convert_to_tensor(z)])
    close(have, slope, 1e-12)


def test_switched_off():
    theta, log_eta, log_keep = gates(momentum=False, forgetting=False)
    close(theta, RATE / 2.0, 1e-12)
    assert log_eta is None and log_keep is None
    theta, *_ = gates(learning_rate=False, max_learning_rate=0.8)
    close(theta, 0.8 * (1 - 0.5 * ETA) * KEEP / 2.0, 1e-12)
    theta, *_ = gates(learning_rate=False, momentum=False, forgetting=False)
    assert theta == 0.5


def largest_growth(rule, length):
    """Of a matrix memory at one key, over all cycles of saturated gates.

    Each token maps (W, S) linearly; a cycle's growth is the spectral radius
    of the product of its tokens' maps.
    """
    corners = np.array(list(itertools.product([-40.0, 40.0], repeat=3)))
    logits = dict(zip(LOGITS, ops.convert_to_tensor(corners.T), strict=True))
    theta, log_eta, log_keep = (
        ops.convert_to_numpy(gate) for gate in rule.gates(logits, 2.0)
    )
    eta, keep = np.exp(log_eta), np.exp(log_keep)
    measured = keep if rule.forget_first else 1.0
    steps = np.zeros((len(corners), 2, 2))
    steps[:, 0, 0] = keep - 2.0 * theta * measured
    steps[:, 0, 1] = steps[:, 1, 1] = eta
    steps[:, 1, 0] = -2.0 * theta * measured
    cycles, largest = np.eye(2)[None], 0.0
    for _ in range(length):
        cycles = (steps[:, None] @ cycles).reshape(-1, 2, 2)
        radius = np.abs(np.linalg.eigvals(cycles)).max()
        largest = max(largest, radius)
    return largest


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"forget_first": True},
        {"max_learning_rate": 0.1, "max_momentum": 0.9},
    ],
    ids=["default", "forget-first", "long-momentum"],
)
def test_no_cycle_of_gates_makes_a_memory_grow(options):
    assert largest_growth(UpdateRule(**options), 5) < 1.0 + 1e-9


def test_a_long_and_strong_momentum_can_make_a_memory_grow():
    assert largest_growth(UpdateRule(max_momentum=0.9), 5) > 2.0


@pytest.mark.parametrize("logit", [-800.0, 800.0])
def test_saturated_gates_are_finite(logit):
    rule = UpdateRule()
    z = {name: ops.convert_to_tensor([logit]) for name in LOGITS}
    for gate in rule.gates(z, 2.0):
        assert np.all(np.isfinite(ops.convert_to_numpy(gate)))


def test_gates_start_where_they_are_told_to():
    starts = UpdateRule(
        initial_learning_rate=0.2, initial_momentum=0.7, initial_forgetting=0.03
    ).initial_logits()
    assert {name: round(sigmoid(z), 9) for name, z in starts.items()} == {
        "learning_rate": 0.2,
        "momentum": 0.7,
        "forgetting": 0.03,
    }
    start = UpdateRule(initial_learning_rate=0.2, write_threshold=0.5)
    logit = start.initial_logits()["learning_rate"]
    assert above(sigmoid(logit), 0.5) == pytest.approx(0.2)
    logits = UpdateRule(initial_forgetting=(0.1, 0.9)).initial_logits()
    assert logits["forgetting"] == pytest.approx([np.log(1 / 9), np.log(9)])
    apart = UpdateRule(initial_learning_rate=(0.1, 0.2), write_threshold=0.5)
    logits = np.array(apart.initial_logits()["learning_rate"])
    assert above(sigmoid(logits), 0.5) == pytest.approx([0.1, 0.2])
    assert set(UpdateRule(momentum=False).initial_logits()) == {
        "learning_rate",
        "forgetting",
    }


def test_a_large_surprise_is_scaled_down_and_a_small_one_left():
    rule = UpdateRule(max_surprise=2.0)
    deltas = [ops.ones((2, 3)), 2.0 * ops.ones((2, 5))]
    have = rule.bound(deltas, ops.convert_to_tensor([8.0, 1.0]))
    for delta, bounded in zip(deltas, have):
        scale = np.array([[0.25], [1.0]])
        close(bounded, ops.convert_to_numpy(delta) * scale, 1e-6)
    assert UpdateRule().bound(deltas, None) is deltas


@pytest.mark.parametrize(
    "name, value", [("learning_rate", False), ("write_cost", 0.5)]
)
def test_config_round_trip(name, value):
    options = {
        name: value,  # they exclude each other
        "momentum": False,
        "forgetting": False,
        "normalize_learning_rate": False,
        "max_learning_rate": 0.3,
        "write_threshold": 0.3,
        "max_momentum": 0.9,
        "initial_learning_rate": 0.2,
        "initial_momentum": 0.8,
        "initial_forgetting": [0.02, 0.03],
        "gate_scale": 2.0,
        "hidden_rate": 0.3,
        "forget_to": "zero",
        "forget_first": True,
        "read_first": True,
        "max_surprise": 3.0,
    }
    rule = UpdateRule(**options)
    config = rule.get_config()
    assert {name: config[name] for name in options} == options
    defaults = UpdateRule().get_config()
    assert not [name for name in options if defaults[name] == options[name]]
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(rule)
    )
    assert again.get_config() == config
