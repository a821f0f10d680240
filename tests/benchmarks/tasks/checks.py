"""What the tests of several tasks share."""

import itertools

import numpy as np


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def equal(one, other):
    """Two batches, or two rows, to the last bit."""
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert one.about.keys() == other.about.keys()
    for name in one.about:
        np.testing.assert_array_equal(one.about[name], other.about[name])


def perfect(task, batch):
    """Logits of a model that knows every target."""
    return 20.0 * np.eye(task.vocabulary_size)[batch.targets]


def clueless(task, batch):
    """Logits that say the same everywhere."""
    return np.zeros((*batch.targets.shape, task.vocabulary_size))


def judged(task, logits, **cases):
    """The score of logits that are made from each batch."""
    return task.score(
        (batch, task.marks(logits(task, batch), batch))
        for batch in task.cases(**cases)
    )
