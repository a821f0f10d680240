"""Multi-query associative recall: what a memory layer learns to look up.

    python -m benchmarks.recall

A sequence of 64 tokens begins with 12 pairs of a key and a value; later each
key comes once more, among filler, and the value is to be given. Both keys and
pairs are new in every sequence, so weights cannot hold them. A model of two
`MemoryBlock`s is trained on it, for each memory and several seeds, and its
accuracy on sequences it has not seen is taken after every 100 steps.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import MLPMemory
from keras_titans.memory import UpdateRule

RESULTS = pathlib.Path(__file__).parent / "results"
LENGTH, PAIRS, WIDTH, KEYS, VALUES, FILLER = 64, 12, 64, 64, 64, 1
VOCABULARY = FILLER + KEYS + VALUES


def paper(max_learning_rate, **kwargs):
    """The paper's form: an independent learning rate, stale gradients."""
    return dict(
        anchor="chunk",
        network=MLPMemory(2, activation="gelu", unit_norm=False),
        update_rule=UpdateRule(
            normalize_learning_rate=False,
            max_learning_rate=max_learning_rate,
            max_momentum=1.0,
            hidden_rate=1.0,
        ),
        **kwargs,
    )


MEMORIES = {
    "default (depth 2, token anchor)": {},
    "depth 2, token anchor, hidden rate 1": {
        "update_rule": UpdateRule(hidden_rate=1.0)
    },
    "depth 2, chunk anchor": {"anchor": "chunk"},
    "depth 1, token anchor": {"memory_depth": 1},
    "depth 1, chunk anchor": {"memory_depth": 1, "anchor": "chunk"},
    "depth 2, paper's form, theta 0.1": paper(0.1),
    "depth 2, paper's form, theta 1": paper(1.0),
}


def sequences(count, seed):
    """Tokens `(count, LENGTH)`, the value asked for at each, and where."""
    rng = np.random.default_rng(seed)
    draw = lambda n, size: np.argsort(rng.random((count, n)), axis=1)[:, :size]
    keys = FILLER + draw(KEYS, PAIRS)
    values = FILLER + KEYS + draw(VALUES, PAIRS)
    tokens = np.zeros((count, LENGTH), "int32")
    tokens[:, 0 : 2 * PAIRS : 2] = keys
    tokens[:, 1 : 2 * PAIRS : 2] = values
    asked = np.zeros_like(tokens)
    places = 2 * PAIRS + draw(LENGTH - 2 * PAIRS, PAIRS)
    np.put_along_axis(tokens, places, keys, axis=1)
    np.put_along_axis(asked, places, values, axis=1)
    return tokens, asked, (asked > 0).astype("float32")


def model_with(**memory):
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, WIDTH)(tokens)
    for _ in range(2):
        layer = NeuralMemory(num_heads=1, chunk_size=16, **memory)
        x = MemoryBlock(layer, intermediate_dim=2 * WIDTH)(x)
    x = keras.layers.RMSNormalization()(x)
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    return model


def train(name, seed, epochs, batch_size=64, steps=100):
    """One JSON-able result: the accuracy after each epoch of 100 steps."""
    keras.utils.set_random_seed(seed)
    model = model_with(**MEMORIES[name])
    held_out = sequences(512, seed=10_000 + seed)
    accuracies, start = [], time.perf_counter()
    for epoch in range(epochs):
        x, y, weight = sequences(batch_size * steps, seed=1000 * seed + epoch)
        model.fit(x, y, batch_size, sample_weight=weight, verbose=0)
        logits = model.predict(held_out[0], batch_size=128, verbose=0)
        right = (logits.argmax(-1) == held_out[1])[held_out[2] > 0]
        finite = bool(np.isfinite(logits).all())
        accuracies.append(float(right.mean()) if finite else float("nan"))
        print(f"{name}, seed {seed}: {accuracies[-1]:.3f}", flush=True)
        if not finite:
            accuracies += [float("nan")] * (epochs - 1 - epoch)
            break
    return {
        "memory": name,
        "seed": seed,
        "backend": keras.backend.backend(),
        "parameters": model.count_params(),
        "accuracy": accuracies,
        "seconds": round(time.perf_counter() - start, 1),
    }


def report(results, path, command):
    """The table and the plot: mean over seeds, and the range."""
    epochs = max(len(r["accuracy"]) for r in results)
    groups = {}
    for r in results:
        groups.setdefault((r["memory"], r["backend"]), []).append(r)
    rows = [
        "# Multi-query associative recall",
        "",
        f"`{command}`",
        "",
        f"{PAIRS} pairs in {LENGTH} tokens, two blocks of width {WIDTH}, one "
        "head, chunks of 16.",
        "Accuracy after each 100 steps: mean over seeds (lowest to highest).",
        "",
        "| memory | backend | seeds | "
        + " | ".join(str(100 * (e + 1)) for e in range(epochs))
        + " |",
        "|---" * (3 + epochs) + "|",
    ]
    for (memory, backend), group in groups.items():
        cells = []
        for epoch in range(epochs):
            values = [r["accuracy"][epoch] for r in group]
            cells.append(
                f"{statistics.mean(values):.3f} "
                f"({min(values):.3f} to {max(values):.3f})"
                if np.isfinite(values).all()
                else f"NaN in {np.isnan(values).sum()} of {len(values)}"
            )
        rows.append(
            f"| {memory} | {backend} | {len(group)} | {' | '.join(cells)} |"
        )
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    plot(groups, epochs, path.with_suffix(".png"))
    print("\n".join(rows))


def plot(groups, epochs, path):
    import matplotlib.pyplot as plt

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    steps = 100 * (1 + np.arange(epochs))
    styles = ["-", "--", ":", "-."]
    for i, ((memory, backend), group) in enumerate(groups.items()):
        values = np.array([r["accuracy"] for r in group])
        label = memory if backend == "jax" else f"{memory}, {backend}"
        axes.plot(
            steps, values.mean(0), styles[i % 4], marker="o", ms=4, label=label
        )
        axes.fill_between(steps, values.min(0), values.max(0), alpha=0.15)
    axes.set(
        xlabel="training steps",
        ylabel="recall accuracy",
        ylim=(0, 1.02),
        xticks=steps,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--memories", nargs="+", default=list(MEMORIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--append", action="store_true", help="keep the results already there"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.memories) - set(MEMORIES)
    if unknown:
        parser.error(f"unknown memories {unknown}; choose from {set(MEMORIES)}")
    RESULTS.mkdir(exist_ok=True)
    lines = RESULTS / "recall.jsonl"
    if not arguments.append:
        lines.unlink(missing_ok=True)
    for seed in arguments.seeds:
        for name in arguments.memories:
            result = train(name, seed, arguments.epochs)
            with lines.open("a") as file:
                file.write(json.dumps(result) + "\n")
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    command = "python -m benchmarks.recall " + " ".join(sys.argv[1:])
    report(results, lines, command.strip())


if __name__ == "__main__":
    main()
