"""The memory layer on a GPU, beside causal attention of the same width.

    python -m benchmarks.memory_layer_gpu
    python -m benchmarks.memory_layer_gpu --device cpu --smoke   # does it run?

Tokens per second, the share of the GPU's own matrix-product rate and the peak
memory on the device, forward and forward + backward, in bfloat16: ours on JAX
(jit) and PyTorch (eager) at several chunk sizes, and torch's own
scaled-dot-product attention at the same width and length. Needs a GPU that the
installed JAX and PyTorch can use. Writes `benchmarks/results/`.
"""

import argparse
import json
import os
import sys

from benchmarks import flops
from benchmarks import measure
from benchmarks import workers
from benchmarks.markdown import table
from benchmarks.memory_layer_cell import MODES

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = "benchmarks.memory_layer_gpu_worker"
SHAPE = ("dim", "heads", "head_dim", "depth", "expansion")
NONE = "–"


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    whole = {"nargs": "+", "type": int}
    add("--lengths", default=[8192], **whole)
    add("--chunks", default=[64, 128, 256, 512], **whole)
    add("--engines", nargs="+", default=["jax", "torch"])
    add("--anchors", nargs="+", default=["token", "chunk"])
    add("--tokens", type=int, default=131072, help="in one batch")
    add("--dim", type=int, default=1024)
    add("--heads", type=int, default=8)
    add("--head-dim", type=int, default=128)
    add("--depth", type=int, default=2)
    add("--expansion", type=int, default=4)
    add("--dtype", default="bfloat16")
    add("--no-tf32", action="store_true", help="float32 products in full")
    add("--large", type=int, default=8192, help="side of the large product")
    add("--calls", type=int, default=20)
    add("--timeout", type=float, default=300.0, help="for one cell, seconds")
    add("--device", default="cuda", choices=["cuda", "cpu"])
    add("--smoke", action="store_true", help="tiny sizes: figures mean nothing")
    add("--output", default=os.path.join(HERE, "results", "memory_layer_gpu"))
    options = parser.parse_args(arguments)
    if options.smoke:
        options.lengths, options.chunks, options.tokens = [64], [16], 128
        options.dim, options.heads, options.head_dim = 32, 2, 16
        options.large, options.calls = 256, 3
    return options


