"""A page of text, shaded by how surprising each token was."""

import numpy as np

from keras_titans.visualization.canvas import INK
from keras_titans.visualization.canvas import glow
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import plain_text
from keras_titans.visualization.checks import as_array
from keras_titans.visualization.checks import check_lengths
from keras_titans.visualization.checks import check_texts
from keras_titans.visualization.typesetting import set_lines

MARGIN = 28.0  # points, as all that follows
SIZE = 10.5  # of the letters
LEADING = 1.62 * SIZE  # from line to line


def surprise_over_text(words, surprise, title=None, limits=None, width=7.5):
    """A text with each token the darker, the more surprising it was.

    Args:
        words: The tokens or words as strings, in order. Tokens that carry
            their own spaces are set as they are; where none has any space,
            one is put between each two. A line breaks in a new line and
            between words.
        surprise: `(tokens,)`: a number for each, from `return_diagnostics=True`
            say, the mean over heads.
        title: What to write above.
        limits: `(low, high)`: the surprises that are white and darkest, to
            compare figures. By default the 2nd and 98th of 100.
        width: Of the page, in inches. It is as high as it must be.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import keras
    import keras_titans

    words = "What was read once can be read again .".split()
    x = keras.random.normal((1, len(words), 16))
    layer = keras_titans.layers.NeuralMemory(num_heads=2)
    _, diagnostics = layer(x, return_diagnostics=True)

    surprise = keras.ops.convert_to_numpy(diagnostics["surprise"])[0].mean(-1)
    figure = keras_titans.visualization.surprise_over_text(words, surprise)
    ```
    """
    words = check_texts("words", words)
    surprise = as_array("surprise", surprise, 1)
    check_lengths(words=len(words), surprise=len(surprise))
    low, high = limits or _range(surprise)
    page = 72.0 * width
    top = MARGIN + (2.2 * SIZE if title else 0.0)
    figure = new_figure(width, 1.0, layout="none")
    places, lines = set_lines(words, SIZE, page - 2 * MARGIN, figure)
    height = top + lines * LEADING + 2.6 * SIZE + MARGIN
    figure.set_size_inches(width, height / 72.0)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, page), ylim=(height, 0))
    axis.set_axis_off()
    if title:
        axis.text(MARGIN, MARGIN, title, size=SIZE + 1.5, color=INK, va="top")
    _draw_tokens(axis, places, surprise, (low, high), top)
    _draw_scale(axis, low, high, page, top + lines * LEADING + 1.5 * SIZE)
    return figure


def _range(surprise):
    finite = surprise[np.isfinite(surprise)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (2, 98))
    return (low, high) if high > low else (low, low + 1.0)


def _draw_tokens(axis, places, surprise, limits, top):
    from matplotlib.collections import PolyCollection

    low, high = limits
    level = np.clip((surprise - low) / (high - low), 0.0, 1.0)
    level = np.nan_to_num(level)
    boxes = []
    for place in places:
        left = MARGIN + place.left
        base = top + (place.line + 0.72) * LEADING
        up, down = base - 1.02 * SIZE, base + 0.36 * SIZE
        right = left + place.width
        boxes.append([(left, up), (right, up), (right, down), (left, down)])
        if place.text.strip():
            axis.text(
                left,
                base,
                plain_text(place.text),
                size=SIZE,
                family="serif",
                color="black",
                va="baseline",
            )
    axis.add_collection(
        PolyCollection(boxes, facecolors=glow()(level), lw=0, zorder=0)
    )


def _draw_scale(axis, low, high, page, y):
    """What the shades mean, at the page's foot."""
    length, thick = 110.0, 0.55 * SIZE
    start = page - MARGIN - length - 4.2 * SIZE
    axis.imshow(
        np.linspace(0, 1, 128)[None],
        cmap=glow(),
        extent=(start, start + length, y + thick, y),
        aspect="auto",
    )
    small = {"size": 0.78 * SIZE, "color": INK, "va": "center"}
    middle = y + thick / 2
    axis.text(start - 5, middle, f"surprise  {low:.2g}", ha="right", **small)
    axis.text(start + length + 5, middle, f"{high:.2g}", **small)
