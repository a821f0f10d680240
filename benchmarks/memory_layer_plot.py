"""The plot of `memory_layer.py`."""

from benchmarks import measure

COLOURS = {  # Okabe and Ito's palette
    "jax": "#0072B2",
    "tensorflow": "#E69F00",
    "torch": "#009E73",
    "titans-pytorch": "#000000",
}


def draw(lines, path):
    """Cost per token and memory against length, a row for each chunk size."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = (
        ("forward", "median", 1e6, "forward, µs per token"),
        ("train", "median", 1e6, "forward + backward, µs per token"),
        ("train", "peak", 1 / measure.GIB, "forward + backward, peak GiB"),
    )
    figure, axes = pyplot.subplots(
        len(lines.chunks),
        len(panels),
        figsize=(13, 4 * len(lines.chunks) + 0.8),
        squeeze=False,
    )
    for row, chunk in zip(axes, lines.chunks, strict=True):
        for axis, (mode, field, scale, title) in zip(row, panels, strict=True):
            _panel(lines, axis, mode, chunk, field, scale)
            axis.set_title(f"{title}, chunk {chunk}", fontsize=10)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=9)
    figure.tight_layout(rect=(0, 0.7 / figure.get_figheight(), 1, 1))
    figure.savefig(path, dpi=120)


def _panel(lines, axis, mode, chunk, field, scale):
    for who in lines.who:
        package, engine, variant = who
        ours = who in lines.ours
        lengths, values = [], []
        for length in lines.lengths:
            value = lines.get(who, mode, chunk, length, field)
            if value:
                per = length if field == "median" else 1
                lengths.append(length)
                values.append(value * scale / per)
        first = variant in ("token", "chunk starts")
        axis.plot(
            lengths,
            values,
            color=COLOURS[engine if ours else package],
            linestyle="-" if first else "--",
            marker="o" if ours else "s",
            markersize=4,
            label=lines.name(who),
        )
    axis.set_xlabel("tokens")
    from matplotlib.ticker import LogLocator

    if not any(len(line.get_xdata()) for line in axis.lines):
        return
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(lines.lengths, [f"{n:,}" for n in lines.lengths])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.grid(alpha=0.3)
