"""What a memory adds to a language model that was trained without one.

    python -m benchmarks.add_memory

A small Mistral decoder of KerasHub's, whose attention looks back over a short
window, is trained on short pieces of presidents' addresses with planted facts
("The special number for the tax is 4719."). Then it is frozen, and trained no
further: `add_memory` puts a memory beside its attentions, and memories and
gates alone are trained, first on the facts in pieces where they are many, then
on longer pieces and all of their text. Beside it LoRA updates of the same
frozen model are trained on the same pieces, to tell the memory from the
training.

All three read held-out addresses, longer than any in training: their perplexity
on the text by position, and how many facts they know by how far back they were
told.
"""

import argparse
import json
import os
import pathlib
import shlex
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import keras_hub
import numpy as np

from benchmarks.markdown import table
from guides.planted_facts import Planting
from guides.planted_facts import answer_tokens
from guides.planted_facts import load_addresses
from guides.planted_facts import train_tokenizer
from keras_titans.layers import NeuralMemory
from keras_titans.memory import UpdateRule
from keras_titans.models import add_memory

RESULTS = pathlib.Path(__file__).parent / "results"
HELD_OUT_FROM = 1980
VOCABULARY = 1024
WIDTH, LAYERS, HEADS, WINDOW = 64, 2, 4, 32
LORA_RANK = 8
SHORT, DENSE, LONG = 128, 256, 1024  # tokens of a piece in training
READ = 2048  # tokens of a held-out piece
# Another layer's window begins where this one's ends.
REACH = LAYERS * (WINDOW - 1)
DISTANCES = (0, REACH, 128, 256, 512, 1024, READ)  # borders of what is told
DRAWN = (20, 75, 160, 330, 660, 1150)
FACTS = 2 * len(DRAWN)


def make_base():
    return keras_hub.models.MistralBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=LAYERS,
        num_query_heads=HEADS,
        num_key_value_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=3 * WIDTH,
        sliding_window=WINDOW,
    )


def make_memory(layer):
    """Wide keys, so that few writes wear away what is kept."""
    return NeuralMemory(
        num_heads=1,
        head_dim=2 * WIDTH,
        memory_depth=1,
        update_rule=UpdateRule(initial_forgetting=1e-5),
    )


# What is trained on: without a memory the first, with one the other two.
STAGES = (
    {
        "rows": 32,
        "length": SHORT,
        "facts": 1,
        "told_until": 0.7,
        "asks": 2,
        "text_weight": 1.0,
    },
    {
        "rows": 16,
        "length": DENSE,
        "facts": 6,
        "told_until": 1.0,
        "asks": 2,
        "text_weight": 0.0,
    },
    {
        "rows": 4,
        "length": LONG,
        "facts": 8,
        "told_until": 0.7,
        "asks": 1,
        "text_weight": 1.0,
    },
)

VARIANTS = {
    "base": lambda base: base,
    "LoRA": lambda base: adapted(base),
    "memory": lambda base: add_memory(base, make_memory),
}


def adapted(base):
    copy = type(base).from_config(base.get_config())
    for weight, other in zip(copy.weights, base.weights, strict=True):
        weight.assign(np.array(keras.ops.convert_to_numpy(other)))
    copy.enable_lora(LORA_RANK)
    return copy


def language_model(backbone):
    """From token ids alone to logits."""
    tokens = keras.Input((None,), dtype="int32")
    ones = keras.ops.ones_like(tokens)
    hidden = backbone({"token_ids": tokens, "padding_mask": ones})
    return keras.Model(tokens, backbone.token_embedding(hidden, reverse=True))


class Pieces(keras.utils.PyDataset):
    """New ones at each step, the same for every model."""

    def __init__(self, planting, text, steps, **options):
        super().__init__()
        self.planting, self.text, self.steps = planting, text, steps
        self.options = options

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.options["length"], index))
        return self.planting.training_rows(rng, self.text, **self.options)


