"""
Title: A memory that keeps what it read
Author: The keras_titans authors
Date created: 2026/11/23
Last modified: 2026/11/23
Description: Train a small language model with a neural memory, then ask it for
    facts that it read sixteen training lengths ago.
Accelerator: None
"""

"""
## Introduction

A recurrent model must press all that it read into a state of fixed size. In
[Titans](https://arxiv.org/abs/2501.00663) that state is itself a small network,
the neural memory, and reading is *training* it: at each token, gradient descent
moves the memory so that it answers the token's key with the token's value. How
far it has to move is the token's *surprise*. This goes on at test time, and
that is what we want to see here:

1. We train a small language model whose only way to look back is
   `keras_titans.layers.NeuralMemory`, on US presidents' addresses in which
   facts are planted ("The special number for the harbor is 4719.") and asked
   for later.
2. It reads addresses that it has never seen, many times longer than anything in
   training, and is asked for facts at growing distances: with its memory
   carried on, with its memory reset between pieces, and with its memory only
   read, never written.
3. We look at its loss over the whole text, and at its surprise.
4. We save the memory to a file, and another process answers from it.

All of it took three to five minutes on two CPU cores, most of them training.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from keras import ops
from keras import tree
from planted_facts import TELL
from planted_facts import Planting
from planted_facts import answer_tokens
from planted_facts import load_addresses
from planted_facts import train_tokenizer

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import Titans
from keras_titans.models import SegmentedTrainer
from keras_titans.visualization import loss_by_position

start = time.perf_counter()

parser = argparse.ArgumentParser(description="Train, stream, ask, save.")
parser.add_argument(
    "--out",
    type=pathlib.Path,
    default=pathlib.Path("quickstart"),
    help="where the plot, the model and its memory go",
)
parser.add_argument("--seed", type=int, default=0, help="of the weights")
arguments = parser.parse_args()
out = arguments.out
out.mkdir(parents=True, exist_ok=True)
SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(arguments.seed)

"""
## The text

The State of the Union addresses, from 1790 on. Those since 1980 are held out.
"""

HELD_OUT_FROM = 1980

old, new = load_addresses(HELD_OUT_FROM)
if SMALL:
    old, new = old[:20], new[:10]

"""
A fact gives a number to a name. Every training sequence draws its own, so that
no weight can hold them: only the memory can.
"""

print("A fact:", TELL.format(name="harbor", number=4719))

"""
A byte-level BPE tokenizer, trained on the old addresses and on planted
sentences. It cuts numbers into pairs of digits, so that "4719" is two tokens,
and knows every name as one.
"""

VOCABULARY = 1024

tokenizer = train_tokenizer(old, VOCABULARY)
tokenizer.save(str(out / "tokenizer.json"))
planting = Planting(tokenizer)
encode = planting.encode

old_text = np.concatenate([encode(text) for text in old])
new_text = np.concatenate([encode(text) for text in new])
print(f"{len(old_text):,} tokens to train on, {len(new_text):,} held out")

"""
## Planting facts

Sentences go in at the ends of the text's own sentences.
"""


rng = np.random.default_rng(0)
_, tell, _ = planting.draw_facts(rng, 1)
example, _, _ = planting.plant(new_text[:200], [100], tell)
print(tokenizer.decode(example))

"""
In training facts are told at the beginning and asked for later, more than once.
At first only the answers count, so that recall is learned before anything else;
then the text counts a little too.
"""


class Documents(keras.utils.PyDataset):
    def __init__(
        self, length, batch_size, steps, facts, told_until, asks, text_weight
    ):
        super().__init__()
        self.length, self.batch_size = length, batch_size
        self.steps = 1 if SMALL else steps
        self.facts, self.told_until, self.asks = facts, told_until, asks
        self.text_weight = text_weight
        self.epoch = 0

    def on_epoch_end(self):
        self.epoch += 1

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.length, self.epoch, index))
        return planting.training_rows(
            rng,
            old_text,
            self.batch_size,
            self.length,
            self.facts,
            self.told_until,
            self.asks,
            self.text_weight,
        )


"""
## The model

