"""Judging a model on rows of any length, in bounded memory.

A model whose layers all carry a state reads a long row in pieces, each from
the state that the one before has left; what is made of a piece is marked and
dropped. One that attends to the whole past has no state of fixed size: it
reads whole rows, the fewer at a time the longer they are.
"""

import numpy as np

from benchmarks.tasks.task import Batch
from benchmarks.tasks.task import stack


class Judge:
    """Scores of one model on one task, at any length.

    Args:
        model: From the task's inputs to its outputs.
        task: A `benchmarks.tasks.task.Task`.
        piece: Tokens that are read at a time.
        batch_size: Rows that are read at a time.
        carries: Whether the model is read in pieces.
    """

    def __init__(self, model, task, piece, batch_size, carries):
        from keras_titans.models import StreamingModel

        self.task, self.model = task, model
        self.piece, self.batch_size = piece, batch_size
        self.streaming = StreamingModel(model) if carries else None

    def score(self, length, count):
        """The task's metrics on `count` held-out rows of a length."""
        rows = self.batch_size
        if self.streaming is None:
            rows = max(rows * self.piece // length, 1)
        cases = self.task.cases(length, rows, count)
        return self.task.score(
            (batch, self.marks(filled(batch, rows), len(batch.inputs)))
            for batch in cases
        )

    def marks(self, batch, count):
        """The marks of a batch's first `count` rows."""
        marks = [self.task.marks(*pair) for pair in self.read(batch)]
        return {
            name: np.concatenate([one[name] for one in marks], axis=1)[:count]
            for name in marks[0]
        }

    def read(self, batch):
        """Outputs, and what of the batch they answer."""
        if self.streaming is None:
            yield self.model.predict_on_batch(batch.inputs), batch
            return
        states = self.streaming.get_initial_state(len(batch.inputs))
        length = batch.inputs.shape[1]
        answers_each = batch.targets.shape[1] == length and (
            batch.inputs.ndim == 2
        )
        for start in range(0, length, self.piece):
            here = slice(start, start + self.piece)
            outputs, states = self.streaming.predict_on_batch(
                (batch.inputs[:, here], states)
            )
            if answers_each:
                yield outputs, part(batch, here)
        if not answers_each:  # a forecast is made at the end
            yield outputs, batch


def part(batch, here):
    """A range of a batch's tokens; its labels are the whole rows'."""
    return Batch(*(values[:, here] for values in batch[:3]), batch.about)


def filled(batch, rows):
    """A batch with its last row again and again, up to so many rows.

    A smaller batch at the end would have to be compiled for.
    """
    if (missing := rows - len(batch.inputs)) <= 0:
        return batch
    last = Batch(
        *(values[-1] for values in batch[:3]),
        {name: values[-1] for name, values in batch.about.items()},
    )
    extra = stack([last] * missing)
    return Batch(
        *(np.concatenate(pair) for pair in zip(batch[:3], extra[:3])),
        batch.about,
    )
