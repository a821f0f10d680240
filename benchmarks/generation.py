"""Generation after prompts of growing length, beside two others.

    python -m benchmarks.generation

Models of four blocks of width 256: ours, with memory as context; KerasHub's
Llama of the same size with its cache of keys and values; and titans-pytorch's
`MemoryAsContextTransformer` with its cached `sample`. Then a small model of
ours reads two million tokens. Writes a table, the raw lines and a plot to
`benchmarks/results/`.
"""

import argparse
import collections
import json
import pathlib
import sys

from benchmarks import measure
from benchmarks import peers
from benchmarks import workers
from benchmarks.blocks import PEER
from benchmarks.markdown import table

SIZE = {"dim": 256, "heads": 4, "hidden": 704, "depth": 4, "window": 128}
SMALL = {"dim": 64, "heads": 2, "hidden": 128, "depth": 2, "window": 64}
NAMES = {
    "keras_titans": "keras_titans, MAC",
    "keras_hub": "KerasHub's Llama, cache of keys and values",
    "titans-pytorch": "titans-pytorch, cached",
}


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--lengths", nargs="+", type=int, default=[128, 1024, 8192, 131072])
    add("--stream", nargs="*", type=int, default=[65536, 2097152])
    add("--engine", default="jax", help="for ours")
    add("--new-tokens", type=int, default=64)
    add("--peer-python", help=f"interpreter that has {PEER}")
    add("--no-peer", action="store_true")
    add("--resume", action="store_true", help="keep the lines that there are")
    workers.add_options(add, 5, 6.0, 150.0, "generation")
    return parser.parse_args()


def measured(spec, mode, python, options):
    """The line of one mode, in a process of its own."""
    _, total = measure.available_memory()
    worker = workers.Worker(
        python,
        "benchmarks.generation_worker",
        {"OMP_NUM_THREADS": str(options.threads)},
        total and 0.75 * total,
    )
    line = {**spec, "mode": mode}
    try:
        worker.ask(300, do="make", spec=spec)
        line |= worker.measure(mode, options)
    except workers.Stopped as reason:
        line["not_run"] = str(reason)
    worker.stop()
    return line


def hopeless(shorter, length, options):
    """Why a longer prompt need not be tried, or None.

    Args:
        shorter: The lines of the same at shorter lengths.
    """
    if not shorter or shorter[-1]["package"] == "stream":
        return None
    last = shorter[-1]
    flat = last["mode"] == "more" and last["package"] != "titans-pytorch"
    if flat and "not_run" not in last:
        return None
    return workers.hopeless(shorter, length, options.call_limit)


def run(options):
    common = {"threads": options.threads, "new_tokens": options.new_tokens}
    common |= {"engine": options.engine, "variant": "MAC", "batch": 1}
    common |= {"peer_batch": 64}
    peer = None
    if not options.no_peer:
        peer = peers.peer_python(PEER, options.peer_python)
    plan = [
        ({"package": package, "length": length, **SIZE}, ("prompt", "more"))
        for length in sorted(options.lengths)
        for package in NAMES
        if peer or package != "titans-pytorch"
    ]
    plan += [
        ({"package": "stream", "length": length, **SMALL}, ("stream",))
        for length in options.stream
    ]
    path = pathlib.Path(options.output).with_suffix(".jsonl")
    path.parent.mkdir(exist_ok=True)
    if options.resume:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        about = {"command": measure.describe_command(), "spec": common | SIZE}
        lines = [measure.describe_machine() | about]
    done = collections.defaultdict(list)
    for line in lines[1:]:
        done[line["package"], line["mode"]].append(line)
    for spec, modes in plan:
        package, length = spec["package"], spec["length"]
        python = peer if package == "titans-pytorch" else sys.executable
        for mode in modes:
            before = done[package, mode]
            if any(line["length"] == length for line in before):
                continue
            # The peer's `sample` reads the whole prompt in both modes.
            read = done[package, "prompt"] if python == peer else []
            reason = hopeless(read, length, options)
            reason = reason or hopeless(before, length, options)
            if reason:
                line = {**common, **spec, "mode": mode, "not_run": reason}
            else:
                line = measured(common | spec, mode, python, options)
            before.append(line)
            lines.append(line)
            print(
                package,
                f"{length:,} tokens, {mode}:",
                line.get("not_run") or f"{line['median']:.3f} s",
                flush=True,
            )
        # After each, so that nothing is lost.
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")


