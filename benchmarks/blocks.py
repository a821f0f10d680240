"""Models of Titans blocks beside titans-pytorch's and full attention.

    python -m benchmarks.blocks
    python -m benchmarks.blocks --lengths 2048
    python -m benchmarks.blocks --device cuda --dtype bfloat16 --window 512 \\
        --lengths 8192 131072 1048576 --remat 1048576 --ahead 8

Forward, forward + backward and one token from a state, of four blocks of width
256, for the four variants, for attention over the window alone, for blocks
around `keras.layers.MultiHeadAttention`, and for titans-pytorch's
`MemoryAsContextTransformer`. Writes a table, the raw lines and a plot to
`benchmarks/results/`.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import sys

from benchmarks import blocks_report
from benchmarks import data
from benchmarks import measure
from benchmarks import peers
from benchmarks import workers

PEER = "titans-pytorch==0.5.5"
OURS = ("MAC", "MAG", "MAL", "LMM", "attention")
MODES = ("forward", "train", "step")


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--lengths", nargs="+", type=int, default=[2048, 8192, 32768, 131072])
    add("--variants", nargs="+", default=list(OURS), choices=OURS)
    add("--engines", nargs="+", default=["jax"], help="for ours")
    add(
        "--remat",
        nargs="?",
        type=int,
        const=1,
        metavar="TOKENS",
        help="train ours recomputed as well, from so many tokens on",
    )
    add("--full", nargs="*", default=["jax", "torch"], help="full attention")
    add("--modes", nargs="+", default=list(MODES), choices=MODES)
    add("--dim", type=int, default=256)
    add("--heads", type=int, default=4)
    add("--hidden", type=int, default=704)
    add("--depth", type=int, default=4)
    add("--window", type=int, default=128)
    add("--batch", type=int, default=1)
    add("--dtype", default="float32", help="else mixed with float32")
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--ahead", type=int, metavar="N", help="compile first, N at a time")
    add("--peer-python", help=f"interpreter that has {PEER}")
    add("--no-peer", action="store_true")
    workers.add_options(add, 5, 6.0, 90.0, "blocks")
    return parser.parse_args(arguments)


def cells(options, length):
    """`(package, engine, variant, further entries of its spec)`."""
    if not options.no_peer:
        for variant, batch in (("chunk starts", 64), ("initial weights", None)):
            yield "titans-pytorch", "torch", variant, {"peer_batch": batch}
    for engine in options.engines:
        for variant in options.variants:
            yield "keras_titans", engine, variant, {}
            if options.remat and length >= options.remat:
                again = f"{variant}, recomputed"
                yield "keras_titans", engine, again, {"remat": True}
    for engine in options.full:
        yield "keras", engine, "full", {}


def measured(spec, python, options, skipped):
    """One line for each mode of one cell at one length.

    `skipped`: for a mode that need not be tried, why.
    """
    modes = [mode for mode in options.modes if _has(spec, mode)]
    if skipped.keys() >= set(modes) - {"step"}:
        for mode, reason in skipped.items():
            yield {"kind": "cell", **spec, "mode": mode, "not_run": reason}
        return
    worker = worker_on(python, options)
    stopped = None
    try:
        worker.ask(300, do="make", spec=spec)
    except workers.Stopped as reason:
        stopped = str(reason)
    for mode in modes:
        line = {"kind": "cell", **spec, "mode": mode}
        if mode in skipped:
            yield line | {"not_run": skipped[mode]}
            continue
        if not stopped:
            try:
                line |= worker.measure(mode, options)
            except workers.Stopped as reason:
                stopped = str(reason)
        if stopped:
            line["not_run"] = stopped
        yield line
    worker.stop()


def worker_on(python, options):
    """A process for one cell, stopped before it takes the whole machine."""
    _, total = measure.available_memory()
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if options.ahead:
        name = "JAX_COMPILATION_CACHE_DIR"
        cache = os.environ.get(name) or str(data.folder() / "compiled")
        environment[name] = cache
    if options.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(options.threads)
    module = "benchmarks.blocks_worker"
    return workers.Worker(python, module, environment, total and 0.75 * total)


def compile_ahead(specs, options):
    """Fills JAX's cache of compiled programs: the cells find them there."""

    def one(spec):
        worker = worker_on(sys.executable, options)
        try:
            worker.ask(300, do="make", spec=spec)
            for mode in options.modes:
                if _has(spec, mode) and mode != "step":
                    worker.ask(600, do="compile", mode=mode)
        except workers.Stopped as reason:  # the cell itself will say it
            print("not compiled ahead:", reason, file=sys.stderr)
        finally:
            worker.stop()

    with concurrent.futures.ThreadPoolExecutor(options.ahead) as pool:
        list(pool.map(one, specs))


def _has(spec, mode):
    """Whether a mode says anything of a cell that another does not."""
    if spec.get("remat"):
        return mode == "train"  # nothing else is recomputed
    if mode == "step":  # costs the same at every length
        shortest = spec["length"] == spec["shortest"]
        return spec["package"] == "keras_titans" and shortest
    return True


def run(options):
    os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
    names = ("dim", "heads", "hidden", "depth", "window", "batch")
    names += ("dtype", "device")
    common = {name: getattr(options, name) for name in names}
    common |= {"threads": options.threads, "shortest": min(options.lengths)}
    peer = None
    if not options.no_peer:
        peer = peers.peer_python(PEER, options.peer_python)
    done = collections.defaultdict(list)
    with open(options.output + ".jsonl", "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line) + "\n")
            file.flush()

        write(measure.describe_machine())
        write({"kind": "command", "command": measure.describe_command()})
        specs = [
            {**common, "package": package, "engine": engine}
            | {"variant": variant, "length": length, **more}
            for length in sorted(options.lengths)
            for package, engine, variant, more in cells(options, length)
        ]
        if options.ahead:
            compile_ahead([s for s in specs if s["engine"] == "jax"], options)
        for spec in specs:
            key = spec["package"], spec["engine"], spec["variant"]
            skipped = {
                mode: reason
                for mode in options.modes
                if mode != "step"
                and (
                    reason := workers.hopeless(
                        done[*key, mode], spec["length"], options.call_limit
                    )
                )
            }
            python = peer if key[0] == "titans-pytorch" else sys.executable
            for line in measured(spec, python, options, skipped):
                done[*key, line["mode"]].append(line)
                write(line)
                print(
                    *key,
                    f"{spec['length']:,} tokens, {line['mode']}:",
                    line.get("not_run") or f"{line['median']:.3f} s",
                    flush=True,
                )


def main():
    options = parse()
    if not options.report_only:
        run(options)
    blocks_report.write(options.output)


if __name__ == "__main__":
    main()
