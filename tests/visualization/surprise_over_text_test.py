"""The darker, the more surprising."""

import numpy as np
import pytest

from keras_titans.visualization import surprise_over_text


def lightness(figure):
    """Of each token's box, in order."""
    (boxes,) = figure.axes[0].collections
    return boxes.get_facecolors()[:, :3] @ (0.299, 0.587, 0.114)


def test_more_surprise_is_darker_also_in_grey():
    words = [f"w{i}" for i in range(9)]
    shades = lightness(surprise_over_text(words, np.arange(9.0)))
    assert np.all(np.diff(shades) < 0)
    # Black letters can be read on the darkest.
    assert shades.min() > 0.5


def test_all_words_are_written():
    words = ["a$b", "be", "\x00"]
    figure = surprise_over_text(words, [1.0, np.nan, 3.0], title="Title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"Title", r"a\$b", "be", "\u00b7"} <= set(texts)


def test_the_same_limits_make_the_same_shades():
    one = lightness(surprise_over_text(["a"], [1.0], limits=(0.0, 2.0)))
    other = lightness(
        surprise_over_text(["a", "b"], [1.0, 9.0], limits=(0.0, 2.0))
    )
    assert one[0] == pytest.approx(other[0])
    assert other[0] > other[1]


def test_a_longer_text_makes_a_higher_page():
    short, long = (
        surprise_over_text(["word"] * n, np.ones(n)).get_figheight()
        for n in (5, 200)
    )
    assert long > short + 1
