"""Which class a document belongs to, asked at its end."""

import numpy as np

from benchmarks.tasks.task import AnswerTask
from benchmarks.tasks.task import row_of_parts


class Classification(AnswerTask):
    """A piece of a document, then a token that asks for its class.

    The answer is one token: the document's class, above all tokens of the
    text. A document that is shorter than the row is asked about at its end.

    Beside an answer task's own, `score` gives `chance`: the share of the most
    frequent class in what was judged. Only classes count as answers.

    Args:
        length: Tokens of a training row.
        training: Documents as pairs of an array of tokens and a class.
        held_out: Other documents.
        vocabulary_size: How many tokens the text has.
        classes: The classes' names, in the order of their tokens.
    """

    by = ("class",)

    def __init__(self, length, training, held_out, vocabulary_size, classes):
        super().__init__(length)
        self.classes = tuple(classes)
        self.question = vocabulary_size
        first = vocabulary_size + 1
        self.choices = first + np.arange(len(self.classes))
        self.vocabulary_size = first + len(self.classes)
        self.training_documents = list(training)
        self._held_out = list(held_out)
        # Every class is drawn as often, whatever there is of it.
        self._of_class = {}
        for document in self.training_documents:
            self._of_class.setdefault(document[1], []).append(document)

    def training_row(self, rng):
        names = list(self._of_class)
        documents = self._of_class[names[rng.integers(len(names))]]
        sizes = np.array([len(tokens) for tokens, _ in documents])
        which = rng.choice(len(documents), p=sizes / sizes.sum())
        tokens, name = documents[which]
        start = rng.integers(max(len(tokens) - self.length + 1, 0) + 1)
        return self._row(tokens[start:], name, self.length)

    def held_out_row(self, rng, length, index):
        """Pieces of the held-out documents, the first of each first."""
        pieces = self._pieces(length)
        number = 0
        while index >= (there := np.count_nonzero(pieces > number)):
            index -= there
            number += 1
        tokens, name = self._held_out[np.flatnonzero(pieces > number)[index]]
        return self._row(tokens[number * (length - 1) :], name, length)

    def available(self, length):
        return int(self._pieces(length).sum())

    def _pieces(self, length):
        """How many whole pieces each document has; one if it is shorter."""
        sizes = np.array([len(tokens) for tokens, _ in self._held_out])
        return np.maximum(sizes // max(length - 1, 1), 1)

    def _row(self, tokens, name, length):
        label = self.classes.index(name)
        return row_of_parts(
            [
                (tokens[: length - 1], 0.0),
                ([self.question], 0.0),
                ([self.choices[label]], 1.0),
            ],
            length,
            {"class": np.array(name)},
        )

    def score(self, marked):
        names = []

        def noting_names():
            for batch, marks in marked:
                names.extend(batch.about["class"].tolist())
                yield batch, marks

        score = super().score(noting_names())
        _, counts = np.unique(names, return_counts=True)
        score["chance"] = float(counts.max() / counts.sum())
        return score