Two blocks of memory and nothing else: no attention, no positions. They start
out with two tasks, to keep and to forget, in this order: the lower one sees the
names as they are. It is also the wider one: each write of a word that is no
fact wears away a little of what is kept, and the wider the keys, the less. The
embedding serves as the output map too, on top of how frequent each token is.
"""

WIDTH = 64
FORGETTING = (1e-5, 1e-2)
HEAD_DIMS = (128, 64)

embedding = layers.ReversibleEmbedding(
    VOCABULARY,
    WIDTH,
    embeddings_initializer=keras.initializers.RandomNormal(stddev=WIDTH**-0.5),
)
blocks = [
    MemoryBlock(
        NeuralMemory(
            num_heads=1,
            head_dim=head_dim,
            update_rule=Titans(
                learning_rate=Gate(logit_scale=1.0),
                momentum=Gate(maximum=0.5, logit_scale=1.0),
                forgetting=Gate(initial=forgetting, logit_scale=1.0),
            ),
            return_state=True,
        ),
        intermediate_dim=2 * WIDTH,
    )
    for forgetting, head_dim in zip(FORGETTING, HEAD_DIMS)
]
norm = layers.RMSNormalization()
count = 1.0 + np.bincount(old_text, minlength=VOCABULARY)
log_frequency = np.log(count / count.sum()).astype("float32")


def language_model(tokens, states, update=True):
    x = embedding(tokens)
    diagnostics, new_states = [], []
    for block, state in zip(blocks, states):
        x, of_block, state = block(
            x,
            initial_state=state,
            update=update,
            return_diagnostics=True,
        )
        diagnostics.append(of_block)
        new_states.append(state)
    logits = embedding(norm(x), reverse=True) + log_frequency
    return logits, diagnostics, new_states


tokens = keras.Input((None,), dtype="int32")
model = keras.Model(tokens, language_model(tokens, [None, None])[0])
print(f"{model.count_params():,} weights")

"""
Training starts short and dense, where recall is learned fast, until nothing is
left to learn there, and goes on long. In the end documents are longer than what
is trained on at once: the trainer takes a step of the optimizer after each
segment and carries the memory on to the next, so that the gates meet old
memories and learn what not to overwrite.
"""

LONGEST = 4096
SEGMENTS = 2 if SMALL else 16


class UntilRecalled(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["loss"] < 0.1


def train(model, documents, peak, end, epochs=1):
    steps = epochs * documents.steps * max(1, documents.length // LONGEST)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3, steps, alpha=end, warmup_target=peak, warmup_steps=30
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.01, clipnorm=1.0, beta_2=0.98
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    print(
        f"{documents.steps} documents of {documents.batch_size} x "
        f"{documents.length:,} tokens"
    )
    model.fit(
        documents, epochs=epochs, shuffle=False, callbacks=[UntilRecalled()]
    )


short = Documents(256, 16, 25, 6, told_until=1.0, asks=2, text_weight=0.0)
train(model, short, peak=1e-2, end=0.2, epochs=1 if SMALL else 32)
long = Documents(LONGEST, 1, 300, 24, told_until=0.3, asks=2, text_weight=0.3)
train(model, long, peak=1e-2, end=0.05)
longer = Documents(
    SEGMENTS * LONGEST,
    batch_size=1,
    steps=12,
    facts=24,
    told_until=0.3 / SEGMENTS,
    asks=SEGMENTS,
    text_weight=0.05,
)
trainer = SegmentedTrainer(model, LONGEST, accumulate=False)
train(trainer, longer, peak=3e-3, end=0.1)
print(f"trained after {time.perf_counter() - start:.0f} s")

"""
## Reading on and on

