"""Gates: their formula in every form, their starts, their errors."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.memory import Gate
from keras_titans.memory import Spread
from keras_titans.memory import Titans
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy
from tests.reference import gate_value
from tests.reference import sigmoid

LOGITS = np.array([-2.0, 0.0, 1.5])


@pytest.mark.parametrize(
    "gate",
    [Gate(), Gate(0.5), Gate(0.8, threshold=0.3), Gate(2.0, threshold=0.1)],
)
def test_every_form_is_the_formula(gate):
    value = gate_value(gate, LOGITS)
    found = gate.values(ops.convert_to_tensor(LOGITS))
    close(found.value, value, 1e-12)
    close(found.complement, 1 - value, 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        for have, want in (
            (found.log, np.log(value)),
            (found.log_complement, np.log(1 - value)),
        ):
            usable = np.isfinite(want)
            close(to_numpy(have)[usable], want[usable], 1e-12)


def test_a_closed_gate_is_0_and_has_the_gradient_of_an_open_one():
    gate = Gate(0.8, threshold=0.1)
    value = lambda z: gate.values(z).value
    z = np.array([-4.0, 1.5])
    assert to_numpy(value(ops.convert_to_tensor(z)))[0] == 0.0
    slope = 0.8 / 0.9 * sigmoid(z) * (1.0 - sigmoid(z))
    (have,) = gradient(lambda z: ops.sum(value(z)), [ops.convert_to_tensor(z)])
    close(have, slope, 1e-12)


@pytest.mark.parametrize("gate", [Gate(), Gate(0.5), Gate(threshold=0.1)])
@pytest.mark.parametrize("logit", [-800.0, 800.0])
def test_saturated_gates_are_finite(gate, logit):
    values = gate.values(ops.convert_to_tensor([logit]))
    for form in ("value", "complement", "log", "log_complement"):
        assert np.all(np.isfinite(to_numpy(getattr(values, form)))), form


def test_a_constant_has_the_same_forms():
    rule = Titans(0.25, momentum=0.75, forgetting=None)
    values = rule.values({}, ops.zeros((2, 3), "float64"))
    momentum = values["momentum"]
    full = np.full((2, 3), 0.75)
    close(momentum.value, full, 1e-12)
    close(momentum.complement, 1 - full, 1e-12)
    close(momentum.log, np.log(full), 1e-12)
    close(momentum.log_complement, np.log(1 - full), 1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.4])
@pytest.mark.parametrize("maximum", [0.5, 1.0])
def test_it_starts_at_its_initial_value(maximum, threshold):
    gate = Gate(maximum, 0.2, threshold=threshold)
    close(
        gate_value(gate, np.array(gate.initial_logits(2))),
        np.full(2, 0.2),
        1e-12,
    )
    gate = Gate(maximum, Spread(0.1, 0.4), threshold=threshold)
    logits = np.array(gate.initial_logits(3))
    close(gate_value(gate, logits)[[0, 2]], np.array([0.1, 0.4]), 1e-12)
    assert np.diff(logits)[0] == pytest.approx(np.diff(logits)[1])
    assert len(gate.initial_logits(1)) == 1


@pytest.mark.parametrize(
    "gate",
    [Gate(), Gate(0.5, [0.1, 0.2], 2.0, 0.3), Gate(1.0, Spread(0.1, 0.2))],
)
def test_config_round_trip(gate):
    config = gate.get_config()
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(gate)
    )
    assert again.get_config() == config
    assert again.initial_logits(2) == gate.initial_logits(2)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"initial": 1.0}, "`initial`"),
        ({"initial": [0.1, 2.0]}, "`initial`"),
        ({"initial": Spread(0.1, 2.0)}, "`initial`"),
        ({"initial": []}, "`initial`"),
        ({"maximum": 0}, "`maximum`"),
        ({"threshold": 1.0}, "`threshold`"),
        ({"logit_scale": True}, "`logit_scale`"),
    ],
)
def test_bad_arguments_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        Gate(**options)


def test_a_value_for_each_head_needs_as_many_heads():
    with pytest.raises(ValueError, match="each of the 3 heads"):
        Gate(initial=[0.1, 0.2]).initial_logits(3)
