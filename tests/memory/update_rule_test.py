"""A rule of one's own: usable with `step`, fast with `coefficients`."""

import keras
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import UpdateRule
from keras_titans.ops.decay import chunk_decay
from tests.helpers import close
from tests.helpers import to_numpy


class Halving(UpdateRule):
    """Every token halves what is in the memory and writes."""

    gates = {"rate": Gate(initial=0.3)}

    def step(self, state, gates, gradient, initial, slope):
        memory = state["memory"]
        rate = gates["rate"].value / slope
        steps = zip(memory, gradient(memory), strict=True)
        return {"memory": [0.5 * w - rate * g for w, g in steps]}


class FastHalving(Halving):
    def coefficients(self, gates, mask, slope):
        half = np.log(0.5) * keras.ops.ones_like(gates["rate"].value)
        return chunk_decay(gates["rate"].value / slope, None, half, mask)


def test_the_fast_form_equals_the_step():
    x = np.random.default_rng(0).normal(size=(2, 11, 8))
    results = []
    for rule in (Halving(), FastHalving()):
        keras.utils.set_random_seed(0)
        layer = NeuralMemory(
            2, 4, update_rule=rule, chunk_size=4, dtype="float64"
        )
        results.append(to_numpy(layer(x, return_diagnostics=True)))
    assert set(results[0][1]) == {"rate", "read", "surprise", "value"}
    close(results[1], results[0], 1e-12)


def test_what_a_rule_has_is_what_it_overrides():
    assert not Halving().has_coefficients
    assert FastHalving().has_coefficients
    assert not FastHalving().acts_at_chunk_end
    assert not FastHalving().has_write_cost


def test_a_rule_without_a_step_is_refused():
    with pytest.raises(TypeError, match="step"):
        UpdateRule()