def rate(found, package, length, new_tokens):
    """Tokens a second after the prompt, or None."""
    more = found.get((package, length, "more"), {}).get("median")
    if more is None:
        return None
    if package == "titans-pytorch":  # it begins with the prompt every time
        more -= found[package, length, "prompt"]["median"]
    return new_tokens / more


def report(output):
    path = pathlib.Path(output)
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    machine, *cells = map(json.loads, lines)
    spec = machine["spec"]
    found = {(c["package"], c["length"], c["mode"]): c for c in cells}
    packages = [p for p in NAMES if any(c["package"] == p for c in cells)]
    lengths = sorted({c["length"] for c in cells if c["package"] in NAMES})
    rates = {
        (p, n): rate(found, p, n, spec["new_tokens"])
        for p in packages
        for n in lengths
    }
    rows = [
        "# Generation",
        "",
        f"`{machine['command']}`",
        "",
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB. {spec['depth']} blocks of width "
        f"{spec['dim']}, {spec['heads']} heads, segments of {spec['window']}, "
        f"float32, one sequence, {spec['engine']}. Medians.",
        "",
    ]
    body = []
    for package in packages:
        shown = []
        for n in lengths:
            mine, its = rates["keras_titans", n], rates[package, n]
            ratio = ""
            if its and mine and package != "keras_titans":
                ratio = f" (ours {mine / its:.1f}x)"
            shown.append(f"{its:.0f}{ratio}" if its else "–")
        body.append([NAMES[package], *shown])
    head = ["tokens a second", *(f"after {n:,}" for n in lengths)]
    rows += [*table(head, body), ""]
    body = []
    for package in packages:
        values = [
            found.get((package, n, "prompt"), {}).get("median") for n in lengths
        ]
        shown = [f"{v:.3g}" if v else "–" for v in values]
        body.append([NAMES[package], *shown])
    columns = [f"{n:,}" for n in lengths]
    rows += [*table(["reading the prompt, s", *columns], body), ""]
    body = []
    for package in packages:
        values = [_peak(found, package, n) for n in lengths]
        shown = [f"{v / measure.MIB:,.0f}" if v else "–" for v in values]
        body.append([NAMES[package], *shown])
    rows += table(["peak over idle, MiB", *columns], body)
    missing = [c for c in cells if "not_run" in c]
    if missing:
        body = [
            [
                NAMES.get(c["package"], c["package"]),
                f"{c['length']:,}, {c['mode']}",
                c["not_run"],
            ]
            for c in missing
        ]
        rows += ["", *table(["not run", "tokens", "why"], body)]
    streams = [c for c in cells if c["package"] == "stream" and "median" in c]
    if streams:
        rows += [
            "",
            "## Reading on and on",
            "",
            f"{SMALL['depth']} MAC blocks of width {SMALL['dim']}, in pieces "
            "of 4,096 tokens; finite to the end.",
            "",
        ]
        body = [
            [
                f"{c['length']:,}",
                f"{c['length'] / c['median']:,.0f}",
                f"{c['peak_of_process'] / measure.MIB:,.0f}",
            ]
            for c in streams
        ]
        head = ["tokens", "tokens a second", "peak of the process, MiB"]
        rows += table(head, body)
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    plot(packages, lengths, rates, path.with_suffix(".png"))


def _peak(found, package, length):
    """Over both modes, above what the idle process held at first."""
    lines = [
        found.get((package, length, mode), {}) for mode in ("prompt", "more")
    ]
    peaks = [line["peak"] for line in lines if "peak" in line]
    idle = [line["resident_before"] for line in lines if "peak" in line]
    return max(peaks) - min(idle) if peaks else None


def plot(packages, lengths, rates, path):
    import matplotlib.pyplot as plt

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for package in packages:
        there = [(n, r) for n in lengths if (r := rates[package, n])]
        axes.plot(*zip(*there), "o-", label=NAMES[package])
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="tokens of the prompt",
        ylabel="tokens a second after it",
    )
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    options = parse()
    if not options.report_only:
        run(options)
    report(options.output)


if __name__ == "__main__":
    main()
