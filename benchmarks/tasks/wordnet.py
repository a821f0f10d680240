"""Multiple choice from WordNet: the word of a definition, or what it is."""

import re
import string
import zlib
from typing import NamedTuple

import numpy as np

from benchmarks import data
from benchmarks.tasks.task import AnswerTask
from benchmarks.tasks.task import check_choice
from benchmarks.tasks.task import octave
from benchmarks.tasks.task import row_of_parts
from benchmarks.tasks.tokens import Bytes

LONGEST_DEFINITION = 120  # characters
ASK = {
    "definition": "Which word means: {this}?",
    "hypernym": "Which word is more general than {this}?",
}


class Noun(NamedTuple):
    """A meaning of a noun, and the more general meanings it falls under."""

    word: str
    definition: str
    parents: tuple[str, ...]


def read_nouns(text):
    """`{offset: Noun}` of a `data.noun` file."""
    nouns = {}
    for line in text.splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        fields = fields.split(" ")
        pointers = fields[4 + 2 * int(fields[3], 16) + 1 :]
        parents = [
            offset
            for symbol, offset in zip(pointers, pointers[1:])
            if symbol == "@"
        ]
        definition = re.split(r"; \"|$", gloss)[0].strip()
        word = fields[4].replace("_", " ")
        nouns[fields[0]] = Noun(word, definition, tuple(parents))
    return nouns


def wordnet():
    """All nouns of WordNet 3.0."""
    root = data.fetched("wordnet-base")
    path = root / "usr/share/wordnet/data.noun"
    return read_nouns(path.read_text(encoding="ascii", errors="replace"))


def ancestors(nouns, offset):
    """The offsets of all that a noun falls under, itself included."""
    found, left = set(), [offset]
    while left:
        offset = left.pop()
        if offset not in found:
            found.add(offset)
            left += nouns[offset].parents
    return found


def is_held_out(word):
    """Whether the meanings of a word belong to the held-out fifth."""
    return zlib.crc32(word.lower().encode()) % 5 == 0


class MultipleChoice(AnswerTask):
    """Questions of multiple choice, one after the other, each judged.

    "Which word means: a bag-shaped fishnet on a long handle? (A) kettle ...
    Answer:C". A row has as many as there is room for. No word that a held-out
    row asks about is one that a training row asks about. Only the letters
    count as answers. `exact_match_by_position` is split by the tokens that were
    read in the row before, in powers of two.

    Args:
        length: Tokens of a training row.
        question: `"definition"`: the word of a definition; `"hypernym"`: the
            next more general word.
        options: How many answers each question has.
        tokenizer: `Bytes()` by default.
        nouns: `{offset: Noun}`; WordNet's by default.
    """

    by = ("position",)
    whole_rows = False

    def __init__(self, length, question, options=4, tokenizer=None, nouns=None):
        super().__init__(length)
        check_choice("question", question, ASK)
        check_choice("options", options, range(2, 27))
        self.question = question
        self.options = options
        self.letters = string.ascii_uppercase[:options]
        self.tokenizer = tokenizer or Bytes()
        self.vocabulary_size = self.tokenizer.vocabulary_size
        tokens = [self.tokenizer.encode(letter) for letter in self.letters]
        self.choices = np.concatenate(tokens)
        self._nouns = wordnet() if nouns is None else nouns
        self._halves = [], []
        for offset, noun in self._nouns.items():
            if noun.parents and len(noun.definition) <= LONGEST_DEFINITION:
                self._halves[is_held_out(noun.word)].append(offset)

    def training_row(self, rng):
        return self._row(rng, self.length, self._halves[False])

    def held_out_row(self, rng, length, index):
        return self._row(rng, length, self._halves[True])

    def _row(self, rng, length, half):
        parts, position = [], np.zeros(length, int)
        size = 0
        while True:
            text, letter = self._draw(rng, half)
            asked, answer, end = map(
                self.tokenizer.encode, (text, letter, "\n")
            )
            size += len(asked) + len(answer)
            if size > length + 1:
                break
            # The answer is the target of the token before it.
            position[size - 2] = octave(size - 1)
            parts += [(asked, 0.0), (answer, 1.0), (end, 0.0)]
            size += len(end)
        if not parts:
            raise ValueError(
                f"Argument `length` must be at least {size - 1}, for one "
                f"question. Received: length={length}."
            )
        # The last end of line may be one too many.
        parts = parts if size <= length + 1 else parts[:-1]
        return row_of_parts(parts, length, {"position": position})

    def _draw(self, rng, half):
        """A question and the letter of its answer."""
        offset = half[rng.integers(len(half))]
        noun = self._nouns[offset]
        if self.question == "definition":
            this, right = noun.definition, noun.word
            wrong = self._wrong(rng, half, {right}, lambda other: other)
        else:
            this = noun.word
            right = self._nouns[noun.parents[0]].word
            general = ancestors(self._nouns, offset)
            avoid = {self._nouns[a].word for a in general}
            parent = lambda other: self._nouns[other.parents[0]]
            wrong = self._wrong(rng, half, avoid, parent)
        place = int(rng.integers(self.options))
        words = [*wrong[:place], right, *wrong[place:]]
        listed = " ".join(f"({a}) {w}" for a, w in zip(self.letters, words))
        asked = ASK[self.question].format(this=this)
        return f"{asked} {listed}. Answer:", self.letters[place]

    def _wrong(self, rng, half, avoid, of):
        """Words of other nouns of the half, all different."""
        words = []
        for _ in range(100 * self.options):
            word = of(self._nouns[half[rng.integers(len(half))]]).word
            if word not in avoid and word not in words:
                words.append(word)
            if len(words) == self.options - 1:
                return words
        raise ValueError(
            f"Argument `nouns` has too few words for {self.options} options."
        )