def train(model, pieces, peak):
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, pieces.steps, alpha=0.05, warmup_target=peak, warmup_steps=30
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.01, clipnorm=1.0, beta_2=0.98
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    start = time.perf_counter()
    logs = model.fit(pieces, shuffle=False, verbose=2).history
    return {
        "steps": pieces.steps,
        "loss": logs["loss"][-1],
        "seconds": round(time.perf_counter() - start, 1),
    }


def held_out(planting, text, count, seed=0):
    """Pieces, what is planted in them, and where facts are asked for."""
    rng = np.random.default_rng(seed)
    rows, is_planted, ends = [], [], []
    for piece in np.split(text, range(READ, len(text), READ))[:count]:
        told = rng.uniform(0, READ - max(DRAWN) - 400, FACTS)
        asked = told + np.repeat(DRAWN, FACTS // len(DRAWN))
        _, tell, ask = planting.draw_facts(rng, FACTS)
        row, planted, row_ends = planting.plant(
            piece, np.concatenate([told, asked]), tell + ask
        )
        rows.append(row[: READ + 1])
        is_planted.append(planted[1 : READ + 1])
        ends.append(row_ends)
    return np.stack(rows), np.stack(is_planted), np.stack(ends)


def edges():
    return [0, *(WINDOW * 2 ** np.arange(20)[: _doublings()]), READ]


def _doublings():
    return int(np.ceil(np.log2(READ / WINDOW)))


def evaluate(model, rows, is_planted, ends):
    """Perplexity by position, and recall by how far back it was told."""
    losses, right = [], []
    for row in rows:
        logits = model.predict_on_batch(row[None, :-1])[0]
        logits = logits - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, row[1:, None], axis=-1)[:, 0]
        losses.append(np.log(np.exp(logits).sum(axis=-1)) - chosen)
        right.append(logits.argmax(axis=-1) == row[1:])
    losses, right = np.stack(losses), np.stack(right)
    in_text, borders = ~is_planted, edges()
    perplexity = [
        float(np.exp(losses[:, a:b][in_text[:, a:b]].mean()))
        for a, b in zip(borders, borders[1:], strict=False)
    ]
    told, asked = ends[:, :FACTS], ends[:, FACTS:]
    answers = answer_tokens(asked.reshape(-1))
    inside = answers.max(axis=-1) < READ
    of_row = np.repeat(np.arange(len(rows)), FACTS)
    known = right[of_row[inside, None], answers[inside]].all(axis=-1)
    apart = (asked - told).reshape(-1)[inside]
    recall = []
    for a, b in zip(DISTANCES, DISTANCES[1:], strict=False):
        here = (apart > a) & (apart <= b)
        recall.append([int(known[here].sum()), int(here.sum())])
    return {"perplexity": perplexity, "recall": recall}


def run(seed, steps, rows):
    """JSON-able results, one for each variant."""
    keras.utils.set_random_seed(seed)
    old, new = load_addresses(HELD_OUT_FROM)
    planting = Planting(train_tokenizer(old, VOCABULARY))
    old = np.concatenate([planting.encode(text) for text in old])
    new = np.concatenate([planting.encode(text) for text in new])
    test = held_out(planting, new, rows)
    pieces = [
        Pieces(planting, old, steps, **options)
        for steps, options in zip(steps, STAGES, strict=True)
    ]
    base = make_base()
    trained = train(language_model(base), pieces[0], peak=5e-3)
    for name, variant in VARIANTS.items():
        keras.utils.set_random_seed(seed)
        backbone = variant(base)
        model = language_model(backbone)
        untrained = evaluate(model, *test)
        if backbone is not base:
            for stage in pieces[1:]:
                trained = train(model, stage, peak=1e-2)
        yield {
            "variant": name,
            "seed": seed,
            "backend": keras.backend.backend(),
            "weights": model.count_params(),
            "trained": sum(
                int(np.prod(w.shape)) for w in model.trainable_variables
            ),
            **trained,
            "before": untrained,
            **evaluate(model, *test),
        }


