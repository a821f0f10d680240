"""Multi-query associative recall: pairs first, then their keys again."""

import numpy as np

from benchmarks.tasks.task import AnswerTask
from benchmarks.tasks.task import Batch
from benchmarks.tasks.task import check_count
from benchmarks.tasks.task import octave

FILLER = 1  # token 0


class AssociativeRecall(AnswerTask):
    """A row begins with pairs of a key and a value; each key comes once more.

    It comes at a random place among filler, and its value is to be given
    there. Keys, values and places are drawn for every row, so no weight can
    hold them. `exact_match_by_distance` is split by the tokens between pair
    and question, in powers of two.

    Args:
        length: Tokens of a training row.
        pairs: How many pairs.
        first_question: Where the keys may come again; by default as soon as
            the pairs have been told.
        num_keys: Keys to draw from.
        num_values: Values to draw from.
    """

    by = ("distance",)
    whole_rows = False

    def __init__(
        self, length, pairs, first_question=None, num_keys=64, num_values=64
    ):
        super().__init__(length)
        check_count("pairs", pairs)
        check_count("num_keys", num_keys, least=pairs)
        check_count("num_values", num_values, least=pairs)
        first = 2 * pairs if first_question is None else first_question
        check_count("first_question", first, least=2 * pairs)
        if length - first < pairs:
            raise ValueError(
                f"Argument `length` must be at least {first + pairs}, for "
                f"{pairs} questions from token {first} on. Received: "
                f"length={length}."
            )
        self.pairs = pairs
        self.first_question = first
        self.num_keys = num_keys
        self.num_values = num_values
        self.vocabulary_size = FILLER + num_keys + num_values

    def training_row(self, rng):
        return self._row(rng, self.length)

    def held_out_row(self, rng, length, index):
        return self._row(rng, length)

    def _row(self, rng, length):
        rows = self.rows(rng, 1, length)
        return Batch(
            *(array[0] for array in rows[:3]),
            {name: array[0] for name, array in rows.about.items()},
        )

    def rows(self, rng, count, length=None):
        """Many at once, faster than one by one; another stream of numbers.

        Targets are the values asked for, and 0 where nothing is.
        """
        length = self.length if length is None else length
        draw = lambda n, size: np.argsort(rng.random((count, n)))[:, :size]
        keys = FILLER + draw(self.num_keys, self.pairs)
        values = FILLER + self.num_keys + draw(self.num_values, self.pairs)
        first = self.first_question
        places = first + draw(length - first, self.pairs)
        tokens = np.zeros((count, length), "int32")
        tokens[:, 0 : 2 * self.pairs : 2] = keys
        tokens[:, 1 : 2 * self.pairs : 2] = values
        targets, distance = np.zeros_like(tokens), np.zeros_like(tokens)
        np.put_along_axis(tokens, places, keys, axis=1)
        np.put_along_axis(targets, places, values, axis=1)
        told = 2 * np.arange(self.pairs)
        np.put_along_axis(distance, places, octave(places - told), axis=1)
        weight = (targets > 0).astype("float32")
        return Batch(tokens, targets, weight, {"distance": distance})
