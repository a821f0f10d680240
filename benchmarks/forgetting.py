"""What it costs to forget towards the initial memory, and not to zero.

    python -m benchmarks.forgetting                      # two minutes
    KERAS_BACKEND=torch python -m benchmarks.forgetting

One layer, forward and forward + backward, with `Titans(forget_to=...)`
either way, in turns. Adds lines to `benchmarks/results/forgetting.jsonl` and
makes the table anew of all that are there.
"""

import argparse
import json
import os
import pathlib
import statistics
import time

from benchmarks import engines
from benchmarks import measure
from benchmarks.built import built
from benchmarks.markdown import table
from benchmarks.variants import with_rule

OUTPUT = pathlib.Path(__file__).parent / "results" / "forgetting"
TARGETS = ("zero", "initial")
MODES = ("forward", "train")


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--chunks", nargs="+", type=int, default=[64, 16])
    add("--length", type=int, default=2048)
    add("--dim", type=int, default=256)
    add("--heads", type=int, default=4)
    add("--turns", type=int, default=9)
    add("--threads", type=int, default=2)
    add("--output", type=pathlib.Path, default=OUTPUT)
    return parser.parse_args(arguments)


def prepared(engine, target, chunk, options):
    """The calls to time, each made once already: `{mode: call}`."""
    from keras_titans.layers import NeuralMemory

    shape = (1, options.length, options.dim)
    layer = NeuralMemory(
        options.heads,
        head_dim=options.dim // options.heads,
        chunk_size=chunk,
        **built(with_rule(forget_to=target)),
    )
    layer.build(shape)
    x, weights = (engine.array(engines.random(seed, *shape)) for seed in (0, 1))
    calls = {
        "forward": engine.forward(layer, x),
        "train": engine.train(layer, x, weights),
    }
    for call in calls.values():
        call()
    return calls


def medians(calls, turns):
    """Seconds by target and mode, of calls that take turns."""
    seconds = {(target, mode): [] for target in TARGETS for mode in MODES}
    for _ in range(turns):
        for target, mode in seconds:
            start = time.perf_counter()
            calls[target][mode]()
            seconds[target, mode].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in seconds.items()}


def lines(kind, options):
    """One for each chunk size and mode."""
    engine = engines.ENGINES[kind](options.threads)
    for chunk in options.chunks:
        calls = {
            target: prepared(engine, target, chunk, options)
            for target in TARGETS
        }
        found = medians(calls, options.turns)
        for mode in MODES:
            yield {
                "engine": kind,
                "versions": engine.versions(),
                "machine": measure.describe_machine(),
                "chunk": chunk,
                "mode": mode,
                **{
                    name: getattr(options, name)
                    for name in ("length", "dim", "heads", "turns", "threads")
                },
                **{target: found[target, mode] for target in TARGETS},
            }


def report(found):
    """The table, of the last line of each engine, chunk and mode."""
    last = {(f["engine"], f["chunk"], f["mode"]): f for f in found}
    rows = [
        [
            engine,
            chunk,
            {"forward": "forward", "train": "forward + backward"}[mode],
            *(f"{1000 * line[target]:.0f}" for target in TARGETS),
            f"{line['initial'] / line['zero']:.2f}",
        ]
        for (engine, chunk, mode), line in sorted(last.items())
    ]
    head = ["engine", "chunk", "", "to zero, ms", "to initial, ms", "ratio"]
    sizes = {
        f"{f['length']:,} tokens of width {f['dim']}, {f['heads']} heads, "
        f"medians of {f['turns']} turns"
        for f in last.values()
    }
    return [
        "# What forgetting towards the initial memory costs",
        "",
        "`python -m benchmarks.forgetting`, on each engine",
        "",
        "; ".join(sorted({_machine(f["machine"]) for f in last.values()}))
        + ".",
        "; ".join(sorted(sizes)) + ".",
        "",
        *table(head, rows),
    ]


def _machine(of):
    return f"{of['processor']}, {of['cores']} cores"


def main(arguments=None):
    options = parse(arguments)
    kind = os.environ["KERAS_BACKEND"]
    raw = options.output.with_suffix(".jsonl")
    raw.parent.mkdir(parents=True, exist_ok=True)
    with raw.open("a", encoding="utf-8") as file:
        for line in lines(kind, options):
            file.write(json.dumps(line) + "\n")
    found = [json.loads(line) for line in raw.read_text().splitlines()]
    text = "\n".join(report(found))
    print(text)
    options.output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
