"""A needle in a haystack, in the form of RULER (arXiv 2404.06654).

One sentence gives a number, or a UUID, to a key; at the end the key is asked
for. The three levels are RULER's tasks of a single needle: hidden in a
sentence that is repeated, in prose, and in prose with a UUID as the value.
"""

import functools
import uuid
from typing import NamedTuple

import numpy as np

from benchmarks.tasks.prose import Haystack
from benchmarks.tasks.prose import RepeatedSentence
from benchmarks.tasks.prose import addresses
from benchmarks.tasks.prose import plant
from benchmarks.tasks.task import AnswerTask
from benchmarks.tasks.task import check_choice
from benchmarks.tasks.task import check_count
from benchmarks.tasks.task import check_weight
from benchmarks.tasks.task import row_of_parts
from benchmarks.tasks.tokens import Bytes

REPEATED = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. "
    "There and back again."
)
NEEDLE = "One of the special magic {kind}s for {key} is: {value}."
ONE_NEEDLE = (
    "A special magic {kind} is hidden within the following text. Make sure to "
    "memorize it. I will quiz you about the {kind} afterwards."
)
MANY_NEEDLES = (
    "Some special magic {kind}s are hidden within the following text. Make "
    "sure to memorize it. I will quiz you about the {kind}s afterwards."
)
QUESTION = (
    "\nWhat is the special magic {kind} for {key} mentioned in the provided "
    "text?"
)
PREFIX = " The special magic {kind} for {key} mentioned in the provided text is"


class Level(NamedTuple):
    """What the haystack is made of, and what is hidden in it."""

    is_prose: bool
    kind: str


LEVELS = {
    "passkey": Level(False, "number"),
    "number": Level(True, "number"),
    "uuid": Level(True, "uuid"),
}


def draw_value(rng, kind):
    """A number of seven digits, or a UUID."""
    if kind == "number":
        return str(rng.integers(1_000_000, 10_000_000))
    return str(uuid.UUID(bytes=rng.bytes(16), version=4))


@functools.cache
def keys():
    """Adjectives, nouns to train on and nouns that are held out."""
    import wonderwords

    words = wonderwords.RandomWord()
    clean = lambda part: [
        word
        for word in sorted(set(words.filter(include_parts_of_speech=[part])))
        if word.isalpha()
        and word.islower()
        and not wonderwords.is_profanity(word)
    ]
    nouns = clean("nouns")
    return (
        clean("adjectives"),
        [noun for i, noun in enumerate(nouns) if i % 5],
        nouns[::5],
    )


class Needle(AnswerTask):
    """RULER's single needle, at every depth of a text of any length.

    `exact_match_by_depth` is split by where the needle is, in percent of the
    text: over several lengths, the well-known map. Prose and nouns of the
    held-out rows are in no training row.

    Args:
        length: Tokens of a training row.
        level: `"passkey"`, `"number"` or `"uuid"`.
        tokenizer: `Bytes()` by default.
        prose: The documents to hide in; presidents' addresses by default.
        depths: How many depths held-out needles are at, one after the other.
        needles: How many needles, each asked for, there are in a training
            row: more make training denser. In held-out rows there is one.
        text_weight: What the text counts in training, beside an answer's 1.
    """

    by = ("depth",)

    def __init__(
        self,
        length,
        level,
        tokenizer=None,
        prose=None,
        depths=10,
        needles=1,
        text_weight=0.0,
    ):
        super().__init__(length)
        check_choice("level", level, LEVELS)
        check_count("depths", depths)
        check_count("needles", needles)
        check_weight("text_weight", text_weight)
        self.tokenizer = tokenizer or Bytes()
        self.vocabulary_size = self.tokenizer.vocabulary_size
        self.kind = LEVELS[level].kind
        self.depths = np.linspace(0, 100, depths).round().astype(int)
        self.needles = needles
        self.text_weight = text_weight
        if LEVELS[level].is_prose:
            halves = addresses() if prose is None else prose
            self._training, self._held_out = (
                Haystack(self.tokenizer, documents) for documents in halves
            )
        else:
            self._training = RepeatedSentence(self.tokenizer, REPEATED)
            self._held_out = self._training
        self._adjectives, self._nouns, self._held_out_nouns = keys()

    def training_row(self, rng):
        depths = 100 * rng.random(self.needles)
        found = self._keys(rng, self._nouns, self.needles)
        return self._row(
            rng, self.length, self._training, found, depths, self.text_weight
        )

    def held_out_row(self, rng, length, index):
        depths = self.depths[[index % len(self.depths)]]
        found = self._keys(rng, self._held_out_nouns, 1)
        return self._row(rng, length, self._held_out, found, depths, 0.0)

    def _keys(self, rng, nouns, count):
        nouns = rng.choice(nouns, count, replace=False)
        return [f"{rng.choice(self._adjectives)}-{noun}" for noun in nouns]

    def _row(self, rng, length, haystack, found, depths, text_weight):
        values = [draw_value(rng, self.kind) for _ in found]
        encode = lambda text, **about: self.tokenizer.encode(
            text.format(kind=self.kind, **about)
        )
        intro = encode(ONE_NEEDLE if len(found) == 1 else MANY_NEEDLES)
        needles = [
            encode(haystack.separator + NEEDLE, key=key, value=value)
            for key, value in zip(found, values)
        ]
        questions = []
        for i in rng.permutation(len(found)):
            question = encode(QUESTION + PREFIX, key=found[i])
            questions.append((question, text_weight))
            questions.append((encode(" " + values[i]), 1.0))
        fixed = sum(map(len, [intro, *needles, *(q for q, _ in questions)]))
        if fixed > length:
            raise ValueError(
                f"Argument `length` must be at least {fixed}, for needle and "
                f"question. Received: length={length}."
            )
        window = haystack.window(rng, length + 1 - fixed)
        text, _ = plant(window, depths / 100, needles)
        parts = [(intro, text_weight), (text, text_weight), *questions]
        return row_of_parts(parts, length, {"depth": depths[0]})