class Run:
    """One run: every cell in a process of its own, one after the other."""

    def __init__(self, options):
        self.options = options
        self.lines, self.versions = [], {}

    def start(self, spec):
        o = self.options
        common = {name: getattr(o, name) for name in SHAPE}
        common |= {"dtype": o.dtype, "device": o.device, "tf32": not o.no_tf32}
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        worker = workers.Worker(sys.executable, WORKER, environment)
        try:
            made = worker.ask(o.timeout, do="make", spec={**common, **spec})
        except workers.Stopped:
            worker.stop()
            raise
        self.versions |= made["versions"]
        return worker

    def measure(self, worker, mode):
        """One mode of one worker: the facts of its raw line."""
        timeout = self.options.timeout
        facts = worker.ask(timeout, do="prepare", mode=mode, patience=0.0)
        facts |= worker.ask(
            timeout,
            do="time",
            mode=mode,
            minimum_seconds=timeout / 20,
            maximum_calls=self.options.calls,
            last=0.0,
            threads=1,
        )
        return {**facts, "median": measure.median(facts["seconds"])}

    def rates(self, when):
        """The device's own products, large and as one chunk's are."""
        o = self.options
        hidden = o.head_dim * o.expansion
        heads = max(o.tokens // o.lengths[0], 1) * o.heads
        rows = o.chunks[0]
        small = ((heads, rows, o.head_dim), (heads, o.head_dim, hidden))
        count = {
            "large": 2 * o.large**3,
            "small": 2 * heads * rows * o.head_dim * hidden,
        }
        for engine in o.engines:
            spec = {"what": "rate", "engine": engine}
            worker = self.start({**spec, "small": small, "large": o.large})
            for size in count:
                for dtype in dict.fromkeys((o.dtype, "float32")):
                    facts = self.measure(worker, f"{size} {dtype}")
                    rate = count[size] / facts["median"]
                    line = {"engine": engine, "size": size, "dtype": dtype}
                    line |= {"kind": "rate", "when": when, "rate": rate}
                    self.lines.append(line)
            worker.stop()

    def cell(self, spec, operations):
        """Both modes of one competitor; what fails is a line too."""
        try:
            worker = self.start(spec)
        except workers.Stopped as stopped:
            worker, reason = None, str(stopped)
        for mode in MODES:
            line = {"kind": "cell", **spec, "mode": mode}
            line["operations"] = operations(mode) * self.options.tokens
            try:
                if worker is None:
                    raise workers.Stopped(reason)
                line |= self.measure(worker, mode)
            except workers.Stopped as stopped:
                line["not_run"] = str(stopped)
            self.lines.append(line)
            print(name(line), mode, line.get("median", line.get("not_run")))
        if worker:
            worker.stop()

    def all_cells(self):
        o = self.options
        for length in o.lengths:
            where = {"length": length, "batch": max(o.tokens // length, 1)}
            for variant in ("product", "layer"):
                spec = {"what": "attention", "variant": variant}
                spec |= {"engine": "torch", **where}
                self.cell(spec, self.of_attention(length, variant))
            for engine in o.engines:
                for anchor in o.anchors:
                    for chunk in o.chunks:
                        spec = {"what": "ours", "engine": engine, **where}
                        spec |= {"anchor": anchor, "chunk": chunk}
                        self.cell(spec, self.of_ours(chunk, anchor))

    def of_ours(self, chunk, anchor):
        sizes = [getattr(self.options, name) for name in SHAPE]
        return lambda mode: flops.memory_layer(*sizes, chunk, anchor, mode)

    def of_attention(self, length, variant):
        o, whole = self.options, variant == "layer"
        sizes = o.dim, o.heads, o.head_dim, length
        return lambda mode: flops.attention(*sizes, mode, whole)


def name(line):
    if line["what"] == "attention":
        return f"torch attention, {line['variant']}"
    return (
        f"keras_titans, {line['engine']}, anchor={line['anchor']}, "
        f"chunk {line['chunk']}"
    )


def report(run):
    """The Markdown of a run."""
    o = run.options
    machine = measure.describe_machine()
    versions = ", ".join(f"{k} {v}" for k, v in sorted(run.versions.items()))
    tf32 = "in full" if o.no_tf32 else "as TF32 where the GPU has it"
    parts = [
        f"# The memory layer on a GPU\n\n`{measure.describe_command()}`\n\n"
        f"{machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}; {versions}.\n\ndim {o.dim}, {o.heads} heads x "
        f"{o.head_dim}, memory of depth {o.depth}, expansion {o.expansion}; "
        f"{o.tokens:,} tokens in a batch; {o.dtype}, the memory itself "
        f"float32, whose products run {tf32}. Medians of {o.calls} calls at "
        "most. Shares are of the fastest engine's large product in "
        f"{o.dtype}; `benchmarks/flops.py` says what is counted.\n"
    ]
    parts.append(_rates(run))
    for length in o.lengths:
        parts.append(_cells(run, length))
    return "\n".join(parts)


def _rates(run):
    rows = []
    rates = [line for line in run.lines if line["kind"] == "rate"]
    for before in (line for line in rates if line["when"] == "before"):
        key = [before[k] for k in ("size", "dtype", "engine")]
        (after,) = (
            line["rate"]
            for line in rates
            if line["when"] == "after"
            and [line[k] for k in ("size", "dtype", "engine")] == key
        )
        values = (before["rate"], after)
        rows.append([" ".join(key), *(f"{v / 1e12:.3g}" for v in values)])
    return "\n".join(table(["TFLOP/s", "before", "after"], rows)) + "\n"


def _cells(run, length):
    top = max(
        line["rate"]
        for line in run.lines
        if line["kind"] == "rate"
        and (line["size"], line["dtype"]) == ("large", run.options.dtype)
    )
    rows = {}
    for line in run.lines:
        if line["kind"] == "cell" and line["length"] == length:
            row = rows.setdefault(name(line), [])
            row += _cell(line, run.options.tokens, top)
    head = ["tokens/s", "share of peak", "peak GiB"]
    columns = [f"forward: {head[0]}", *head[1:], f"f + b: {head[0]}", *head[1:]]
    table = [f"| {length:,} tokens | " + " | ".join(columns) + " |"]
    table.append("| --- " * (1 + len(columns)) + "|")
    table += [f"| {who} | {' | '.join(row)} |" for who, row in rows.items()]
    return "\n".join(table) + "\n"


def _cell(line, tokens, top):
    if "not_run" in line:
        return [f"not run: {line['not_run']}", NONE, NONE]
    peak = line.get("device_peak")
    rate = tokens / line["median"]
    return [
        f"{float(f'{rate:.3g}'):,.0f}",
        f"{line['operations'] / line['median'] / top:.1%}",
        f"{peak / measure.GIB:.2f}" if peak else NONE,
    ]


def main():
    run = Run(parse())
    try:
        run.rates("before")
    except workers.Stopped as stopped:
        sys.exit(f"Not measured: {stopped}.")
    run.all_cells()
    run.rates("after")
    output = run.options.output
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    with open(output + ".jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in run.lines)
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write(report(run))


if __name__ == "__main__":
    main()
