"""Multi-query associative recall: what a layer learns to look up.

    python -m benchmarks.recall                    # the memory alone
    python -m benchmarks.recall --task distance    # beside attention

A sequence begins with pairs of a key and a value; later each key comes once
more, among filler, and the value is to be given. Both keys and pairs are new
in every sequence, so weights cannot hold them. A model of two blocks is
trained on it, for each mixer of tokens and several seeds, and its accuracy on
sequences it has not seen is taken after every 100 steps.

A model that has reached an accuracy of 0.99 is not trained on.

In `--task distance` the keys come again after eight windows of the attention
at the earliest, and some models may not write their memory.

What is in `benchmarks/results/` already is not trained again.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import time
from typing import NamedTuple

import keras
import numpy as np

from benchmarks.built import built
from benchmarks.markdown import table
from benchmarks.tasks.recall import FILLER
from benchmarks.tasks.recall import AssociativeRecall
from benchmarks.variants import DEEP
from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from keras_titans.memory import Gate
from keras_titans.memory import MLPMemory
from keras_titans.memory import Titans
from keras_titans.visualization.canvas import COLORS
from keras_titans.visualization.canvas import LINES
from keras_titans.visualization.canvas import MARKERS

RESULTS = pathlib.Path(__file__).parent / "results"
WIDTH, KEYS, VALUES = 64, 64, 64
VOCABULARY = FILLER + KEYS + VALUES
WINDOW = 8
LEARNED = 0.99


class Task(NamedTuple):
    """Where the pairs stand and where they are asked for."""

    title: str
    length: int
    pairs: int
    first_question: int
    batch_size: int
    chunk_size: int
    num_heads: int
    mixers: dict  # name -> function that makes a mixer, and `update`


def paper(max_learning_rate, **kwargs):
    """The paper's: independent rates, gates of scale 1, stale gradients."""
    return dict(
        anchor="chunk",
        network=MLPMemory(
            2, activation="gelu", unit_norm=False, hidden_rate=1.0
        ),
        update_rule=Titans(
            learning_rate=Gate(maximum=max_learning_rate, logit_scale=1.0),
            momentum=Gate(logit_scale=1.0),
            forgetting=Gate(initial=0.001, logit_scale=1.0),
            normalize_learning_rate=False,
            forget_to="zero",
        ),
        **kwargs,
    )


