"""The gated delta rule as its authors print it."""

import keras
import numpy as np
import pytest

from keras_titans.memory import Gate
from keras_titans.memory import GatedDelta
from keras_titans.ops.sequence import memorize
from tests.helpers import close
from tests.memory_case import Case
from tests.reference import theta_eta_alpha


def test_equals_the_printed_rule():
    """`W = (1 - a) W (I - b k k^T) + b k v^T`."""
    rule = GatedDelta()
    case = Case("mlp1", rule, chunk_size=5, tokens=12)
    reads, _, _ = case.run(memorize, case.arrays())
    rates, _, alphas = theta_eta_alpha(rule, case.logits, (2, 12, 2), slope=1.0)
    for row, head in np.ndindex(2, 2):
        w = case.weights[0][head]
        for t in range(case.tokens):
            k, v = case.key[row, t, head], case.value[row, t, head]
            keep, beta = 1 - alphas[row, t, head], rates[row, t, head]
            w = keep * (w - beta * np.outer(k, k @ w)) + beta * np.outer(k, v)
            close(reads[row, t, head], case.query[row, t, head] @ w, 1e-10)


def test_config_round_trip():
    rule = GatedDelta(Gate(0.5), forgetting=None)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(rule)
    )
    assert again.get_config() == rule.get_config()
    assert list(again.gates) == ["learning_rate"]


@pytest.mark.parametrize("name", ["learning_rate", "forgetting"])
def test_bad_arguments_are_named(name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        GatedDelta(**{name: True})
