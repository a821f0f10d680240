"""The table and the plot of `memory_layer.py`, from its raw lines."""

import json

from benchmarks import measure
from benchmarks import memory_layer_plot
from benchmarks.markdown import table

PEERS = ("chunk starts", "initial weights")
MODES = {"forward": "Forward", "train": "Forward + backward"}
NONE = "–"


class Lines:
    """The raw lines of one run, by what they are about."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.cells, self.rates, self.versions = {}, {}, {}
        for line in lines:
            kind = line.pop("kind")
            if kind == "cell":
                who = (line["package"], line["engine"], line["variant"])
                where = (line["mode"], line["chunk"], line["length"])
                self.cells[who, where] = line
            elif kind == "rate":
                where = (line["mode"], line["chunk"], line["length"])
                self.rates[where] = line["rates"]
            elif kind == "versions":
                self.versions |= line
            else:
                setattr(self, kind, line)
        self.who = list(dict.fromkeys(who for who, _ in self.cells))
        self.ours = [who for who in self.who if who[0] == "keras_titans"]
        self.chunks = self.options["chunks"]
        self.lengths = self.options["lengths"]

    def get(self, who, mode, chunk, length, field="median"):
        return self.cells.get((who, (mode, chunk, length)), {}).get(field)

    def name(self, who):
        package, engine, variant = who
        if package == "keras_titans":
            return f"{package}, {engine}, anchor={variant}"
        return f"{package}, gradients at {variant}"

    def busy(self, *where):
        """Whether others had more than a tenth of the cores, in most turns."""
        shares = self.get(*where, field="others") or []
        return (measure.median(s or 0.0 for s in shares) or 0.0) > 0.1

    def product_rate(self, size, *where):
        """Operations per second of the fastest engine's products."""
        rates = self.rates.get(where, {})
        found = [r for name, r in rates.items() if r and name.startswith(size)]
        return max(found, default=None)


def write(output):
    """Writes `output`.md and `output`.png from `output`.jsonl."""
    lines = Lines(output + ".jsonl")
    parts = [_head(lines)]
    for chunk in lines.chunks:
        for mode in MODES:
            parts.append(_times(lines, mode, chunk))
        parts.append(_summary(lines, chunk))
        parts.append(_sizes(lines, chunk))
        for mode in MODES:
            parts.append(_memory(lines, mode, chunk))
    parts += [_rates(lines), _not_run(lines)]
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(parts))
    memory_layer_plot.draw(lines, output + ".png")


def _table(head, rows):
    return "\n".join(table(head, rows)) + "\n"


def _number(value, digits=3):
    """Three significant digits, without an exponent."""
    if value is None:
        return NONE
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def _ratio(above, below):
    return above / below if above and below else None


def _times_faster(value):
    return NONE if value is None else f"{value:.2g}x"


def _head(lines):
    o, m = lines.options, lines.machine
    versions = ", ".join(f"{k} {v}" for k, v in sorted(lines.versions.items()))
    return f"""# The memory layer beside titans-pytorch

`{lines.command["command"]}`

{m["processor"]}, {m["cores"]} cores, {m["memory_gib"]} GiB, {m["system"]}, \
Python {m["python"]}; {versions}; load at the start {m["load_at_start"]}.

One layer, dim {o["dim"]}, {o["heads"]} heads x {o["head_dim"]}, a memory of \
depth {o["depth"]} and expansion {o["expansion"]}, float32, batch \
{o["batch"]}, {o["threads"]} threads. Every figure is the median of several \
calls; each implementation at each length and chunk is a process of its own, \
and those of one length and chunk take turns, so that ratios are of the same \
minutes. Compilation is not timed (it is in the raw lines). Forward + backward \
gives the gradients by all weights and by the input. JAX runs under `jax.jit`, \
TensorFlow under `jit_compile=True`, PyTorch eagerly, the peer too.
"""


def _times(lines, mode, chunk):
    """Milliseconds, and how many times faster than the peer's two modes."""
    rows = []
    for who in lines.who:
        row = [lines.name(who)]
        for length in lines.lengths:
            seconds = lines.get(who, mode, chunk, length)
            if seconds is None:
                row.append(NONE)
                continue
            cell = _number(1000 * seconds)
            if lines.busy(who, mode, chunk, length):
                cell += "*"
            if who in lines.ours:
                cell += (
                    f" ({_against_peers(lines, seconds, mode, chunk, length)})"
                )
            row.append(cell)
        rows.append(row)
    head = ["ms"] + [f"{length:,} tokens" for length in lines.lengths]
    return (
        f"\n## {MODES[mode]}, chunk {chunk}\n\nIn parentheses: how many times "
        "as fast as the peer with gradients at chunk starts, and at the "
        "initial weights. *: others were at work meanwhile.\n\n"
        + _table(head, rows)
    )


def _against_peers(lines, seconds, *where):
    return ", ".join(
        _times_faster(_ratio(_peer(lines, variant, *where), seconds))
        for variant in PEERS
    )


