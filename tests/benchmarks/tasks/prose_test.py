"""Text in two halves, windows of it, and what is planted there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import data
from benchmarks.tasks import prose
from benchmarks.tasks.prose import Haystack
from benchmarks.tasks.prose import RepeatedSentence
from benchmarks.tasks.prose import plant
from benchmarks.tasks.tokens import Bytes

DOCUMENT = """Mr. Speaker, we met. Did we?  Yes!
George W. Bush spoke. 3.5 was asked."""
BYTES = Bytes()


def test_sentences_end_where_a_reader_ends_them():
    assert prose.sentences(DOCUMENT) == [
        "Mr. Speaker, we met.",
        "Did we?",
        "Yes!",
        "George W. Bush spoke. 3.5 was asked.",
    ]


def test_a_window_ends_with_a_sentence():
    haystack = Haystack(BYTES, [DOCUMENT, "And more. Of it."])
    whole = BYTES.decode(haystack.tokens)
    assert whole.endswith(" 3.5 was asked. And more. Of it.")
    seen = set()
    for seed in range(40):
        tokens, ends = haystack.window(np.random.default_rng(seed), 25)
        text = BYTES.decode(tokens)
        assert len(tokens) == 25 and text in whole
        assert text[-1] in ".!?" and ends[-1] == 25
        assert all(text[end - 1] in ".!?" for end in ends)
        assert all(text[end] == " " for end in ends[:-1])
        assert np.all(ends > 0) and np.all(np.diff(ends) > 0)
        seen.add(text)
    assert len(seen) == 5  # one for each end that leaves room for 25
    size = len(haystack.tokens)
    tokens, _ = haystack.window(np.random.default_rng(0), size)
    assert BYTES.decode(tokens) == whole
    with pytest.raises(ValueError, match=f"{size} tokens, fewer than the 1000"):
        haystack.window(np.random.default_rng(0), 1000)


@pytest.mark.parametrize("size", [1, 6, 7, 8, 20])
def test_a_repeated_sentence_fills_any_size(size):
    tokens, ends = RepeatedSentence(BYTES, "Again.").window(None, size)
    assert BYTES.decode(tokens) == ("\nAgain." * 4)[-size:]
    wanted = [end for end in range(1, size + 1) if (size - end) % 7 == 0]
    assert ends.tolist() == wanted


def slow_plant(text, ends, depths, planted):
    """Each piece at the nearest sentence's end, the first of equals."""
    at = {}
    for depth, piece in zip(depths, planted):
        stops = [0, *ends]
        place = min(stops, key=lambda stop: abs(stop - depth * len(text)))
        at.setdefault(place, []).append(piece)
    out = []
    for i in range(len(text) + 1):
        for piece in at.get(i, []):
            out += piece
        out += text[i : i + 1]
    return out


@given(
    st.sets(st.integers(1, 19)),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.data(),
)
def test_planting(ends, depths, draw):
    text = np.arange(20)
    ends = sorted(ends | {20})
    planted = [
        np.full(draw.draw(st.integers(1, 3)), 100 + i)
        for i in range(len(depths))
    ]
    tokens, starts = plant((text, np.array(ends)), depths, planted)
    wanted = slow_plant(
        text.tolist(), ends, depths, [p.tolist() for p in planted]
    )
    assert tokens.tolist() == wanted
    for piece, start in zip(planted, starts):
        assert tokens[start : start + len(piece)].tolist() == piece.tolist()


def test_halves_share_no_address():
    halves = prose.addresses()
    assert len(halves.training) + len(halves.held_out) == 237
    assert not set(halves.training) & set(halves.held_out)
    assert "North Carolina to the Constitution" in halves.training[0]
    assert not any("Internet" in text for text in halves.training)
    assert any("Internet" in text for text in halves.held_out)


def test_halves_share_no_novel():
    pytest.importorskip("rdata")
    if data.cached("r-cran-janeaustenr") is None:
        pytest.skip("`python -m benchmarks.data` fetches it")
    halves = prose.novels()
    assert (len(halves.training), len(halves.held_out)) == (4, 2)
    assert all(len(text) > 400_000 for text in (*halves[0], *halves[1]))
    assert "Emma Woodhouse, handsome" in halves.training[0]
    persuasion = [text for text in halves.held_out if "Anne Elliot" in text]
    assert len(persuasion) == 1
    assert not any("Anne Elliot" in text for text in halves.training)
