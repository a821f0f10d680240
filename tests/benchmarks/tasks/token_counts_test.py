"""Naive Bayes, against the sums written out."""

import numpy as np
import pytest

from benchmarks.tasks.classification import Classification
from benchmarks.tasks.token_counts import TokenCounts

LENGTH = 12


def documents(seed, number=12):
    """Two classes of six tokens; the second class likes the higher ones."""
    rng = np.random.default_rng(seed)
    for i in range(number):
        share = np.arange(1, 7) if i % 2 else np.ones(6)
        yield rng.choice(6, 40, p=share / share.sum()), "AB"[i % 2]


@pytest.fixture(scope="module")
def task():
    return Classification(LENGTH, documents(0), documents(1), 6, "AB")


def test_equals_the_sums_written_out(task):
    batch = next(task.cases(length=2 * LENGTH, batch_size=4))
    logits = TokenCounts(task).fit()(batch.inputs)
    for row, answers in zip(batch.inputs, logits):
        wanted = []
        for name in "AB":
            seen = [1.0] * 6
            for tokens, of in task.training_documents:
                for token in tokens:
                    seen[token] += of == name
            shares = [count / sum(seen) for count in seen]
            wanted.append(sum(np.log(shares[t]) for t in row if t < 6))
        asked = int(np.flatnonzero(row == task.question)[0])
        wanted -= np.log(np.exp(wanted).sum())
        np.testing.assert_allclose(
            answers[asked, task.choices], wanted, rtol=1e-5
        )
        assert np.isneginf(answers[asked, :-2]).all()
        assert not np.delete(answers, asked, axis=0).any()


def test_longer_documents_are_known_better(task):
    many = Classification(LENGTH, documents(0, 60), documents(1, 400), 6, "AB")
    counts = TokenCounts(many).fit()
    short, long = (
        many.evaluate(counts, length=n, batch_size=50)["exact_match"]
        for n in (6, 40)
    )
    assert 0.5 < short < long - 0.1


def test_a_row_that_does_not_ask_is_named(task):
    counts = TokenCounts(task).fit()
    with pytest.raises(ValueError, match=r"`inputs` must ask once.*\[0, 2\]"):
        counts(np.array([[0, 1, 2], [6, 1, 6]]))
