"""bAbI-style questions about facts that are scattered in prose.

In the manner of BABILong (arXiv 2406.10149), on a world of our own: figures
are not comparable with those published for either.
"""

import zlib

import numpy as np

from benchmarks.tasks.prose import Haystack
from benchmarks.tasks.prose import addresses
from benchmarks.tasks.prose import plant
from benchmarks.tasks.task import AnswerTask
from benchmarks.tasks.task import check_choice
from benchmarks.tasks.task import check_count
from benchmarks.tasks.task import check_weight
from benchmarks.tasks.task import octave
from benchmarks.tasks.task import row_of_parts
from benchmarks.tasks.tokens import Bytes
from benchmarks.tasks.world import OBJECTS
from benchmarks.tasks.world import PEOPLE
from benchmarks.tasks.world import happen
from benchmarks.tasks.world import questions

QUESTION = "\n{question}\nIn the"


def is_held_out(told):
    """Whether a story, as it is told, belongs to the held-out fifth."""
    return zlib.crc32("\n".join(told).encode()) % 5 == 0


class Stories(AnswerTask):
    """bAbI-style questions in prose: who is where, what is where, and was.

    However long the row, a story has the same number of sentences, in their
    order, anywhere in it. `exact_match_by_distance` is split by the tokens
    from the first fact that is needed to the answer, in powers of two.
    Neither a story nor the prose of a held-out row is in a training row.

    Args:
        length: Tokens of a training row.
        num_facts: How many facts an answer takes: 1 where a person is, 2
            where an object is, 3 where it was before.
        sentences: How many sentences a story has.
        tokenizer: `Bytes()` by default.
        prose: The documents to hide in; presidents' addresses by default.
        text_weight: What the text counts in training, beside an answer's 1.
    """

    by = ("distance",)

    def __init__(
        self,
        length,
        num_facts,
        sentences=10,
        tokenizer=None,
        prose=None,
        text_weight=0.0,
    ):
        super().__init__(length)
        check_choice("num_facts", num_facts, (1, 2, 3))
        check_count("sentences", sentences, least=2 * num_facts)
        check_weight("text_weight", text_weight)
        self.num_facts = num_facts
        self.sentences = sentences
        self.tokenizer = tokenizer or Bytes()
        self.vocabulary_size = self.tokenizer.vocabulary_size
        self.text_weight = text_weight
        halves = addresses() if prose is None else prose
        self._training, self._held_out = (
            Haystack(self.tokenizer, documents) for documents in halves
        )

    def training_row(self, rng):
        story = self._story(rng, held_out=False)
        return self._row(
            rng, self.length, self._training, story, self.text_weight
        )

    def held_out_row(self, rng, length, index):
        story = self._story(rng, held_out=True)
        return self._row(rng, length, self._held_out, story, 0.0)

    def _story(self, rng, held_out):
        """Sentences and a question, drawn until there is one to be asked."""
        while True:
            people = rng.choice(PEOPLE, 3, replace=False)
            objects = rng.choice(OBJECTS, 2, replace=False)
            events = happen(rng, self.sentences, people, objects)
            asked = questions(events, self.num_facts)
            told = [event.tell(rng) for event in events]
            if asked and is_held_out(told) == held_out:
                return told, asked[rng.integers(len(asked))]

    def _row(self, rng, length, haystack, story, text_weight):
        told, question = story
        facts = [
            self.tokenizer.encode(haystack.separator + sentence)
            for sentence in told
        ]
        asked = self.tokenizer.encode(QUESTION.format(question=question.text))
        answer = self.tokenizer.encode(f" {question.answer}")
        fixed = sum(map(len, [*facts, asked, answer]))
        if fixed > length:
            raise ValueError(
                f"Argument `length` must be at least {fixed}, for facts and "
                f"question. Received: length={length}."
            )
        window = haystack.window(rng, length + 1 - fixed)
        depths = np.sort(rng.random(len(facts)))
        text, starts = plant(window, depths, facts)
        distance = len(text) + len(asked) - starts[question.support[0]]
        return row_of_parts(
            [(text, text_weight), (asked, text_weight), (answer, 1.0)],
            length,
            {"distance": octave(distance)},
        )
