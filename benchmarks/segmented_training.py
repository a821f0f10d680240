"""A training step on long sequences, whole and by segments.

    python -m benchmarks.segmented_training                  # about ten minutes
    python -m benchmarks.segmented_training --lengths 2048   # about two

Time for each token and peak memory of one step (forward, backward, Adam) of a
small causal language model: two MAG blocks and a memory alone (LMM). The plain
step is Keras' own, the other `keras_titans.models.SegmentedTrainer`'s. Writes
a table, the raw lines and a plot to `benchmarks/results/`.
"""

import argparse
import json
import os
import sys

from benchmarks import measure
from benchmarks import workers
from benchmarks.markdown import table

MODULE = "benchmarks.segmented_training_worker"


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    lengths = [2048, 8192, 32768, 131072, 262144]
    add("--lengths", nargs="+", type=int, default=lengths)
    add("--engine", default="jax")
    add("--mixers", nargs="+", default=["MAG", "MAG", "LMM"])
    add("--dim", type=int, default=64)
    add("--heads", type=int, default=2)
    add("--window", type=int, default=128)
    add("--segment", type=int, default=1024)
    add("--per-gradient", nargs="+", type=int, default=[1, 2])
    workers.add_options(add, 3, 3.0, 120.0, "segmented_training")
    return parser.parse_args(arguments)


def measured(spec, options):
    """The line of one cell."""
    _, total = measure.available_memory()
    environment = {"OMP_NUM_THREADS": str(options.threads)}
    worker = workers.Worker(
        sys.executable, MODULE, environment, total and 0.6 * total
    )
    line = {"kind": "cell", **spec}
    try:
        made = worker.ask(300, do="make", spec=spec)
        line |= {"versions": made["versions"]}
        line |= worker.measure("train", options, patience=0.0)
    except workers.Stopped as reason:
        line["not_run"] = str(reason)
    worker.stop()
    return line


def run(options):
    os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
    names = ("engine", "mixers", "dim", "heads", "window", "segment", "threads")
    common = {name: getattr(options, name) for name in names}
    ways = [("plain", 0), *(("segments", n) for n in options.per_gradient)]
    stopped = {}
    with open(options.output + ".jsonl", "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line) + "\n")
            file.flush()

        write(measure.describe_machine())
        write({"kind": "command", "command": measure.describe_command()})
        for length in sorted(options.lengths):
            for how, per_gradient in ways:
                spec = {**common, "how": how, "per_gradient": per_gradient}
                spec |= {"length": length}
                key = how, per_gradient
                if key in stopped:
                    line = {"kind": "cell", **spec, "not_run": stopped[key]}
                else:
                    line = measured(spec, options)
                if "not_run" in line:
                    stopped.setdefault(key, f"{length:,}: {line['not_run']}")
                write(line)
                result = line.get("not_run") or (
                    f"{line['median']:.2f} s, "
                    f"{line['peak'] / measure.MIB:.0f} MiB"
                )
                print(how, per_gradient, f"{length:,}:", result, flush=True)


def name_of(line):
    if line["how"] == "plain":
        return "plain step"
    count = line["per_gradient"]
    many = f"{count} segments" if count > 1 else "1 segment"
    return f"gradient through {many}"


def report(output):
    with open(output + ".jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    machine, command = lines[0], lines[1]["command"]
    cells = [line for line in lines if line["kind"] == "cell"]
    ways = list(dict.fromkeys(name_of(line) for line in cells))
    by_place = {(name_of(line), line["length"]): line for line in cells}
    lengths = sorted({line["length"] for line in cells})
    spec = cells[0]
    rows = [
        "# Training on long sequences, whole and by segments",
        "",
        f"`{command}`",
        "",
        f"{machine['processor']}, {spec['threads']} of {machine['cores']} "
        f"cores, {spec['engine']}, batch 1, blocks "
        f"{', '.join(spec['mixers'])} of width {spec['dim']}, "
        f"{next((c['parameters'] for c in cells if 'parameters' in c), 0):,} "
        f"weights, segments of {spec['segment']:,} tokens. One step is "
        "forward, backward and Adam; the peak is the whole process's during "
        "steps after the first, interpreter and libraries included.",
        "",
    ]
    head = ["tokens"]
    for way in ways:
        head += [f"{way}: µs/token", "peak MiB"]
    body = []
    for length in lengths:
        row = [f"{length:,}"]
        for way in ways:
            line = by_place.get((way, length), {})
            if "median" in line:
                row.append(f"{1e6 * line['median'] / length:.1f}")
                row.append(f"{line['peak'] / measure.MIB:,.0f}")
            else:
                row += [line.get("not_run", ""), ""]
        body.append(row)
    rows += table(head, body)
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    draw(by_place, ways, lengths, output + ".png")


def draw(by_place, ways, lengths, path):
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = ("#000000", "#0072B2", "#E69F00", "#009E73")
    figure, (memory, time) = pyplot.subplots(1, 2, figsize=(10, 4))
    for way, colour in zip(ways, colours):
        done = [n for n in lengths if "median" in by_place.get((way, n), {})]
        get = lambda n, field, way=way: by_place[way, n][field]
        style = {"marker": "o", "markersize": 4, "color": colour, "label": way}
        memory.plot(done, [get(n, "peak") / measure.MIB for n in done], **style)
        time.plot(done, [1e6 * get(n, "median") / n for n in done], **style)
    memory.set(title="peak memory of the process, MiB", yscale="log")
    time.set(title="time per token, µs", ylim=(0, None))
    for axis in (memory, time):
        axis.set(xlabel="tokens", xscale="log")
        axis.set_xticks(lengths, [f"{n // 1024}k" for n in lengths])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    memory.yaxis.set_major_formatter("{x:,.0f}")
    memory.yaxis.set_minor_formatter("{x:,.0f}")
    memory.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    options = parse()
    if not options.report_only:
        run(options)
    report(options.output)


if __name__ == "__main__":
    main()
