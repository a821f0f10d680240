"""What all figures share: how they are made, and how they look."""

import numpy as np

INK = "#222222"
QUIET = "#8a8a8a"
# Okabe and Ito's, in an order in which lightness differs too; with a line
# style and a marker each, for who sees no colour at all.
COLORS = ("#0b6e99", "#d98324", "#8a8a8a", "#7a3e9d", "#2f2f2f", "#6bb7d6")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))


def new_figure(width, height, layout="constrained"):
    """A figure of so many inches, out of pyplot's sight."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`keras_titans.visualization` needs matplotlib: "
            'pip install "keras-titans[plot]".'
        ) from error
    figure = Figure(figsize=(width, height), layout=layout, dpi=130)
    figure.patch.set_facecolor("white")
    return figure


def shades():
    """From white to a dark blue, evenly in lightness."""
    return _color_map(("#ffffff", "#a9cfe0", "#4c94b5", "#0b6e99", "#063a52"))


def glow():
    """From white to an orange that black letters can be read on."""
    return _color_map(("#ffffff", "#fbe3c2", "#f2b56b", "#e08a2c"))


def _color_map(colors):
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("keras_titans", colors)


def letters_on(color):
    """Black or white: what can be read on a colour."""
    red, green, blue = color[:3]
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return INK if light > 0.55 else "white"


def tidy(axis):
    """Nothing around a plot that tells nothing."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK)


def image(axis, values, vmin, vmax):
    """Squares of colour, `(rows, columns)`; returns what a legend needs."""
    drawn = axis.imshow(
        np.ma.masked_invalid(values),
        cmap=shades(),
        vmin=vmin,
        vmax=vmax,
        aspect="auto",
        interpolation="nearest",
    )
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return drawn


def write_into(axis, drawn, texts, size=8):
    """A text in every square of an `image`."""
    for (row, column), value in np.ndenumerate(drawn.get_array()):
        known = not np.ma.is_masked(value)
        color = letters_on(drawn.cmap(drawn.norm(value))) if known else QUIET
        axis.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            size=size,
            color=color,
        )


def plain_text(word):
    """A token as it can be printed: what cannot be seen becomes visible.

    Dollar signs are escaped, because matplotlib would set formulas.
    """
    shown = "".join(
        letter if letter.isprintable() else "\u00b7" for letter in word
    )
    return shown.replace("$", r"\$")