def _peer(lines, variant, *where):
    return lines.get(("titans-pytorch", "torch", variant), *where)


def _summary(lines, chunk):
    """What should not grow with length, and the shares of the machine."""
    long = max(lines.lengths)
    start = min((n for n in lines.lengths if n >= 2048), default=long)
    rows = []
    for who in lines.who:
        times = {
            (mode, n): lines.get(who, mode, chunk, n)
            for mode in MODES
            for n in lines.lengths
        }
        row = [lines.name(who)]
        for mode in MODES:
            growth = _ratio(times[mode, long], times[mode, start])
            row.append(_number(growth and growth * start / long))
        both = [n for n in lines.lengths if times["train", n]]
        last = max(both, default=long)
        back = _ratio(times["train", last], times["forward", last])
        row.append(_number(back) + (f" ({last:,})" if back else ""))
        for mode in MODES:
            row.append(_shares(lines, who, mode, chunk))
        rows.append(row)
    head = [
        "",
        f"cost per token, {long:,} over {start:,}: forward",
        "forward + backward",
        "forward + backward over forward (tokens)",
        "share of small, large products: forward",
        "forward + backward",
    ]
    return (
        f"\n### Chunk {chunk}: what should stay flat, and shares of the "
        "machine\n\nShares at the longest length that ran; "
        "`benchmarks/flops.py` says what is counted.\n\n" + _table(head, rows)
    )


def _shares(lines, who, mode, chunk):
    for length in sorted(lines.lengths, reverse=True):
        operations = lines.get(who, mode, chunk, length, "operations")
        if not operations:
            continue
        rate = operations / lines.get(who, mode, chunk, length)
        shares = [
            _ratio(rate, lines.product_rate(size, mode, chunk, length))
            for size in ("small", "large")
        ]
        return ", ".join(NONE if s is None else f"{s:.0%}" for s in shares)
    return NONE


def _sizes(lines, chunk):
    """What came out: a fast layer whose output diverges is of no use."""
    rows = []
    for who in lines.who:
        row = [lines.name(who)]
        for length in lines.lengths:
            finite = lines.get(who, "forward", chunk, length, "finite")
            size = lines.get(who, "forward", chunk, length, "rms")
            row.append("not finite" if finite is False else _number(size))
        rows.append(row)
    head = ["", *(f"{length:,} tokens" for length in lines.lengths)]
    return (
        f"\n### Chunk {chunk}: root mean square of the output\n\nThe input's "
        "is 1; weights as they are initialised.\n\n" + _table(head, rows)
    )


def _memory(lines, mode, chunk):
    """Peak of the process, and how it grows with length."""
    rows = []
    for who in lines.who:
        peaks = {
            length: lines.get(who, mode, chunk, length, "peak")
            for length in lines.lengths
        }
        start = peaks[lines.lengths[0]]
        row = [lines.name(who)]
        for length, peak in peaks.items():
            cell = NONE
            if peak:
                cell = _number(peak / measure.MIB, 4)
            if peak and start and length != lines.lengths[0]:
                cell += f" ({(peak - start) / measure.MIB:+,.0f})"
            row.append(cell)
        rows.append([*row, _slope([(n, p) for n, p in peaks.items() if p])])
    head = ["MiB", *(f"{n:,} tokens" for n in lines.lengths), "KiB per token"]
    return (
        f"\n### Memory, {MODES[mode].lower()}, chunk {chunk}\n\nPeak resident "
        "memory of the process while it was timed, imports and compiled "
        "programs included; in parentheses what it grew by from the shortest "
        "length's. Last: the slope between the two longest lengths.\n\n"
        + _table(head, rows)
    )


def _slope(points):
    if len(points) < 2:
        return NONE
    (n0, y0), (n1, y1) = points[-2:]
    return _number((y1 - y0) / (n1 - n0) / 1024)


def _rates(lines):
    o = lines.options
    names = list(dict.fromkeys(n for r in lines.rates.values() for n in r))
    rows = []
    for rate in names:
        values = [r[rate] for r in lines.rates.values() if r.get(rate)]
        quantity = [min(values), measure.median(values), max(values)]
        rows.append([rate, *(_number(v / 1e9) for v in quantity)])
    hidden = o["head_dim"] * o["expansion"]
    return (
        "\n## The machine's own matrix products\n\nIn the same turns. Small: "
        f"a chain of batches of {o['heads']} of {o['head_dim']} x "
        f"{o['head_dim']} x {hidden}. Large: 2048 x 2048 x 2048. Shares above "
        "are of the fastest engine's median, in the same turns.\n\n"
        + _table(["GFLOP/s", "lowest", "median", "highest"], rows)
    )


def _not_run(lines):
    rows = []
    for (who, (mode, chunk, length)), line in lines.cells.items():
        if "not_run" in line:
            where = f"{MODES[mode].lower()}, chunk {chunk}, {length:,} tokens"
            rows.append([lines.name(who), where, line["not_run"] or "?"])
    if not rows:
        return ""
    return "\n## Not run\n\n" + _table(["", "", "why"], rows)
