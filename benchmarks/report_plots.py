"""Plots of a suite's results: one look for each model, the same everywhere."""

import numpy as np

from benchmarks.aims import octave_before
from benchmarks.experiment import training_lengths
from benchmarks.report_tables import in_order
from benchmarks.report_tables import name_of
from benchmarks.report_tables import unit
from benchmarks.variants import BEST
from benchmarks.variants import MODELS
from benchmarks.variants import PAYING
from benchmarks.variants import TITANS
from keras_titans.visualization.canvas import image
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import tidy
from keras_titans.visualization.canvas import write_into

# Paul Tol's "muted", made for colour-blind readers, and two of no hue. What
# has the package's memory is drawn solid, what it is compared with dashed, and
# each with a marker of its own, for who sees no colour at all.
LOOKS = {
    "MAC": ("#332288", "o"),
    "MAG": ("#882255", "s"),
    "MAL": ("#117733", "^"),
    "LMM": ("#CC6677", "D"),
    BEST: ("#AA4499", "p"),
    PAYING: ("#5B2A86", "8"),
    "slots": ("#999933", "P"),
    "transformer": ("#000000", "v"),
    "window": ("#777777", "X"),
    "rg-lru": ("#88CCEE", "<"),
    "mamba-2": ("#DDAA33", ">"),
    "gated-delta": ("#44AA99", "*"),
    "seasonal naive": ("#BBBBBB", "d"),
    "NLinear": ("#6699CC", "h"),
    "DLinear": ("#661100", "H"),
    "naive Bayes": ("#0077BB", "x"),
}


def look(group):
    """Colour, marker and line of a model."""
    color, marker = LOOKS[group.model]
    solid = MODELS[group.model].mixer in (*TITANS, "slots")
    return {"color": color, "marker": marker, "ls": "-" if solid else "--"}


def is_main(group):
    """Whether it is in plots: no ablation is, but the best of them."""
    return group.model in LOOKS


def curve(axis, x, values, label, style):
    """Means over seeds, and the range from the lowest to the highest.

    Args:
        values: For each of `x`, a list with one for each seed.
    """
    known = [i for i, one in enumerate(values) if len(one)]
    if not known:
        return
    x = np.asarray(x)[known]
    values = [values[i] for i in known]
    scale = 6 if style["marker"] == "*" else 4.5
    axis.plot(x, [np.mean(v) for v in values], label=label, ms=scale, **style)
    low, high = ([f(v) for v in values] for f in (np.min, np.max))
    axis.fill_between(x, low, high, color=style["color"], alpha=0.13, lw=0)


def lines(found, x, values, xlabel, ylabel, title):
    """A figure with a curve for each group, its legend to the right."""
    figure = new_figure(7.0, 3.9)
    axis = figure.add_subplot()
    for group in in_order(found):
        curve(axis, x, values(group), name_of(group, found), look(group))
    axis.set_xscale("log", base=2)
    axis.set_xticks(x, [f"{n:,}" for n in x], rotation=45 * (len(x) > 8))
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.grid(axis="y", alpha=0.25)
    tidy(axis)
    if axis.lines:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def by_length(found, metric):
    """The score at each held-out length."""
    found = [group for group in found if is_main(group)]
    lengths = sorted({n for group in found for n in group.lengths})
    of, rows_of = found[0].configuration, found[0].rows_of
    scale = 100 if metric == "exact_match" else 1
    trained_on = f"{of['length']:,}"
    if (longest := max(training_lengths(of))) > of["length"]:
        trained_on += f" to {longest:,}"
    figure = lines(
        found,
        lengths,
        lambda group: [
            [scale * v for v in group.values(metric, n)] for n in lengths
        ],
        f"{rows_of} of a held-out row",
        unit(metric),
        f"{of['experiment']}: trained on {trained_on} {rows_of}",
    )
    axis = figure.axes[0]
    if metric == "exact_match":
        axis.set_ylim(-2, 102)
    else:
        trained = [group.values(metric, group.lengths[0]) for group in found]
        cut(axis, [value for values in trained for value in values])
    return figure


def by_position(found, metric):
    """The score by how much was read before, in the longest rows."""
    found = [group for group in found if is_main(group)]
    split = f"{metric}_by_position"
    scale = 100 if metric == "exact_match" else 1
    longest = max(n for group in found for n in group.lengths)
    names = {int(n): None for group in found for n in group.names(split)}
    # The last range of all is a single token of each row.
    places = sorted(name for name in names if name < longest)
    figure = lines(
        found,
        places,
        lambda group: [
            [scale * v for v in group.values((split, n), longest)]
            for n in places
        ],
        "tokens read before: from so many to twice as many",
        unit(metric),
        f"{found[0].experiment}: rows of {longest:,} tokens",
    )
    if metric == "exact_match":
        figure.axes[0].set_ylim(-2, 102)
        return figure
    last = octave_before(found[0].configuration["length"])
    trained = [group.values((split, last), longest) for group in found]
    cut(figure.axes[0], [value for values in trained for value in values])
    return figure


def cut(axis, trained):
    """Show losses about as high as those at the training length.

    One that grows far beyond them would leave the others a single line: it
    goes out of sight.

    Args:
        trained: The losses at the training length.
    """
    low = min((min(line.get_ydata()) for line in axis.lines), default=0)
    top = max(trained, default=low)
    margin = 0.08 * (top - low)
    if margin and top + margin < axis.get_ylim()[1]:
        axis.set_ylim(low - margin, top + margin)
        axis.set_ylabel(f"{axis.get_ylabel()} (what is higher is cut off)")


def needle_maps(found):
    """The needle found, by depth and length: a map for each model."""
    found = [group for group in in_order(found) if is_main(group)]
    found = [group for group in found if group.judged]
    columns = min(5, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(0.9 + 2.3 * columns, 0.5 + 2.7 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    for axis, group in zip(axes, found):
        drawn = needle_map(axis, group)
        axis.set_title(name_of(group, found), fontsize=10)
    for i in range(0, len(found), columns):
        axes[i].set_ylabel("depth, %")
    bar = figure.colorbar(drawn, ax=axes.tolist(), aspect=30, shrink=0.7)
    bar.set_label("found, %")
    bar.outline.set_visible(False)
    figure.suptitle(f"{found[0].experiment}, by tokens of the row")
    return figure


def needle_map(axis, group):
    split = "exact_match_by_depth"
    depths, lengths = group.names(split), group.lengths
    values = [
        [group.mean((split, depth), length) for length in lengths]
        for depth in depths
    ]
    found = 100 * np.array(values, dtype="float64")
    drawn = image(axis, found, 0.0, 100.0)
    texts = [["" if np.isnan(v) else f"{v:.0f}" for v in row] for row in found]
    write_into(axis, drawn, texts, size=7)
    axis.set_xticks(
        range(len(lengths)), [f"{n:,}" for n in lengths], rotation=45, size=7
    )
    axis.set_yticks(range(len(depths)), depths, size=7)
    return drawn
