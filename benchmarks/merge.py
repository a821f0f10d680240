"""What merging memories does to what they recall.

    python -m benchmarks.merge

A small model of memories alone is trained to recall pairs of a key and a value.
Then two memories of it read different pairs, and are merged with weights from
0 to 1: how many of either's pairs does the merged memory recall? Once the two
have read different keys, and once the same keys with other values. And more
than two are merged, all with the same weight, beside one memory that has read
all their pairs itself.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import sys
import time

import keras
import numpy as np

from benchmarks.built import built
from benchmarks.markdown import table
from benchmarks.variants import MATRIX
from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.models import StreamingModel

RESULTS = pathlib.Path(__file__).parent / "results"
WIDTH, KEYS, VALUES, FILLER = 64, 64, 64, 1
VOCABULARY = FILLER + KEYS + VALUES
PAIRS = 8  # that each memory reads
GAP = 3  # filler after each pair and question, as long as a convolution
WEIGHTS = np.linspace(0, 1, 11)
MERGED = (1, 2, 4, 8)
ROWS = 128


def draw(rng, rows, count, first):
    """Ids that are different within each row, `(rows, count)`."""
    return first + np.argsort(rng.random((rows, 64)), axis=1)[:, :count]


def told(keys, values):
    """`key value` and filler, over and over: `(rows, pairs * (2 + GAP))`."""
    rows, pairs = keys.shape
    tokens = np.zeros((rows, pairs, 2 + GAP), "int32")
    tokens[..., 0], tokens[..., 1] = keys, values
    return tokens.reshape(rows, -1)


def asked(keys):
    """`key` and filler, over and over: `(rows, pairs * (1 + GAP))`."""
    tokens = np.zeros((*keys.shape, 1 + GAP), "int32")
    tokens[..., 0] = keys
    return tokens.reshape(len(keys), -1)


def conversations(rng, rows, pairs=2 * PAIRS):
    """Pairs, then their keys in another order; the values count."""
    keys = draw(rng, rows, pairs, FILLER)
    values = draw(rng, rows, pairs, FILLER + KEYS)
    order = np.argsort(rng.random((rows, pairs)), axis=1)
    again = np.take_along_axis(keys, order, axis=1)
    tokens = np.concatenate([told(keys, values), asked(again)], axis=1)
    answers = np.zeros_like(tokens)
    where = np.arange(pairs) * (1 + GAP) + pairs * (2 + GAP)
    answers[:, where] = np.take_along_axis(values, order, axis=1)
    return tokens, answers, (answers > 0).astype("float32")


def make_model():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, WIDTH)(tokens)
    for _ in range(2):
        memory = NeuralMemory(1, head_dim=WIDTH, **built(MATRIX))
        x = MemoryBlock(memory, 2 * WIDTH)(x)
    x = keras.layers.RMSNormalization()(x)
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    return model


def trained(seed, epochs):
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = make_model()
    for epoch in range(epochs):
        tokens, answers, weight = conversations(rng, 50 * 64)
        logs = model.fit(
            tokens, answers, 64, sample_weight=weight, verbose=0
        ).history
        accuracy = logs["accuracy"][-1]
        print(f"seed {seed}, {50 * (epoch + 1)} steps: {accuracy:.3f}")
        if accuracy > 0.99:
            break
    return model


class Memories:
    """What memories of a model have read, and what they recall."""

    def __init__(self, model):
        self.writing = StreamingModel(model)
        self.reading = StreamingModel(model, update=False)

    def of(self, *pairs):
        """The memory, row by row, after pairs `(keys, values)`."""
        states = self.writing.get_initial_state(ROWS)
        states = keras.tree.map_structure(keras.ops.convert_to_numpy, states)
        for keys, values in pairs:
            _, states = self.writing.predict_on_batch(
                (told(keys, values), states)
            )
        return MemorySnapshot(states)

    def recall(self, memory, keys, values):
        """The share of the values that it gives when asked for the keys."""
        logits, _ = self.reading.predict_on_batch((asked(keys), memory.state))
        found = logits[:, :: 1 + GAP].argmax(axis=-1)
        return float((found == values).mean())


def measure(model, seed):
    """JSON-able results of one model."""
    rng = np.random.default_rng(10_000 + seed)
    memories = Memories(model)
    keys = np.split(draw(rng, ROWS, 64, FILLER), 8, axis=1)
    values = np.split(draw(rng, ROWS, 64, FILLER + KEYS), 8, axis=1)
    pairs = list(zip(keys, values, strict=True))
    alone = [memories.of(pair) for pair in pairs]
    for kind, others in (("other keys", keys[1]), ("same keys", keys[0])):
        one, two = pairs[0], (others, values[1])
        memory = [alone[0], memories.of(two)]
        for weight in WEIGHTS:
            merged = MemorySnapshot.merge(memory, [1 - weight, weight])
            yield {
                "kind": kind,
                "weight": round(float(weight), 3),
                "recall": memories.recall(merged, *one),
                "recall of the other": memories.recall(merged, *two),
            }
    for count in MERGED:
        merged = MemorySnapshot.merge(alone[:count])
        whole = memories.of(*pairs[:count])
        each = lambda memory, pairs: statistics.mean(
            memories.recall(memory, *pair) for pair in pairs
        )
        yield {
            "kind": "several",
            "memories": count,
            "recall": each(merged, pairs[:count]),
            "recall of one that read all": each(whole, pairs[:count]),
        }


def means(results, kind, by, field):
    """`by` -> the mean over seeds, and the range."""
    found = {}
    for result in results:
        if result["kind"] == kind:
            found.setdefault(result[by], []).append(result[field])
    return {
        key: (statistics.mean(values), min(values), max(values))
        for key, values in sorted(found.items())
    }


def cell(values):
    mean, low, high = values
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def report(results, path):
    seeds = {result["seed"] for result in results}
    rows = [
        "# Merged memories",
        "",
        *(f"`{c}`  " for c in dict.fromkeys(r["command"] for r in results)),
        "",
        f"Two blocks of width {WIDTH}, one matrix memory each, trained to "
        f"recall {2 * PAIRS} pairs. Each memory has read {PAIRS} pairs; "
        f"{ROWS} of them, {len(seeds)} seeds, mean (lowest to highest seed).",
    ]
    for kind, title in (
        ("other keys", "Two that read different keys"),
        ("same keys", "Two that read the same keys, with other values"),
    ):
        one = means(results, kind, "weight", "recall")
        two = means(results, kind, "weight", "recall of the other")
        rows += [
            "",
            f"## {title}",
            "",
            *table(
                [
                    "weight of the second",
                    "recall of the first's pairs",
                    "of the second's",
                ],
                [[f"{w:g}", cell(one[w]), cell(two[w])] for w in one],
            ),
        ]
    merged = means(results, "several", "memories", "recall")
    whole = means(results, "several", "memories", "recall of one that read all")
    rows += [
        "",
        "## Several, with equal weights",
        "",
        *table(
            [
                "memories",
                "pairs in all",
                "recall, merged",
                "recall, one memory that read all",
            ],
            [[n, n * PAIRS, cell(merged[n]), cell(whole[n])] for n in merged],
        ),
    ]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    plot(results, path.with_suffix(".png"))
    print("\n".join(rows))


def plot(results, path):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, 3, figsize=(11, 3.6), sharey=True, layout="constrained"
    )

    def line(axis, kind, by, field, label, **style):
        found = means(results, kind, by, field)
        middle, low, high = zip(*found.values(), strict=True)
        axis.plot([*found], middle, "o-", ms=4, label=label, **style)
        axis.fill_between([*found], low, high, alpha=0.2, lw=0, **style)

    blue, orange, grey = "#0072B2", "#E69F00", "#555555"
    for axis, kind, title in (
        (axes[0], "other keys", "Different keys"),
        (axes[1], "same keys", "The same keys, other values"),
    ):
        line(axis, kind, "weight", "recall", "the first's pairs", color=blue)
        line(
            axis,
            kind,
            "weight",
            "recall of the other",
            "the second's pairs",
            color=orange,
        )
        axis.set(xlabel="weight of the second memory", title=title)
    line(axes[2], "several", "memories", "recall", "merged", color=blue)
    line(
        axes[2],
        "several",
        "memories",
        "recall of one that read all",
        "one memory that read all",
        color=grey,
    )
    axes[2].set(
        xlabel=f"memories of {PAIRS} pairs each",
        title="Several, with equal weights",
        xscale="log",
    )
    axes[2].set_xticks(MERGED, MERGED)
    axes[2].minorticks_off()
    axes[0].set(ylabel="recalled", ylim=(-0.03, 1.03))
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(
            fontsize=8,
            frameon=False,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18),
        )
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    command = shlex.join(["python", "-m", "benchmarks.merge", *sys.argv[1:]])
    results, start = [], time.perf_counter()
    for seed in arguments.seeds:
        model = trained(seed, arguments.epochs)
        results += [
            {**result, "seed": seed, "command": command}
            for result in measure(model, seed)
        ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "merge.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in results))
    report(results, path)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
