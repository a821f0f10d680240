"""Classification: the class is asked for after a piece of its document."""

import numpy as np
import pytest

from benchmarks.tasks.classification import Classification
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import perfect
from tests.benchmarks.tasks.checks import take

QUESTION, CAT, DOG = 50, 51, 52


def make(length=4):
    return Classification(
        length,
        [(np.arange(9), "cat"), (10 + np.arange(2), "dog")],
        [(20 + np.arange(7), "dog"), (30 + np.arange(11), "cat")],
        vocabulary_size=50,
        classes=("cat", "dog"),
    )


def test_training_rows_begin_anywhere_and_have_all_classes_alike():
    seen = set()
    for batch in take(make().training(0, 50), 4):
        labels = batch.targets[batch.weight > 0]
        assert len(labels) == 50
        assert 5 < np.count_nonzero(labels == CAT) < 45
        seen |= {(*row.tolist(), int(x)) for row, x in zip(batch[0], labels)}
    wanted = {(i, i + 1, i + 2, QUESTION, CAT) for i in range(7)}
    # Of the short one the answer is an input too, after it was asked for.
    assert seen == wanted | {(10, 11, QUESTION, DOG, DOG)}


def test_held_out_documents_are_cut_into_pieces():
    (batch,) = make().cases(batch_size=9)
    assert batch.inputs.tolist() == [
        [20, 21, 22, QUESTION],
        [30, 31, 32, QUESTION],
        [23, 24, 25, QUESTION],
        [33, 34, 35, QUESTION],
        [36, 37, 38, QUESTION],
    ]
    assert batch.about["class"].tolist() == ["dog", "cat", "dog", "cat", "cat"]
    assert batch.targets[:, -1].tolist() == [DOG, CAT, DOG, CAT, CAT]
    assert batch.weight.tolist() == [[0, 0, 0, 1]] * 5


def test_a_short_document_is_asked_about_at_its_end():
    (batch,) = make().cases(length=9, batch_size=2)
    assert batch.inputs[0].tolist() == [*range(20, 27), QUESTION, DOG]
    assert batch.weight[0].tolist() == [0] * 7 + [1, 0]
    assert batch.inputs[1].tolist() == [*range(30, 38), QUESTION]


def test_only_classes_are_answers():
    task = make()
    score = judged(task, perfect)
    assert score["exact_match"] == 1
    assert score["exact_match_by_class"] == {"cat": 1.0, "dog": 1.0}
    assert score["chance"] == pytest.approx(3 / 5)

    def mostly_text(task, batch):
        logits = clueless(task, batch)
        logits[..., 7], logits[..., CAT] = 9.0, 1.0
        return logits

    score = judged(task, mostly_text, batch_size=2)
    assert score["exact_match_by_class"] == {"cat": 1.0, "dog": 0.0}
    assert score["exact_match"] == pytest.approx(3 / 5)