def report(results, command, path):
    """The table and the plot."""
    borders = edges()
    ranges = [
        f"{a:,} to {b:,}" for a, b in zip(borders, borders[1:], strict=False)
    ]
    rows = [
        "# A memory added to a trained model",
        "",
        f"`{command}`, {results[0]['backend']}",
        "",
        f"{LAYERS} layers of width {WIDTH}, windows of {WINDOW} tokens: no "
        f"token sees further than {REACH} back without a memory. Trained on "
        f"pieces of {SHORT} tokens, then frozen; LoRA of rank {LORA_RANK}, or "
        f"memories and gates, trained on pieces of {DENSE}, then {LONG:,}; all "
        f"read pieces of {READ:,}. One seed.",
        "",
        "Facts known of those asked for, by how many tokens before they were "
        "told:",
        "",
        *table(
            [
                "model",
                "weights",
                "trained",
                *(f"to {d:,}" for d in DISTANCES[1:]),
            ],
            [
                [
                    r["variant"],
                    f"{r['weights']:,}",
                    f"{r['trained']:,}",
                    *(f"{known} of {asked}" for known, asked in r["recall"]),
                ]
                for r in results
            ],
        ),
        "",
        "Perplexity on the text, by position:",
        "",
        *table(
            ["model", *ranges],
            [
                [r["variant"], *(f"{p:.1f}" for p in r["perplexity"])]
                for r in results
            ],
        ),
        "",
        "Before it is trained, the model with memories is the base: its "
        "largest difference in perplexity is "
        f"{_difference_at_first(results):.2g}.",
    ]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    plot(results, path.with_suffix(".png"))
    print("\n".join(rows))


def _difference_at_first(results):
    by_name = {r["variant"]: r for r in results}
    base, memory = by_name["base"], by_name["memory"]
    pairs = zip(base["perplexity"], memory["before"]["perplexity"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def plot(results, path):
    import matplotlib.pyplot as plt

    plt.style.use("tableau-colorblind10")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), layout="constrained"
    )
    borders = edges()
    middle = [
        np.sqrt(max(a, WINDOW / 2) * b)
        for a, b in zip(borders, borders[1:], strict=False)
    ]
    styles = ("o-", "s--", "^-")
    for r, style in zip(results, styles, strict=True):
        shares = [known / max(1, asked) for known, asked in r["recall"]]
        left.plot(DISTANCES[1:], shares, style, label=r["variant"])
        right.plot(middle, r["perplexity"], style, label=r["variant"])
    left.axvline(REACH, color="grey", lw=0.8)
    left.annotate("the windows' reach", (REACH * 1.1, 0.5), fontsize=8)
    left.set(
        xscale="log",
        xticks=DISTANCES[1:],
        xticklabels=DISTANCES[1:],
        xlabel="tokens since it was told, at most",
        title="Facts recalled",
        ylim=(-0.04, 1.04),
    )
    right.axvline(LONG, color="grey", lw=0.8)
    right.annotate("longest in training", (LONG * 1.1, right.get_ylim()[0]))
    right.set(
        xscale="log", xlabel="tokens read before", title="Perplexity, text"
    )
    left.legend(frameon=False)
    left.minorticks_off()
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        default=[600, 600, 300],
        help="of training without what is added, on facts, on long pieces",
    )
    parser.add_argument("--rows", type=int, default=12, help="held out")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True, parents=True)
    command = shlex.join(
        ["python", "-m", "benchmarks.add_memory", *sys.argv[1:]]
    )
    results = list(run(arguments.seed, arguments.steps, arguments.rows))
    path = arguments.out / "add_memory.jsonl"
    path.write_text(
        "".join(json.dumps({**r, "command": command}) + "\n" for r in results)
    )
    report(results, command, path)


if __name__ == "__main__":
    main()
