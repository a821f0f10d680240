"""What a task is, so that one runner can train and judge on all of them.

    task = AssociativeRecall(length=256, pairs=16)
    for batch in task.training(seed=0, batch_size=32):
        model.train_on_batch(batch.inputs, batch.targets, batch.weight)
    for length in task.lengths:
        print(length, task.evaluate(model.predict_on_batch, length=length))

A task is arrays: it knows no framework. `model` gives, for tokens, logits
`(batch, length, vocabulary)`; for a series, a forecast.

Answers of several tokens are judged in one pass. The row holds the answer
itself, so the logits before each of its tokens have seen the right ones before
it; greedy generation gives the answer if and only if each token is the argmax.
"""

import abc
import itertools
from typing import NamedTuple

import numpy as np

# What the streams of random numbers of the two halves begin with.
TRAINING, HELD_OUT = 0, 1


class Batch(NamedTuple):
    """Rows of a task; the same without the first axis is one row.

    `inputs, targets, weight` are what `fit` takes as `x, y, sample_weight`.
    """

    inputs: np.ndarray  # (batch, length) tokens or (batch, length, channels)
    targets: np.ndarray  # (batch, length) tokens or (batch, horizon, channels)
    weight: np.ndarray  # as targets: how much each one counts
    about: dict[str, np.ndarray]  # (batch, ...): what scores are split by


def stack(rows):
    """Rows as one batch."""
    inputs, targets, weight, about = zip(*rows, strict=True)
    keys = about[0].keys()
    return Batch(
        np.stack(inputs),
        np.stack(targets),
        np.stack(weight),
        {key: np.stack([one[key] for one in about]) for key in keys},
    )


def check_count(name, value, least=1):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}."
        )


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Argument `{name}` must be one of {tuple(choices)}. "
            f"Received: {name}={value!r}."
        )


def check_weight(name, value):
    if not 0.0 <= value < np.inf:
        raise ValueError(
            f"Argument `{name}` must be a finite number of at least 0. "
            f"Received: {name}={value!r}."
        )


