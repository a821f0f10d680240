"""Associative recall: what is asked for was told, at the distance stated."""

import numpy as np
import pytest

from benchmarks.tasks.recall import AssociativeRecall
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import perfect
from tests.benchmarks.tasks.checks import take


@pytest.fixture
def task():
    return AssociativeRecall(20, pairs=3, num_keys=5, num_values=7)


def check(task, tokens, targets, weight, distance):
    """A row read as a person would."""
    told = {int(tokens[2 * i]): int(tokens[2 * i + 1]) for i in range(3)}
    assert len(told) == 3
    assert all(1 <= key < 6 for key in told)
    assert all(6 <= value < 13 for value in told.values())
    asked = []
    for place in range(6, len(tokens)):
        key = int(tokens[place])
        if key == 0:
            assert targets[place] == weight[place] == 0
            continue
        asked.append(key)
        assert targets[place] == told[key]
        assert weight[place] == 1
        apart = place - 2 * list(told).index(key)
        assert distance[place] <= apart < 2 * distance[place]
    assert sorted(asked) == sorted(told)
    assert not weight[:6].any()


def test_every_key_is_asked_for_once(task):
    batches = [
        *take(task.training(0, 8), 2),
        *task.cases(160, batch_size=8, count=16),
    ]
    for batch in batches:
        for row in zip(*batch[:3], batch.about["distance"], strict=True):
            check(task, *row)


def test_many_at_once_are_rows_too(task):
    batch = task.rows(np.random.default_rng(0), 50)
    for row in zip(*batch[:3], batch.about["distance"], strict=True):
        check(task, *row)


def test_questions_wait_for_their_time():
    task = AssociativeRecall(20, pairs=3, first_question=15)
    batch = next(task.training(0, 20))
    assert not batch.weight[:, :15].any()
    assert batch.weight[:, 15:].any(axis=0).all()


def test_score(task):
    score = judged(task, perfect, length=80, count=9)
    assert score["exact_match"] == 1
    assert set(score["exact_match_by_distance"]) <= {2, 4, 8, 16, 32, 64}
    assert score["nats"] < 1e-6
    chance = judged(task, clueless, count=9)
    assert chance["exact_match"] == 0  # the filler is the first of equals
    assert chance["nats"] == pytest.approx(np.log(task.vocabulary_size))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"length": 8, "pairs": 3}, "`length` must be at least 9"),
        ({"length": 20, "pairs": 0}, "`pairs` must be"),
        ({"length": 20, "pairs": 3, "num_keys": 2}, "`num_keys` must be"),
        ({"length": 20, "pairs": 3, "first_question": 5}, "`first_question`"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AssociativeRecall(**arguments)
