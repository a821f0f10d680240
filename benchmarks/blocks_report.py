"""The table and the plot of `blocks.py`, from its raw lines."""

import json
import pathlib

from benchmarks import measure
from benchmarks.markdown import table

TITLES = {"forward": "Forward", "train": "Forward + backward"}
REFERENCE = "titans-pytorch", "torch", "chunk starts"


def read(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    cells = [line for line in lines if line["kind"] == "cell"]
    others = {line["kind"]: line for line in lines if line["kind"] != "cell"}
    return cells, others


def name_of(key):
    package, engine, variant = key
    if package == "titans-pytorch":
        return f"titans-pytorch MAC, gradients at {variant}"
    names = {"full": "full attention", "attention": "window alone"}
    kind, *more = variant.split(", ")
    return ", ".join([names.get(kind, kind), *more, engine])


def key_of(line):
    return line["package"], line["engine"], line["variant"]


def write(output):
    path = pathlib.Path(output).with_suffix(".jsonl")
    cells, others = read(path)
    keys = list(dict.fromkeys(map(key_of, cells)))
    found = {(key_of(c), c["mode"], c["length"]): c for c in cells}
    lengths = sorted({c["length"] for c in cells})
    columns = [f"{n:,}" for n in lengths]
    machine, spec = others["machine"], cells[0]
    gpu = next((c["device_name"] for c in cells if "device_name" in c), None)
    rows = [
        "# Models of Titans blocks" + (", on a GPU" if gpu else ""),
        "",
        f"`{others['command']['command']}`",
        "",
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}"
        + (f"; {gpu}." if gpu else "."),
        "",
        f"{spec['depth']} blocks of width {spec['dim']}, {spec['heads']} heads,"
        f" windows and segments of {spec['window']}, {spec['dtype']}, batch "
        f"{spec['batch']}"
        + ("" if gpu else f", {spec['threads']} threads")
        + ". Median of several calls, "
        "each model at each length in a process of its own; compilation is not "
        "timed. Full attention is `keras.ops.dot_product_attention`, which on "
        "PyTorch is the fused one.",
    ]
    measured = {c["mode"] for c in cells if "median" in c}
    for mode, title in TITLES.items():
        if mode not in measured:
            continue
        body = []
        for key in keys:
            if not any((key, mode, n) in found for n in lengths):
                continue
            values = [_value(found.get((key, mode, n))) for n in lengths]
            shown = [_seconds(found, key, mode, n) for n in lengths]
            body.append([name_of(key), *shown, _flat(lengths, values)])
        rows += ["", f"## {title}, seconds", ""]
        rows += table(["", *columns, "per token"], body)
    rows += ["", "Last: cost per token, longest over shortest that ran."]
    if REFERENCE in keys:
        rows[-1] += (
            " In parentheses: how many times as fast as titans-pytorch with "
            "gradients at chunk starts."
        )
    body = []
    for key in keys:
        values = [_memory(found.get((key, "train", n))) for n in lengths]
        shown = [f"{v / measure.MIB:,.0f}" if v else "–" for v in values]
        body.append([name_of(key), *shown, _slope(lengths, values)])
    where = "on the GPU" if gpu else "over the idle process"
    rows += ["", f"## Peak memory {where}, MiB", ""]
    rows += table(["forward + backward", *columns, "KiB per token"], body)
    body = []
    for key in keys:
        line = found.get((key, "step", lengths[0]))
        if line and "median" in line:
            shown = f"{1e3 * line['median']:.2f}", f"{line['parameters']:,}"
            body.append([name_of(key), *shown])
    if body:
        rows += ["", "## One token from a state", ""]
        rows += table(["", "ms", "parameters"], body)
    missing = {
        (name_of(key_of(c)), f"{c['length']:,}", c["not_run"]): None
        for c in cells
        if "not_run" in c
    }
    for key in keys:
        for n in lengths:
            if not any((key, mode, n) in found for mode in TITLES):
                reason = "the run was ended before"
                missing[name_of(key), f"{n:,}", reason] = None
    if missing:
        body = list(missing)
        rows += ["", "## Not run", "", *table(["", "tokens", "why"], body)]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    if measured:
        plot(keys, found, lengths, path.with_suffix(".png"))


def _value(line):
    return line.get("median") if line else None


def _seconds(found, key, mode, length):
    value = _value(found.get((key, mode, length)))
    if value is None:
        return "–"
    peer = _value(found.get((REFERENCE, mode, length)))
    ratio = f" ({peer / value:.1f}x)" if peer and key != REFERENCE else ""
    return f"{value:.3g}{ratio}"


def _flat(lengths, values):
    there = [(n, v / n) for n, v in zip(lengths, values, strict=True) if v]
    if len(there) < 2:
        return "–"
    return f"{there[-1][1] / there[0][1]:.2f}"


def _memory(line):
    if not line or "peak" not in line:
        return None
    if "device_peak" in line:
        return line["device_peak"]
    return line["peak"] - (line["resident_idle"] or 0)


def _slope(lengths, values):
    there = [(n, v) for n, v in zip(lengths, values, strict=True) if v]
    if len(there) < 2:
        return "–"
    (n0, v0), (n1, v1) = there[-2:]
    return f"{(v1 - v0) / (n1 - n0) / 1024:.1f}"


def plot(keys, found, lengths, path):
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    panels = (
        ("forward", "forward, µs per token"),
        ("train", "forward + backward, µs per token"),
        ("memory", "forward + backward, peak GiB"),
    )
    colors = {}
    for panel, (what, title) in zip(axes, panels, strict=True):
        for key in keys:
            if what == "memory":
                values = [
                    _memory(found.get((key, "train", n))) for n in lengths
                ]
                points = [
                    (n, v / measure.GIB)
                    for n, v in zip(lengths, values, strict=True)
                    if v
                ]
            else:
                points = [
                    (n, 1e6 * v / n)
                    for n in lengths
                    if (v := _value(found.get((key, what, n))))
                ]
            kind, *recomputed = key[2].split(", ")
            color = colors.setdefault((key[:2], kind), f"C{len(colors)}")
            style = color + (":" if recomputed else "-")
            style = {"titans-pytorch": "k--"}.get(key[0], style)
            marker = "s" if key[2] in ("full", "chunk starts") else "o"
            panel.plot(
                *zip(*points) if points else ([], []),
                style,
                marker=marker,
                ms=4,
                label=name_of(key),
            )
        panel.set(xscale="log", yscale="log", xlabel="tokens", title=title)
        panel.set_xticks(lengths, [f"{n:,}" for n in lengths])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=8,
    )
    figure.savefig(path, dpi=130)
