"""What a memory is worth: the loss, the more has been read."""

import numpy as np

from keras_titans.validation import check_choice
from keras_titans.validation import check_positive_integer
from keras_titans.visualization.canvas import COLORS
from keras_titans.visualization.canvas import INK
from keras_titans.visualization.canvas import LINES
from keras_titans.visualization.canvas import MARKERS
from keras_titans.visualization.canvas import QUIET
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import tidy
from keras_titans.visualization.checks import as_array


def loss_by_position(
    losses, where=None, against=None, first=64, title=None, axis=None
):
    """Losses by how many tokens were read before, in doubling ranges.

    Each range's loss is a mean over its tokens, then over rows. Around it is
    shaded one standard error, from row to row; for a single row none.

    Args:
        losses: `(rows, tokens)`, or a dictionary of such by what to call
            them, with and without memory, say.
        where: `(rows, tokens)`, boolean: which tokens count. By default all.
        against: A name in `losses`: then the others are shown as their
            differences to it, row by row, which spread far less.
        first: Tokens of the first range.
        title: What to write above.
        axis: A `matplotlib` axis to draw into, if not a new figure's.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import numpy as np
    import keras_titans

    rng = np.random.default_rng(0)
    read = np.arange(1, 1025)
    with_memory = 3.0 + read**-0.3 + 0.1 * rng.normal(size=(4, 1024))
    without = 3.4 + 0.1 * rng.normal(size=(4, 1024))
    figure = keras_titans.visualization.loss_by_position(
        {"with memory": with_memory, "without": without}
    )
    ```
    """
    if not isinstance(losses, dict):
        losses = {"": losses}
    losses = {
        name: as_array("losses", values, 2) for name, values in losses.items()
    }
    check_positive_integer("first", first)
    counted = _check_alike(losses, where)
    if against is not None:
        check_choice("against", against, tuple(losses))
    edges = doubling_edges(counted.shape[1], first)
    means = {
        name: range_means(values, counted, edges)
        for name, values in losses.items()
    }
    figure = axis.figure if axis is not None else new_figure(6.0, 3.8)
    axis = figure.add_subplot() if axis is None else axis
    style = zip(COLORS * 9, MARKERS * 9, LINES * 9)
    if against is not None:
        base = means.pop(against)
        means = {name: values - base for name, values in means.items()}
        axis.axhline(0.0, color=QUIET, lw=1.0)
    centers = np.sqrt(np.maximum(edges[:-1], first / 2) * edges[1:])
    for (name, rows), (color, marker, line) in zip(means.items(), style):
        middle, error = _mean_and_error(rows)
        axis.plot(
            centers, middle, line, marker=marker, ms=4, color=color, label=name
        )
        axis.fill_between(
            centers,
            middle - error,
            middle + error,
            color=color,
            alpha=0.2,
            lw=0,
        )
    ylabel = "loss, nats a token"
    if against is not None:
        ylabel = f"loss less that of \u201c{against}\u201d, nats a token"
    axis.set(
        xscale="log", xlabel="tokens read before", ylabel=ylabel, title=title
    )
    _label_ranges(axis, edges)
    if any(means):
        axis.legend(frameon=False, labelcolor=INK)
    tidy(axis)
    axis.grid(axis="y", alpha=0.25)
    return figure


def doubling_edges(tokens, first):
    """0, `first`, twice that and so on, and `tokens`."""
    edges = [0]
    while max(edges[-1] * 2, first) < tokens:
        edges.append(max(edges[-1] * 2, first))
    return np.array([*edges, tokens])


def range_means(values, counted, edges):
    """`(rows, ranges)`: the mean over the tokens that count; NaN for none."""
    total, count = (
        np.add.reduceat(x, edges[:-1], axis=1)
        for x in (np.where(counted, values, 0.0), counted.astype("float64"))
    )
    return np.divide(
        total, count, out=np.full_like(total, np.nan), where=count > 0
    )


def _mean_and_error(rows):
    """Of each range, over the rows that have it."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    middle = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(known, np.square(rows - middle), 0.0).sum(axis=0)
    error = np.sqrt(square / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.where(count > 0, middle, np.nan), error


def _label_ranges(axis, edges):
    from matplotlib.ticker import FuncFormatter
    from matplotlib.ticker import NullLocator

    ticks = list(edges[1:])
    if len(ticks) > 1 and ticks[-1] < 1.6 * ticks[-2]:
        del ticks[-2]  # there is no room for both
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", rotation=45 if len(edges) > 8 else 0)


def _check_alike(losses, where):
    """Where tokens count, if all arrays are of one shape."""
    if not losses:
        raise ValueError(
            "Argument `losses` must have at least one entry. Received: {}."
        )
    shapes = {name: values.shape for name, values in losses.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            "The entries of argument `losses` must have the same shape "
            f"(rows, tokens). Received: {shapes}."
        )
    shape = next(iter(shapes.values()))
    if where is None:
        return np.ones(shape, dtype=bool)
    where = np.asarray(where)
    if where.shape != shape or where.dtype != bool:
        raise ValueError(
            "Argument `where` must be boolean, of the shape of `losses`, "
            f"{shape}. Received: {where.dtype} of shape {where.shape}."
        )
    return where
