"""Lines of text: nothing lost, nothing over the edge or over each other."""

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.typesetting import set_lines

WIDTH = 120.0


@pytest.fixture(scope="module")
def figure():
    return new_figure(3.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([" the", "re", " a", "\n", ".", "w" * 9])))
def test_every_token_has_its_place(words):
    places, lines = set_lines(words, 10.0, WIDTH, new_figure(3.0, 1.0))
    assert len(places) == len(words)
    assert "".join(place.text for place in places) == "".join(words).replace(
        "\n", ""
    ).replace(" ", "")
    for one, other in zip(places, places[1:]):
        if one.line == other.line:
            assert other.left >= one.left + one.width - 1e-6
        else:
            assert other.line > one.line
    assert all(place.left + place.width <= WIDTH + 1e-6 for place in places)
    assert all(place.line < lines for place in places)


def test_words_get_a_space_between_and_tokens_keep_theirs(figure):
    words, _ = set_lines(["to", "be"], 10.0, WIDTH, figure)
    tokens, _ = set_lines(["to", " be"], 10.0, WIDTH, figure)
    assert words == tokens
    joined, _ = set_lines([" to", "be"], 10.0, WIDTH, figure)
    assert joined[1].left == pytest.approx(joined[0].left + joined[0].width)
    assert words[1].left > joined[1].left


def test_no_line_breaks_within_a_word(figure):
    tokens = [" some", " words", " un", "break", "able"]
    places, _ = set_lines(tokens, 10.0, 78.0, figure)
    lines = [place.line for place in places]
    assert lines[2] == lines[3] == lines[4] > lines[0]
    assert places[2].left == 0.0


def test_a_new_line_ends_a_line(figure):
    places, lines = set_lines(["\n", "a", "\n", "b"], 10.0, WIDTH, figure)
    assert [place.line for place in places] == [0, 0, 0, 1]
    assert lines == 2
