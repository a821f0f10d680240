"""Predicting the next token of held-out documents."""

import numpy as np

from benchmarks.tasks.prose import addresses
from benchmarks.tasks.task import TokenTask
from benchmarks.tasks.task import octave
from benchmarks.tasks.task import row_of_parts
from benchmarks.tasks.tokens import Bytes


class Modelling(TokenTask):
    """Next tokens, and how much better they are known further into a row.

    Held-out documents are cut into pieces of the row's length. Each token but
    a document's first is predicted exactly once, whatever the length: longer
    rows judge the same tokens with more before them. No row has two documents.

    `score` gives `bits_per_UNIT`, `perplexity` of a token, and both by how
    many tokens of the document were read in the row, in powers of two.

    Args:
        length: Tokens of a training row.
        training: Documents as arrays of tokens.
        held_out: Other documents.
        vocabulary_size: How many tokens there are.
        units: `(vocabulary_size,)`: how many bytes, or bases, each token is.
            What is none is no target.
        unit: Their name.
    """

    def __init__(
        self, length, training, held_out, vocabulary_size, units, unit
    ):
        super().__init__(length)
        self.vocabulary_size = vocabulary_size
        self.unit = unit
        self._units = np.asarray(units)
        self._training, self._held_out = list(training), list(held_out)
        sizes = np.array([len(document) for document in self._training])
        # Each place where a whole row can begin is as likely as any other.
        starts = np.maximum(sizes - length, 1)
        self._first_starts = np.cumsum(starts) - starts
        self._num_starts = starts.sum()

    def training_row(self, rng):
        place = rng.integers(self._num_starts)
        i = np.searchsorted(self._first_starts, place, side="right") - 1
        start = place - self._first_starts[i]
        return self._row(self._training[i], start, self.length)

    def held_out_row(self, rng, length, index):
        pieces = self._pieces(length)
        i = np.searchsorted(np.cumsum(pieces), index, side="right")
        start = (index - pieces[:i].sum()) * length
        return self._row(self._held_out[i], start, length)

    def available(self, length):
        return int(self._pieces(length).sum())

    def _pieces(self, length):
        """In how many pieces each held-out document is."""
        targets = np.array([len(document) - 1 for document in self._held_out])
        return -(-targets // length)

    def _row(self, document, start, length):
        tokens = document[start : start + length + 1]
        known = (self._units[tokens] > 0).astype("float32")
        return row_of_parts([(tokens, known)], length, {})

    def score(self, marked):
        octaves = 64
        sums = np.zeros((3, octaves))
        for batch, marks in marked:
            at = batch.weight > 0
            read = np.broadcast_to(1 + np.arange(at.shape[1]), at.shape)[at]
            exponent = np.log2(octave(read)).astype(int)
            units = self._units[batch.targets[at]]
            for i, values in enumerate((marks["nats"][at], units, None)):
                sums[i] += np.bincount(exponent, values, octaves)
        score = self._means(sums.sum(axis=1))
        for name in tuple(score):
            score[f"{name}_by_position"] = {
                2**i: self._means(sums[:, i])[name]
                for i in np.flatnonzero(sums[2]).tolist()
            }
        return score

    def _means(self, sums):
        nats, units, tokens = sums.tolist()
        return {
            f"bits_per_{self.unit}": nats / np.log(2).item() / units,
            "perplexity": float(np.exp(nats / tokens)),
        }


class LanguageModelling(Modelling):
    """Language modelling on documents that are held out.

    Args:
        length: Tokens of a training row.
        tokenizer: `Bytes()` by default.
        prose: The documents, presidents' addresses by default.
    """

    def __init__(self, length, tokenizer=None, prose=None):
        self.tokenizer = tokenizer or Bytes()
        halves = addresses() if prose is None else prose
        super().__init__(
            length,
            *([self.tokenizer.encode(d) for d in half] for half in halves),
            self.tokenizer.vocabulary_size,
            self.tokenizer.byte_lengths,
            "byte",
        )
