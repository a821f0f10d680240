"""What a classifier of long documents must beat: counting their tokens.

    counts = TokenCounts(task).fit()
    task.evaluate(counts, length=4096, batch_size=4)

It is called as a model is, and judged as all are.
"""

import numpy as np

# Added to each count, so that what training has not seen is not impossible.
SMOOTHING = 1.0


class TokenCounts:
    """Multinomial naive Bayes: the class by how often which token was read.

    The order of tokens means nothing to it, and it forgets nothing: the longer
    a document, the more it knows. No class is likelier before a token is read,
    as none is drawn more often in training.

    Args:
        task: A `Classification`.
    """

    def __init__(self, task):
        from sklearn.naive_bayes import MultinomialNB

        self.task = task
        self.model = MultinomialNB(alpha=SMOOTHING, fit_prior=False)

    @property
    def weight_shapes(self):
        return [(len(self.task.classes), self.task.question)]

    def fit(self):
        """From all training documents, whole."""
        documents, names = zip(*self.task.training_documents, strict=True)
        counts = np.stack([self._counts(tokens) for tokens in documents])
        self.model.fit(counts, [self.task.classes.index(n) for n in names])
        return self

    def __call__(self, inputs):
        """Tokens `(batch, length)` to logits `(batch, length, vocabulary)`.

        They are 0 but where a row's class is asked for.
        """
        asked = inputs == self.task.question
        if not (asked.sum(axis=1) == 1).all():
            raise ValueError(
                "Argument `inputs` must ask once in each row. Received rows "
                f"that ask {asked.sum(axis=1).tolist()} times."
            )
        at = asked.argmax(axis=1)
        counts = [self._counts(row[:end]) for row, end in zip(inputs, at)]
        logits = np.zeros((*inputs.shape, self.task.vocabulary_size), "float32")
        answers = np.full((len(inputs), logits.shape[-1]), -np.inf)
        known = self.task.choices[self.model.classes_]
        answers[:, known] = self.model.predict_log_proba(np.stack(counts))
        logits[np.arange(len(inputs)), at] = answers
        return logits

    def _counts(self, tokens):
        return np.bincount(tokens, minlength=self.task.question)