The same layers once more, now with the memory's state going in and coming out.
With `update=False` the memory is read but not written.
"""


def streaming_model(update):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    targets = keras.Input((None,), dtype="int32", name="targets")
    states = [
        tree.map_structure(
            lambda spec: keras.Input(spec.shape[1:], dtype=spec.dtype),
            block.memory.state_spec(None),
        )
        for block in blocks
    ]
    logits, diagnostics, new_states = language_model(tokens, states, update)
    answers = ops.cast(ops.argmax(logits, axis=-1), "int32")
    of_block = diagnostics[0]  # of the block that keeps; it has one head
    surprise = of_block["surprise"][..., 0]
    return keras.Model(
        [tokens, targets, states],
        {
            "loss": ops.sparse_categorical_crossentropy(
                targets, logits, from_logits=True
            ),
            "right": ops.equal(answers, targets),
            "answer": answers,
            "surprise": surprise,
            # Nearly in proportion to the memory's change.
            "written": surprise * of_block["learning_rate"][..., 0],
            "states": new_states,
        },
    )


writing, reading = streaming_model(True), streaming_model(False)


def fresh_states(rows):
    states = [block.get_initial_state(rows) for block in blocks]
    return tree.map_structure(ops.convert_to_numpy, states)


PIECE = 1024


def stream(rows, how="carried"):
    """Loss, surprise and so on for each token, and the last state."""
    model = reading if how == "never written" else writing
    states, parts = fresh_states(len(rows)), []
    for first in range(0, rows.shape[1] - 1, PIECE):
        if how == "reset":
            states = fresh_states(len(rows))
        piece = rows[:, first : first + PIECE + 1]
        part = model.predict_on_batch([piece[:, :-1], piece[:, 1:], states])
        states = part.pop("states")
        parts.append(part)
    columns = {
        name: np.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }
    return columns, states


"""
All held-out addresses, in rows seventeen times as long as what was trained on.
In the first part of each row facts are told; each is asked for once, later.
"""

DISTANCES = (0.5, 1) if SMALL else (0.5, 1, 2, 4, 8, 16)
FACTS = 2 * len(DISTANCES)
WAYS = ("carried", "reset", "never written")

rng = np.random.default_rng(0)
length = int((DISTANCES[-1] + 1.5) * LONGEST) // PIECE * PIECE + 1
rows, is_planted, ends, facts = [], [], [], []
for text in np.split(new_text, range(length, len(new_text), length))[:10]:
    told = rng.uniform(0, LONGEST, FACTS)
    asked = told + np.repeat(DISTANCES, FACTS // len(DISTANCES)) * LONGEST
    row_facts, tell, ask = planting.draw_facts(rng, FACTS)
    row, row_planted, row_ends = planting.plant(
        text, np.concatenate([told, asked]), tell + ask
    )
    rows.append(row[:length])
    is_planted.append(row_planted[:length])
    ends.append(row_ends)
    facts.append(row_facts)
rows, is_planted, ends = np.stack(rows), np.stack(is_planted), np.stack(ends)

streamed = {how: stream(rows, how) for how in WAYS}
results = {how: columns for how, (columns, _) in streamed.items()}

"""
An answer is right if all its tokens are.
"""

at = answer_tokens(ends[:, FACTS:].reshape(-1))
of_row = np.repeat(np.arange(len(rows)), FACTS)[:, None]
recall = {
    how: results[how]["right"][of_row, at]
    .all(axis=-1)
    .reshape(len(rows), len(DISTANCES), -1)
    .mean(axis=(0, 2))
    for how in WAYS
}

print(f"\nRight answers of {len(of_row) // len(DISTANCES)} at each distance")
print(f"{'tokens':>8} {'of training':>12}", *(f"{how:>14}" for how in WAYS))
for i, distance in enumerate(DISTANCES):
    print(
        f"{int(distance * LONGEST):8,} {distance:11}x",
        *(f"{recall[how][i]:14.0%}" for how in WAYS),
    )

"""
The loss on the addresses' own words by position, in doubling ranges; and the
mean over rows of carried against reset, with its standard error.
"""

in_text = ~is_planted[:, 1:]
edges = [0, *(PIECE * 2 ** np.arange(20))]
edges = [edge for edge in edges if edge < length - 1] + [length - 1]


def by_position(values):
    return np.array(
        [
            [v[a:b][keep[a:b]].mean() for a, b in zip(edges, edges[1:])]
            for v, keep in zip(values, in_text)
        ]
    )


losses = {how: by_position(results[how]["loss"]) for how in WAYS}
gap = losses["carried"] - losses["reset"]
error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))

print("\nLoss on the text, nats a token")
print(f"{'position':>16}", *(f"{how:>14}" for how in WAYS), "  carried - reset")
for i, (a, b) in enumerate(zip(edges, edges[1:])):
    print(
        f"{a:7,} - {b:6,}",
        *(f"{losses[how].mean(axis=0)[i]:14.3f}" for how in WAYS),
        f"    {gap.mean(axis=0)[i]:+.3f} +- {error[i]:.3f}",
    )

"""
## A picture
"""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

COLORS = dict(zip(WAYS, ("#0b6e99", "#d98324", "#8a8a8a")))

figure, axes = plt.subplot_mosaic(
    [["recall", "loss"], ["surprise", "surprise"]],
    figsize=(10, 7),
    layout="constrained",
)
for how in WAYS:
    axes["recall"].plot(
        DISTANCES,
        recall[how],
        "o-",
        color=COLORS[how],
        label=how,
        ms=10 if how == "reset" else 5,  # behind the other that knows none
    )
axes["recall"].set(
    xscale="log",
    xticks=DISTANCES,
    xticklabels=[f"{distance}x" for distance in DISTANCES],
    ylim=(-0.04, 1.04),
    xlabel=f"distance, in training lengths of {LONGEST:,} tokens",
    title="Facts recalled",
)
axes["recall"].minorticks_off()
axes["recall"].legend(title="the memory is", frameon=False, loc=(0.05, 0.3))

loss_by_position(
    {how: results[how]["loss"] for how in ("carried", "reset")},
    where=in_text,
    against="reset",
    first=PIECE,
    title="Loss on the text: carried against reset",
    axis=axes["loss"],
)

# Where most facts are told.
told_here = np.convolve(is_planted[0, :LONGEST], np.ones(800), "valid")
WINDOW = slice(np.argmax(told_here), np.argmax(told_here) + 800)
here = is_planted[0, WINDOW]
places = np.arange(WINDOW.start, WINDOW.stop)
for name, label, color in (
    ("surprise", "surprise", COLORS["never written"]),
    ("written", "surprise x learning rate: what is written", COLORS["carried"]),
):
    values = results["carried"][name][0, WINDOW]
    values = values / values.max()
    axes["surprise"].plot(places, values, color=color, lw=0.8, label=label)
axes["surprise"].fill_between(
    places,
    0,
    1,
    where=here,
    color=COLORS["reset"],
    alpha=0.3,
    lw=0,
    label="planted fact",
)
axes["surprise"].set(
    xlim=(WINDOW.start, WINDOW.stop - 1),
    ylim=(0, 1.02),
    xlabel="token",
    ylabel="of the largest",
    title="While reading",
)
figure.legend(
    *axes["surprise"].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=3,
    frameon=False,
)
for axis in axes.values():
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "quickstart.png", dpi=130)

"""
## The memory in a file

What the memory was at the end of the first row goes into a file, and the model
into another. `quickstart_ask.py`, another process, answers from these files
alone.
"""

_, states = streamed["carried"]
np.savez(out / "memory.npz", *(state[:1] for state in tree.flatten(states)))
writing.save(out / "model.keras")

names = [fact["name"] for fact in facts[0][:8]]
print(f"\nA new process, {length:,} tokens later:")
print("told ", *(f"{f['name']} {f['number']:04d}" for f in facts[0][:8]))
ask = pathlib.Path(__file__).with_name("quickstart_ask.py")
subprocess.run([sys.executable, ask, out, *names], check=True)

print(f"\n{time.perf_counter() - start:.0f} s in all. See {out}/quickstart.png")