def memory(update=True, **options):
    options = built(DEEP) | options
    if "network" in options:
        del options["memory_depth"]

    def make(heads, chunk):
        return NeuralMemory(heads, WIDTH // heads, chunk_size=chunk, **options)

    return make, update


def union(layer, update=True, **options):
    def make(heads, chunk):
        inner = NeuralMemory(
            heads, WIDTH // heads, chunk_size=chunk, **built(DEEP)
        )
        return layer(heads, WINDOW, memory=inner, **options)

    return make, update


def slots(heads, chunk):
    return SlotMemory(heads, head_dim=WIDTH // heads)


TASKS = {
    "near": Task(
        title="Multi-query associative recall",
        length=64,
        pairs=12,
        first_question=24,
        batch_size=64,
        chunk_size=16,
        num_heads=1,
        mixers={
            "default (depth 2, token anchor)": memory(),
            "depth 2, token anchor, hidden rate 1": memory(
                network=MLPMemory(2, hidden_rate=1.0)
            ),
            "depth 2, chunk anchor": memory(anchor="chunk"),
            "depth 1, token anchor": memory(memory_depth=1),
            "depth 1, chunk anchor": memory(memory_depth=1, anchor="chunk"),
            "depth 2, paper's form, theta 0.1": memory(**paper(0.1)),
            "depth 2, paper's form, theta 1": memory(**paper(1.0)),
        },
    ),
    "distance": Task(
        title="Multi-query associative recall beyond the window",
        length=12 * WINDOW,
        pairs=WINDOW,
        first_question=10 * WINDOW,
        batch_size=32,
        chunk_size=WINDOW,
        num_heads=2,
        mixers={
            "MAC": union(MemoryAsContext),
            "MAC, no residual": union(MemoryAsContext, residual=False),
            "MAG": union(MemoryAsGate),
            "MAL": union(MemoryAsLayer),
            "MAL, no residual": union(MemoryAsLayer, residual=False),
            "LMM": memory(),
            "slots": (slots, True),
            "MAC, memory frozen": union(MemoryAsContext, update=False),
            "MAG, memory frozen": union(MemoryAsGate, update=False),
            "MAL, memory frozen": union(MemoryAsLayer, update=False),
            "LMM, memory frozen": memory(update=False),
            "window alone": (
                lambda heads, chunk: WindowedAttention(heads, WINDOW),
                True,
            ),
        },
    ),
}


def sequences(task, count, seed):
    """Tokens `(count, length)`, the value asked for at each, and where."""
    recall = AssociativeRecall(
        task.length, task.pairs, task.first_question, KEYS, VALUES
    )
    return recall.rows(np.random.default_rng(seed), count)[:3]


def model_with(task, name):
    make, update = task.mixers[name]
    tokens = keras.Input((task.length,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, WIDTH)(tokens)
    for _ in range(2):
        mixer = make(task.num_heads, task.chunk_size)
        x = TitansBlock(mixer, 2 * WIDTH)(x, update=update)
    x = keras.layers.RMSNormalization()(x)
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    return model


def train(task, name, seed, epochs, steps=100):
    """One JSON-able result: the accuracy after each epoch of 100 steps."""
    keras.utils.set_random_seed(seed)
    model = model_with(task, name)
    held_out = sequences(task, 512, seed=10_000 + seed)
    accuracies, start = [], time.perf_counter()
    for epoch in range(epochs):
        x, y, weight = sequences(
            task, task.batch_size * steps, seed=1000 * seed + epoch
        )
        model.fit(
            x,
            y,
            task.batch_size,
            sample_weight=weight,
            callbacks=[keras.callbacks.TerminateOnNaN()],
            verbose=0,
        )
        logits = model.predict(held_out[0], batch_size=128, verbose=0)
        right = (logits.argmax(-1) == held_out[1])[held_out[2] > 0]
        finite = bool(np.isfinite(logits).all())
        accuracies.append(float(right.mean()) if finite else float("nan"))
        print(f"{name}, seed {seed}: {accuracies[-1]:.3f}", flush=True)
        if not finite or accuracies[-1] >= LEARNED:
            break
    return {
        "mixer": name,
        "seed": seed,
        "backend": keras.backend.backend(),
        "parameters": model.count_params(),
        "accuracy": accuracies,
        "seconds": round(time.perf_counter() - start, 1),
    }


def report(task, results, path):
    """The table and the plot: mean over seeds, and the range."""
    epochs = max(len(r["accuracy"]) for r in results)
    commands = dict.fromkeys(r["command"] for r in results)
    names, groups = list(task.mixers), {}
    for r in sorted(results, key=lambda r: names.index(r["mixer"])):
        groups.setdefault((r["mixer"], r["backend"]), []).append(r)
    rows = [
        f"# {task.title}",
        "",
        *(f"`{command}`  " for command in commands),
        "",
        f"{task.pairs} pairs, asked for from token {task.first_question} to "
        f"token {task.length}; two blocks of width {WIDTH}, heads: "
        f"{task.num_heads}, chunks of {task.chunk_size}; where there is "
        f"attention, windows and segments of {WINDOW}. {task.batch_size} "
        "sequences a step.",
        "Accuracy after each 100 steps: mean over seeds (lowest to highest). "
        f"Training ends at {LEARNED}, and the last accuracy is repeated.",
        "",
    ]
    head = ["mixer", "backend", "seeds"]
    head += [100 * (e + 1) for e in range(epochs)]
    body = []
    for (mixer, backend), group in groups.items():
        cells = []
        for epoch in range(epochs):
            values = [at(r, epoch) for r in group]
            cells.append(
                f"{statistics.mean(values):.3f} "
                f"({min(values):.3f} to {max(values):.3f})"
                if np.isfinite(values).all()
                else f"NaN in {np.isnan(values).sum()} of {len(values)}"
            )
        body.append([mixer, backend, len(group), *cells])
    rows += table(head, body)
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    plot(groups, epochs, path.with_suffix(".png"))
    print("\n".join(rows))


def at(result, epoch):
    """The accuracy after an epoch, or after the last that was needed."""
    return result["accuracy"][min(epoch, len(result["accuracy"]) - 1)]


def plot(groups, epochs, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
    steps = 100 * (1 + np.arange(epochs))
    # What varies one model has its colour, and a line of its own.
    lines = {}
    for (mixer, backend), group in groups.items():
        values = np.array([[at(r, e) for e in range(epochs)] for r in group])
        label = mixer if backend == "jax" else f"{mixer}, {backend}"
        of_model = lines.setdefault(mixer.partition(",")[0], [])
        model = list(lines).index(mixer.partition(",")[0])
        color = COLORS[model]
        of_model.append(label)
        axes.plot(
            steps,
            values.mean(0),
            color=color,
            ls=LINES[len(of_model) - 1],
            marker=MARKERS[model],
            ms=4,
            label=label,
        )
        low, high = values.min(0), values.max(0)
        axes.fill_between(steps, low, high, color=color, alpha=0.13, lw=0)
    axes.set(
        xlabel="training steps",
        ylabel="recall accuracy",
        ylim=(0, 1.02),
        xticks=steps,
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=TASKS, default="near")
    parser.add_argument("--mixers", nargs="+", help="by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--again", action="store_true", help="forget the results already there"
    )
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    names = arguments.mixers or list(task.mixers)
    if unknown := set(names) - set(task.mixers):
        parser.error(f"unknown {unknown}; choose from {set(task.mixers)}")
    RESULTS.mkdir(exist_ok=True)
    suffix = "" if arguments.task == "near" else f"_{arguments.task}"
    lines = RESULTS / f"recall{suffix}.jsonl"
    if arguments.again:
        lines.unlink(missing_ok=True)
    backend = keras.backend.backend()
    command = f"python -m benchmarks.recall --task {arguments.task}"
    if arguments.epochs != parser.get_default("epochs"):
        command += f" --epochs {arguments.epochs}"
    if backend != "jax":
        command = f"KERAS_BACKEND={backend} {command}"
    results = read(lines)
    done = {
        (r["mixer"], r["seed"], r["backend"])
        for r in results
        if len(r["accuracy"]) >= arguments.epochs
        or not r["accuracy"][-1] < LEARNED
    }
    for seed, name in itertools.product(arguments.seeds, names):
        if (name, seed, backend) not in done:
            result = train(task, name, seed, arguments.epochs)
            result["command"] = command
            with lines.open("a") as file:
                file.write(json.dumps(result) + "\n")
            results.append(result)
    report(task, results, lines)


def read(lines):
    if not lines.exists():
        return []
    return [json.loads(line) for line in lines.read_text().splitlines()]


if __name__ == "__main__":
    main()
