"""Where each token of a text stands on a page."""

import functools
from typing import NamedTuple

from keras_titans.visualization.canvas import plain_text


class Place(NamedTuple):
    """Of one token; lengths in points."""

    line: int
    left: float
    width: float
    text: str  # what is printed of it


def set_lines(words, size, width, figure):
    """`(places, number of lines)` of words on lines of at most `width`.

    A token begins where the one before ends. No line breaks within a word
    that fits on one.
    """
    measure = _measurer(size, figure)
    spaced = not any(c.isspace() for word in words for c in word)
    tokens = [f" {w}" if spaced and i else w for i, w in enumerate(words)]
    places: list[Place] = []
    line, right = 0, 0.0
    for word in _whole_words(tokens):
        length = sum(measure(token) for token in word)
        if right and right + length > width:
            line, right = line + 1, 0.0
        for token in word:
            text = token.replace("\n", "").replace("\t", " ")
            if not right:
                text = text.lstrip()
            room = measure(text)
            if right and right + room > width:  # a word longer than a line
                line, right = line + 1, 0.0
            # The space before a word stays white.
            body = text.lstrip() or text
            left = right + room - measure(body)
            places.append(Place(line, left, measure(body), body))
            right += room
            if "\n" in token and (line or right):
                # Of several new lines, one gives room between paragraphs.
                line, right = line + min(token.count("\n"), 2), 0.0
    return places, line + 1


def _whole_words(tokens):
    """Tokens in groups between which a line may break."""
    word: list[str] = []
    for token in tokens:
        if word and (token[:1].isspace() or word[-1][-1:].isspace()):
            yield word
            word = []
        word.append(token)
    if word:
        yield word


def _measurer(size, figure):
    """A function from a text to its width in points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.font_manager import FontProperties

    renderer = FigureCanvasAgg(figure).get_renderer()
    font = FontProperties(size=size, family="serif")
    scale = 72.0 / figure.dpi

    @functools.cache
    def raw(text):
        width, *_ = renderer.get_text_width_height_descent(
            plain_text(text), font, False
        )
        return scale * width

    @functools.cache
    def measure(text):
        # The width of spaces at an end counts too.
        return raw(f"|{text}|") - raw("||")

    return measure
