"""Modelling: every held-out token is judged once, with what was before it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks.modelling import LanguageModelling
from benchmarks.tasks.modelling import Modelling
from benchmarks.tasks.prose import Prose
from benchmarks.tasks.prose import addresses
from benchmarks.tasks.tokens import BytePairs
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import take

PROSE = Prose(("an old text. ", "one more old text"), ("new text", "ünïcode"))


def document(i, size):
    return 100 * i + np.arange(size)


def make(length, training, held_out):
    return Modelling(
        length,
        [document(i, size) for i, size in enumerate(training)],
        [document(i, size) for i, size in enumerate(held_out)],
        1000,
        np.ones(1000),
        "base",
    )


@given(st.integers(1, 12), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_each_token_is_a_target_once_after_its_own_past(length, sizes):
    task = make(3, [5], sizes)
    seen = []
    for batch in task.cases(length, batch_size=2):
        for inputs, targets, weight in zip(*batch[:3]):
            count = int(weight.sum())
            assert weight[:count].all()
            assert np.all(targets[:count] == inputs[:count] + 1)
            seen += targets[:count].tolist()
    wanted = [
        token for i, size in enumerate(sizes) for token in document(i, size)[1:]
    ]
    assert seen == wanted


def test_training_rows_begin_anywhere_in_a_document():
    task = make(4, [7, 2, 5], [5])
    seen = set()
    for batch in take(task.training(0, 50), 6):
        assert np.all(batch.targets == batch.inputs + 1, where=batch.weight > 0)
        assert np.all(batch.weight[:, 0] == 1)
        seen |= {(int(r[0]), int(w.sum())) for r, w in zip(batch[0], batch[2])}
    assert seen == {(0, 4), (1, 4), (2, 4), (100, 1), (200, 4)}


def slow_score(task, batches, probability):
    """Token by token."""
    bits, units, nats, tokens = {}, {}, {}, {}
    for batch in batches:
        for targets, weight in zip(batch.targets, batch.weight):
            for i, target in enumerate(targets):
                if not weight[i]:
                    continue
                bin_ = 1
                while 2 * bin_ <= i + 1:
                    bin_ *= 2
                p = probability(i, target)
                size = task.tokenizer.byte_lengths[target]
                bits[bin_] = bits.get(bin_, 0) - np.log2(p)
                nats[bin_] = nats.get(bin_, 0) - np.log(p)
                units[bin_] = units.get(bin_, 0) + size
                tokens[bin_] = tokens.get(bin_, 0) + 1
    return {
        "bits_per_byte": sum(bits.values()) / sum(units.values()),
        "perplexity": np.exp(sum(nats.values()) / sum(tokens.values())),
        "bits_per_byte_by_position": {b: bits[b] / units[b] for b in bits},
        "perplexity_by_position": {
            b: np.exp(nats[b] / tokens[b]) for b in bits
        },
    }


def test_score_is_that_of_a_token_by_token_sum():
    task = LanguageModelling(4, BytePairs(PROSE.training, 262), PROSE)
    table = np.random.default_rng(0).normal(size=(9, task.vocabulary_size))
    probabilities = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)
    cases = list(task.cases(length=9, batch_size=2))
    have = judged(
        task,
        lambda task, batch: np.stack([table] * len(batch.inputs)),
        length=9,
        batch_size=2,
    )
    want = slow_score(task, cases, lambda i, target: probabilities[i, target])
    assert have.keys() == want.keys()
    for name, value in want.items():
        if isinstance(value, dict):
            assert have[name].keys() == value.keys()
            for position in value:
                assert have[name][position] == pytest.approx(
                    value[position], rel=1e-5
                )
        else:
            assert have[name] == pytest.approx(value, rel=1e-5)


def test_bytes_in_equal_parts_take_eight_bits():
    score = judged(LanguageModelling(4, prose=PROSE), clueless)
    assert score["bits_per_byte"] == pytest.approx(8)
    assert score["perplexity"] == pytest.approx(256, rel=1e-5)
    assert list(score["bits_per_byte_by_position"]) == [1, 2, 4]


def test_what_is_no_unit_is_no_target():
    task = make(4, [5], [6])
    task._units[3] = 0
    (batch,) = task.cases(length=8)
    assert batch.targets[0, :5].tolist() == [1, 2, 3, 4, 5]
    assert batch.weight[0].tolist() == [1, 1, 0, 1, 1, 0, 0, 0]


def test_held_out_addresses_are_rebuilt_from_their_pieces():
    task = LanguageModelling(512)
    held_out = b"".join(
        bytes(batch.targets[0][batch.weight[0] > 0].tolist())
        for batch in task.cases(length=8192)
    )
    assert held_out == b"".join(t.encode()[1:] for t in addresses().held_out)
