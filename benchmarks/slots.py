"""What a bank of slots costs by its size, read whole and by its best slots.

    python -m benchmarks.slots
    KERAS_BACKEND=torch python -m benchmarks.slots

One `SlotMemory` of width 256 with 4 heads: forward and forward + backward over
1,024 tokens, and one token from a state. The sizes take turns, and each figure
is the median of its turns. Writes table, lines and plot to
`benchmarks/results/`.
"""

import argparse
import gc
import json
import pathlib

import keras

from benchmarks import engines
from benchmarks import measure
from benchmarks.markdown import table
from keras_titans.layers import SlotMemory

RESULTS = pathlib.Path(__file__).parent / "results"
WIDTH, HEADS, TOKENS = 256, 4, 1024
SIZES = (256, 1024, 4096, 16384, 65536)
CHOICES = {"all slots": None, "best 32": 32}
MODES = {
    "forward": "forward, µs a token",
    "train": "forward + backward, µs a token",
    "step": "one token from a state, ms",
}


def calls(engine, num_slots, top_k):
    """A function for each mode, called once each."""
    keras.utils.set_random_seed(0)
    layer = SlotMemory(HEADS, num_slots=num_slots, top_k=top_k)
    layer.build((1, TOKENS, WIDTH))
    x, weights = (
        engine.array(engines.random(seed, 1, TOKENS, WIDTH)) for seed in (0, 1)
    )
    functions = {
        "forward": engine.forward(layer, x),
        "train": engine.train(layer, x, weights),
        "step": engine.step(
            lambda x, state: layer(x, initial_state=state, return_state=True),
            x[:, :1],
            layer.get_initial_state(1),
        ),
    }
    for function in functions.values():
        function()
    return functions


def measured(engine, sizes, rounds):
    """`{(choice, size, mode): seconds}`; a choice that is too slow is left."""
    for size in sizes:
        group = {
            (name, size): calls(engine, size, top_k)
            for name, top_k in CHOICES.items()
        }
        seconds = {}
        for _ in range(rounds):
            for key, functions in group.items():
                for mode, function in functions.items():
                    function()  # brings back what the others' turns drove out
                    seconds.setdefault((*key, mode), []).extend(
                        measure.timed(function, 0.3, 5)
                    )
        for (name, _, mode), values in seconds.items():
            yield {
                "slots": name,
                "num_slots": size,
                "mode": mode,
                "seconds": values,
                "median": measure.median(values),
            }
        del group
        gc.collect()


def report(lines, path):
    """Table and plot of the raw lines."""
    machine, *cells = lines
    found = {(c["slots"], c["num_slots"], c["mode"]): c for c in cells}
    sizes = sorted({c["num_slots"] for c in cells})
    rows = [
        "# A bank of slots by its size",
        "",
        f"`{machine['command']}`, {machine['backend']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores. Width {WIDTH}, "
        f"{HEADS} heads, {TOKENS:,} tokens, float32. Medians.",
    ]
    for mode, title in MODES.items():
        scale = 1e3 if mode == "step" else 1e6 / TOKENS
        head = [title, *(f"{size:,} slots" for size in sizes)]
        body = []
        for name in CHOICES:
            values = [scale * found[name, s, mode]["median"] for s in sizes]
            body.append([name, *(f"{value:.3g}" for value in values)])
        rows += ["", *table(head, body)]
    mib = WIDTH * 4 / measure.MIB
    rows += [
        "",
        "The state: "
        + ", ".join(f"{size * mib:.3g} MiB" for size in sizes)
        + " a sequence.",
    ]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    plot(found, sizes, path.with_suffix(".png"))


def plot(found, sizes, path):
    import matplotlib.pyplot as plt

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for panel, (mode, title) in zip(axes, MODES.items(), strict=True):
        scale = 1e3 if mode == "step" else 1e6 / TOKENS
        for name in CHOICES:
            values = [scale * found[name, s, mode]["median"] for s in sizes]
            panel.plot(sizes, values, "o-", label=name)
        panel.set(xscale="log", yscale="log", xlabel="slots", title=title)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", default=str(RESULTS / "slots"))
    options = parser.parse_args()
    backend = keras.backend.backend()
    machine = {
        **measure.describe_machine(),
        "command": measure.describe_command(),
        "backend": backend,
    }
    lines = [machine]
    for line in measured(
        engines.ENGINES[backend](), options.sizes, options.rounds
    ):
        lines.append(line)
        print(line["slots"], line["num_slots"], line["mode"], line["median"])
    path = pathlib.Path(options.output)
    path.with_suffix(".jsonl").write_text(
        "\n".join(map(json.dumps, lines)) + "\n"
    )
    report(lines, path)


if __name__ == "__main__":
    main()