class Task(abc.ABC):
    """Rows to train on and, from other documents or keys, rows to be judged by.

    Each row has a stream of random numbers of its own, from the seed and the
    row's place: the same rows whatever the batch size before and after.

    Args:
        length: Steps or tokens of a training row.

    Attributes:
        rows_of: What a row is made of, as reports call it.
    """

    rows_of = "tokens"

    def __init__(self, length):
        check_count("length", length)
        self.length = length

    @property
    def lengths(self):
        """1, 2, 4, 8 and 16 times the training length."""
        return tuple(self.length * times for times in (1, 2, 4, 8, 16))

    @abc.abstractmethod
    def training_row(self, rng):
        """One row of `length`, a `Batch` without its first axis."""

    @abc.abstractmethod
    def held_out_row(self, rng, length, index):
        """The row at an index, of any length."""

    def available(self, length):
        """How many different held-out rows there are; None: any number."""
        return None

    @abc.abstractmethod
    def marks(self, outputs, batch):
        """How good a model's outputs are, at each place of the targets.

        Place by place, so a long row may be marked a piece at a time.

        Returns:
            A dictionary of arrays, their first axes those of the targets.
        """

    @abc.abstractmethod
    def score(self, marked):
        """Metrics, by name, of an iterable of `(batch, marks)`.

        Only one batch needs to be in memory at a time.
        """

    def training(self, seed, batch_size, first_step=0):
        """Training batches without end, from any step on."""
        check_count("seed", seed, least=0)
        check_count("batch_size", batch_size)
        for step in itertools.count(first_step):
            rows = range(step * batch_size, (step + 1) * batch_size)
            yield stack(
                self.training_row(np.random.default_rng((TRAINING, seed, i)))
                for i in rows
            )

    def cases(self, length=None, batch_size=1, count=None, seed=0):
        """Held-out batches; the last one may be smaller.

        Args:
            length: Of a row, `self.length` by default.
            batch_size: Rows at a time.
            count: Rows in all. By default all that there are, 100 where
                there is no end. Of a limited number, evenly spaced ones.
            seed: For what is drawn.
        """
        length = self.length if length is None else length
        check_count("length", length)
        check_count("batch_size", batch_size)
        check_count("seed", seed, least=0)
        if count is not None:
            check_count("count", count)
        available = self.available(length)
        if available is None:
            indices = range(100 if count is None else count)
        else:
            count = min(available, available if count is None else count)
            indices = [i * available // count for i in range(count)]
        for start in range(0, len(indices), batch_size):
            yield stack(
                self.held_out_row(
                    np.random.default_rng((HELD_OUT, seed, length, i)),
                    length,
                    i,
                )
                for i in indices[start : start + batch_size]
            )

    def evaluate(self, predict, **cases):
        """The score of `predict(inputs) -> outputs` on `cases(**cases)`."""
        return self.score(
            (batch, self.marks(predict(batch.inputs), batch))
            for batch in self.cases(**cases)
        )


class TokenTask(Task):
    """A task whose rows are tokens and whose outputs are logits.

    `choices` are the tokens that an answer may be, None for all.
    """

    vocabulary_size: int
    choices: np.ndarray | None = None

    def marks(self, outputs, batch):
        """`nats` and `right` of every token, `(batch, length)`."""
        logits, targets = np.asarray(outputs), np.asarray(batch.targets)
        expected = (*targets.shape, self.vocabulary_size)
        if logits.shape != expected:
            raise ValueError(
                f"Argument `outputs` must be logits of shape {expected}. "
                f"Received: shape {logits.shape}."
            )
        marks = [
            token_marks(row, target, self.choices)
            for row, target in zip(logits, targets)
        ]
        nats, right = zip(*marks)
        return {"nats": np.stack(nats), "right": np.stack(right)}


def token_marks(logits, targets, choices=None):
    """Minus the log-probability of each target, and if it is the best choice.

    Args:
        logits: `(length, vocabulary)`.
        targets: `(length,)`.
        choices: Token ids that an answer may be, None for all.

    Returns:
        `nats` and `right`, `(length,)`. What is not finite is never right.
    """
    logits = logits.astype("float32")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    at_target = np.take_along_axis(shifted, targets[:, None], axis=-1)[:, 0]
    nats = np.log(np.exp(shifted).sum(axis=-1)) - at_target
    if choices is None:
        best = logits.argmax(axis=-1)
    else:
        best = choices[logits[:, choices].argmax(axis=-1)]
    return nats, (best == targets) & np.isfinite(nats)


class AnswerTask(TokenTask):
    """A task of questions. `score` gives:

    - `exact_match`: the share of answers all of whose tokens are right;
    - `nats`: minus the log-probability of an answer;
    - `exact_match_by_...`: for each of `by`, a dictionary.

    An answer is all of a row's weighted tokens, or, where `whole_rows` is
    False, each of them.
    """

    by: tuple[str, ...] = ()
    whole_rows = True

    def score(self, marked):
        answers = [self._answers(batch, marks) for batch, marks in marked]
        right, nats, *groups = map(np.concatenate, zip(*answers, strict=True))
        score = {"exact_match": right.mean(), "nats": nats.mean()}
        score = {name: float(value) for name, value in score.items()}
        for name, group in zip(self.by, groups, strict=True):
            score[f"exact_match_by_{name}"] = mean_by(right, group)
        return score

    def _answers(self, batch, marks):
        asked = batch.weight > 0
        groups = [batch.about[name] for name in self.by]
        if self.whole_rows:
            right = np.all(marks["right"] | ~asked, axis=1)
            return right, np.sum(marks["nats"], axis=1, where=asked), *groups
        per_token = [marks["right"], marks["nats"], *groups]
        return [values[asked] for values in per_token]


def mean_by(values, groups):
    """`{group: mean of its values}`, in the groups' order."""
    names, of = np.unique(groups, return_inverse=True)
    sums = np.bincount(of, weights=values)
    means = sums / np.bincount(of)
    return dict(zip(names.tolist(), means.tolist(), strict=True))


def octave(numbers):
    """The greatest powers of two that are not above; 0 for 0."""
    _, exponent = np.frexp(numbers)
    powers = np.int64(1) << np.maximum(exponent.astype("int64") - 1, 0)
    return np.where(np.asarray(numbers) > 0, powers, 0)


def row_of_parts(parts, length, about):
    """A row of tokens, each the target of the one before.

    Args:
        parts: Pairs of tokens and their weight as targets. The row ends with
            the last one; what is missing to `length` is put behind it, where
            nothing that is causal sees it, and has no weight.
        length: Of inputs and targets: one less than the tokens.
        about: The row's labels.
    """
    tokens = np.zeros(length + 1, "int32")
    weight = np.zeros(length + 1, "float32")
    end = 0
    for part, part_weight in parts:
        start, end = end, end + len(part)
        tokens[start:end] = part
        weight[start:end] = part_weight
    return Batch(tokens[:-1], tokens[1:], weight[1:], about)
