"""The memory layer against titans-pytorch, side by side in one run, on a CPU.

    python -m benchmarks.memory_layer            # about a quarter of an hour
    python -m benchmarks.memory_layer --quick    # about two minutes

Forward and forward + backward of one layer, at several lengths and two chunk
sizes: ours on JAX (jit), TensorFlow (XLA) and PyTorch (eager) with both
anchors, and the peer with its gradients taken where ours are, at chunk starts,
and where it takes them by default, at the initial weights. Between them, in the
same turns, the machine's own matrix products. Writes a table, the raw lines and
a plot to `benchmarks/results/`.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller

from benchmarks import measure
from benchmarks import memory_layer_report
from benchmarks import peers
from benchmarks import workers
from benchmarks.memory_layer_cell import MODES
from benchmarks.memory_layer_cell import Cell
from benchmarks.memory_layer_cell import available

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = "benchmarks.memory_layer_worker"
PEER = "titans-pytorch==0.5.5"
ENGINES = ("jax", "tensorflow", "torch")
QUIET = 0.1  # a turn is taken again if others had more of our cores than this


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    whole = {"nargs": "+", "type": int}
    add("--lengths", default=[512, 2048, 8192, 32768], **whole)
    add("--chunks", default=[64, 16], **whole)
    add("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    add("--anchors", nargs="+", default=["token", "chunk"])
    add("--dim", type=int, default=256)
    add("--heads", type=int, default=4)
    add("--head-dim", type=int, default=64)
    add("--depth", type=int, default=2)
    add("--expansion", type=int, default=4)
    add("--batch", type=int, default=1)
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5, help="turns of each cell, at most")
    add("--cell-seconds", type=float, default=5.0, help="aim for each cell")
    add("--call-limit", type=float, default=30.0, help="longest call, seconds")
    add("--memory-limit", type=float, help="GiB of one process")
    add("--minutes", type=float, default=15.0, help="start nothing after these")
    add("--quick", action="store_true", help="one chunk size, anchor, short")
    add("--peer-python", help=f"interpreter that has {PEER}")
    add("--no-peer", action="store_true")
    add("--output", default=os.path.join(HERE, "results", "memory_layer"))
    add("--report-only", action="store_true", help="table and plot again")
    options = parser.parse_args(arguments)
    if options.quick:
        options.lengths, options.chunks = [512, 2048], [64]
        options.anchors = ["token"]
        options.rounds, options.cell_seconds = 3, 1.5
    return options


class Run:
    """One run of the benchmark: its options, its raw lines, its history."""

    def __init__(self, options):
        self.options = options
        self.lines = []
        self.history = {}  # (implementation, chunk, mode) -> past lengths
        self.deadline = time.monotonic() + 60 * options.minutes
        _, total = measure.available_memory()
        limit = options.memory_limit
        self.limit = limit * measure.GIB if limit else total and 0.75 * total
        self.rates = []
        os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
        self.file = open(options.output + ".jsonl", "w", encoding="utf-8")

    def write(self, line):
        self.lines.append(line)
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def start(self, spec, python=sys.executable):
        """A worker that has made what `spec` says, or raises `Stopped`."""
        o = self.options
        names = ("dim", "heads", "head_dim", "depth", "expansion", "batch")
        common = {name: getattr(o, name) for name in names}
        environment = {"OMP_NUM_THREADS": str(o.threads)}
        spec = {**common, "threads": o.threads, **spec}
        worker = workers.Worker(python, WORKER, environment, self.limit)
        try:
            answer = worker.ask(120, do="make", spec=spec)
        except workers.Stopped:
            worker.stop()
            raise
        worker.made = answer["make_seconds"]
        versions = {"kind": "versions", **answer["versions"]}
        if versions not in self.lines:
            self.write(versions)
        return worker

    def in_pairs(self, function, items):
        """Sets up as many at once as there are threads: nothing is timed."""
        with ThreadPoolExecutor(self.options.threads) as pool:
            return list(pool.map(function, items))

    # --- the machine ---------------------------------------------------------

    def start_rates(self):
        o = self.options
        hidden = o.head_dim * o.expansion
        small = (o.heads, o.head_dim, hidden)
        self.count, self.large = 512, 2048
        self.products = {
            "small": 2 * self.count * o.heads * o.head_dim**2 * hidden,
            "large": 2 * self.large**3,
        }
        spec = {"count": self.count, "small": small, "large": self.large}

        def start(engine):
            worker = self.start({"what": "rate", "engine": engine, **spec})
            for mode in self.products:
                worker.ask(120, do="prepare", mode=mode, patience=0.0)
            return engine, worker

        self.rates = self.in_pairs(start, available(o.engines))

    def time_rates(self, seconds):
        for engine, worker in self.rates:
            for mode, operations in self.products.items():
                burst = self.time(worker, mode, 0.1, 3, last=0.0)
                rates = [operations / s for s in burst["seconds"]]
                seconds.setdefault((engine, mode), []).extend(rates)

    def time(self, worker, mode, seconds, calls, last):
        """A burst of calls; once more where others were at work meanwhile.

        An engine whose threads wait for each other loses far more than the
        core that it lends, so a busy machine would not even be fair.
        """
        threads = self.options.threads
        bursts = []
        while len(bursts) < 3:
            bursts.append(
                worker.ask(
                    60 + 8 * self.options.call_limit,
                    do="time",
                    mode=mode,
                    minimum_seconds=seconds,
                    maximum_calls=calls,
                    last=last,
                    threads=threads,
                )
            )
            if not bursts[-1]["others"] or bursts[-1]["others"] < QUIET:
                break
            if sum(bursts[-1]["seconds"]) > self.options.cell_seconds:
                break
            self.wait_for_quiet()
        best = min(bursts, key=lambda burst: burst["others"] or 0.0)
        best["peak"] = max(burst["peak"] for burst in bursts)
        return best

    def wait_for_quiet(self):
        measure.wait_for_quiet(self.options.threads, QUIET, seconds=5.0)

    # --- one length and chunk, everything in turns ---------------------------

    def group(self, length, chunk):
        cells = [Cell(self, *c, chunk, length) for c in self.competitors()]
        self.in_pairs(Cell.make, cells)
        for mode in MODES:
            self.in_pairs(methodcaller("prepare", mode), cells)
            rates = {}
            for turn in range(self.options.rounds):
                self.wait_for_quiet()
                if turn < 3:
                    self.time_rates(rates)
                for cell in cells:
                    cell.take_turn(mode, turn)
            machine = {
                f"{size} {engine}": measure.median(values)
                for (engine, size), values in rates.items()
            }
            where = {"length": length, "chunk": chunk, "mode": mode}
            self.write({"kind": "rate", **where, "rates": machine})
            for cell in cells:
                self.write(cell.line(mode))
        for cell in cells:
            cell.stop()

    def competitors(self):
        o = self.options
        for variant in () if o.no_peer else ("chunk starts", "initial weights"):
            yield "titans-pytorch", "torch", variant
        for engine in o.engines:
            for anchor in o.anchors:
                yield "keras_titans", engine, anchor

    def clock(self):
        past = time.monotonic() - self.deadline + 60 * self.options.minutes
        return f"{past // 60:3.0f} min {past % 60:2.0f} s:"

    def finish(self):
        for _, worker in self.rates:
            worker.stop()
        self.file.close()


def main():
    options = parse()
    if not options.report_only:
        run = Run(options)
        run.write(measure.describe_machine())
        run.write({"kind": "command", "command": measure.describe_command()})
        run.write({"kind": "options", **_public(options)})
        if not options.no_peer:
            run.peer = peers.peer_python(PEER, options.peer_python)
        try:
            run.start_rates()
            for length in options.lengths:
                for chunk in options.chunks:
                    print(run.clock(), f"{length} tokens, chunk {chunk}")
                    run.group(length, chunk)
            print(run.clock(), "done")
        finally:
            run.finish()
    memory_layer_report.write(options.output)


def _public(options):
    hidden = ("peer_python", "output", "report_only")
    return {k: v for k, v in vars(options).items() if k not in hidden}


if __name__ == "__main__":
    main()
