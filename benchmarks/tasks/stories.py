"""bAbI-style questions about facts that are scattered in prose.

In the manner of BABILong (arXiv 2406.10149), on a world of our own: figures
are not comparable with those published for either.
"""

import zlib
from typing import NamedTuple

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

# Of "Where is Grace?" the answer is as near to the name as in "Grace went to
# the garden".
QUESTION = "\n{question} In the"


def is_held_out(told):
    """Whether a story, as it is told, belongs to the held-out fifth."""
    return zlib.crc32("\n".join(told).encode()) % 5 == 0


def draw(rng, sentences, held_out):
    """Events and how they are told, of one of the two parts of all stories."""
    while True:
        people = rng.choice(PEOPLE, 3, replace=False)
        objects = rng.choice(OBJECTS, 2, replace=False)
        events = happen(rng, sentences, people, objects)
        told = [event.tell(rng) for event in events]
        if is_held_out(told) == held_out:
            return events, told


def tellings(count=2000):
    """Training stories and questions as texts: for a tokenizer to learn.

    With them the names of people, rooms and objects are tokens, as words are
    in bAbI, and not spelled out in each sentence.
    """
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(count):
        events, told = draw(rng, 10, held_out=False)
        asked = [
            f"{QUESTION.format(question=question.text)} {question.answer}"
            for num_facts in (1, 2, 3)
            for question in questions(events, num_facts)
        ]
        texts.append(" ".join(["", *told]) + "".join(asked))
    return texts


class Piece(NamedTuple):
    """Tokens to be put into prose; the last `answer` of them are asked for."""

    tokens: np.ndarray
    answer: int = 0


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
        questions: How many questions a training row asks at most: one at the
            end, as in held-out rows, and before it one after events that are
            drawn, about what has happened by then.
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
        questions=1,
        text_weight=0.0,
    ):
        super().__init__(length)
        check_choice("num_facts", num_facts, (1, 2, 3))
        check_count("sentences", sentences, least=2 * num_facts)
        check_count("questions", questions)
        check_weight("text_weight", text_weight)
        self.num_facts = num_facts
        self.sentences = sentences
        self.questions = questions
        self.tokenizer = tokenizer or Bytes()
        self.vocabulary_size = self.tokenizer.vocabulary_size
        self.text_weight = text_weight
        halves = addresses() if prose is None else prose
        self._training, self._held_out = (
            Haystack(self.tokenizer, documents) for documents in halves
        )

    def training_row(self, rng):
        events, told = self._story(rng, held_out=False)
        after = rng.integers(1, len(events) + 1, self.questions - 1)
        asked = self._ask(rng, events, [*np.sort(after), len(events)])
        return self._row(
            rng, self.length, self._training, told, asked, self.text_weight
        )

    def held_out_row(self, rng, length, index):
        events, told = self._story(rng, held_out=True)
        asked = self._ask(rng, events, [len(events)])
        return self._row(rng, length, self._held_out, told, asked, 0.0)

    def _story(self, rng, held_out):
        """A story that there is a question about."""
        while True:
            events, told = draw(rng, self.sentences, held_out)
            if questions(events, self.num_facts):
                return events, told

    def _ask(self, rng, events, after):
        """A question after so many events, where there is one to be asked."""
        asked = []
        for count in after:
            if found := questions(events[:count], self.num_facts):
                asked.append((count, found[rng.integers(len(found))]))
        return asked

    def _row(self, rng, length, haystack, told, asked, text_weight):
        *earlier, (_, last) = asked
        pieces = [
            Piece(self.tokenizer.encode(haystack.separator + sentence))
            for sentence in told
        ]
        for count, question in reversed(earlier):
            pieces.insert(count, self._question(question))
        needed = last.support[0]
        needed += sum(count <= needed for count, _ in earlier)
        end = self._question(last)
        fixed = sum(len(piece.tokens) for piece in [*pieces, end])
        if fixed > length:
            raise ValueError(
                f"Argument `length` must be at least {fixed}, for facts and "
                f"questions. Received: length={length}."
            )
        window = haystack.window(rng, length + 1 - fixed)
        depths = np.sort(rng.random(len(pieces)))
        text, starts = plant(window, depths, [p.tokens for p in pieces])
        weight = np.full(len(text), text_weight)
        for piece, start in zip(pieces, starts):
            stop = start + len(piece.tokens)
            weight[stop - piece.answer : stop] = 1.0
        distance = len(text) + len(end.tokens) - end.answer - starts[needed]
        ending = np.split(end.tokens, [len(end.tokens) - end.answer])
        return row_of_parts(
            [(text, weight), (ending[0], text_weight), (ending[1], 1.0)],
            length,
            {"distance": octave(distance)},
        )

    def _question(self, question):
        asked = self.tokenizer.encode(QUESTION.format(question=question.text))
        answer = self.tokenizer.encode(f" {question.answer}")
        return Piece(np.concatenate([asked, answer]), len(answer))
