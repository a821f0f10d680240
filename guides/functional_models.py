"""
Title: The memory layer in a functional model
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/26
Description: Put a neural memory where a recurrent layer would stand, train it
    to look things up, and take its state in and out.
Accelerator: None
"""

"""
## Introduction

`keras_titans.layers.NeuralMemory` takes a sequence and returns one of the same
shape, as `keras.layers.LSTM(return_sequences=True)` does. What it carries from
token to token is not a vector but a small network, which it trains on each
token that it reads.

In this guide we

1. build two functional models that differ in one layer, a memory and an LSTM;
2. train both to look up, in a list of pairs that they have just read, the value
   of a key;
3. ask about longer lists than any in training;
4. read a list in pieces, with the memory's state going in and coming out;
5. save the model and load it under another backend.

It runs on JAX, TensorFlow and PyTorch: `KERAS_BACKEND` picks.
"""

import importlib.util
import os
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.models import StreamingModel

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(0)

"""
## A list of pairs

A row tells pairs of a key and a value, and then asks for the keys in another
order. Both are drawn anew for every row, so that no weight can hold them. Rows
have different numbers of pairs, and the shorter ones are padded with 0.
"""

KEYS, VALUES = 48, 48
FILLER = 1  # stands where an answer would
FIRST_KEY = FILLER + 1
FIRST_VALUE = FIRST_KEY + KEYS
VOCABULARY = FIRST_VALUE + VALUES
LONGEST = 12


def row_of_pairs(rng, pairs):
    """Tokens, and the right answer at each, or 0 where nothing is asked."""
    keys = FIRST_KEY + rng.permutation(KEYS)[:pairs]
    values = FIRST_VALUE + rng.permutation(VALUES)[:pairs]
    order = rng.permutation(pairs)
    told = np.stack([keys, values], axis=-1)
    asked = np.stack([keys[order], np.full(pairs, FILLER)], axis=-1)
    tokens = np.concatenate([told, asked]).reshape(-1)
    answers = np.zeros_like(tokens)
    answers[2 * pairs :: 2] = values[order]
    return tokens, answers


def padded(rows, length):
    return np.stack([np.pad(row, (0, length - len(row))) for row in rows])


def draw(rng, count, pairs):
    """`count` rows of up to `pairs` pairs, and what each token weighs."""
    rows = [row_of_pairs(rng, rng.integers(1, pairs + 1)) for _ in range(count)]
    tokens, answers = (
        padded(column, 4 * pairs).astype("int32") for column in zip(*rows)
    )
    return tokens, answers, (answers > 0).astype("float32")


tokens, answers = row_of_pairs(np.random.default_rng(0), 3)
print("tokens ", *(f"{token:4}" for token in tokens))
print("answers", *(f"{answer:4}" for answer in answers))

"""
## Two models

`MemoryBlock` puts the memory where a decoder block has its attention, and
around it the norms, the residual connections and the multilayer perceptron that
such a block has. Around the LSTM they are written out here: there is nothing
more to a block.

`mask_zero=True` is all that padding takes. A padded token changes nothing in a
memory, wherever it stands.
"""

WIDTH = 64


def memory_block(x):
    memory = NeuralMemory(num_heads=1, chunk_size=16)
    return MemoryBlock(memory, intermediate_dim=2 * WIDTH)(x)


def lstm_block(x):
    y = layers.LSTM(2 * WIDTH, return_sequences=True)(
        layers.LayerNormalization()(x)
    )
    x = layers.add([x, layers.Dense(WIDTH)(y)])
    y = layers.Dense(2 * WIDTH, "silu")(layers.LayerNormalization()(x))
    return layers.add([x, layers.Dense(WIDTH)(y)])


def build(block, name):
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(tokens)
    for _ in range(2):
        x = block(x)
    x = layers.LayerNormalization()(x)
    return keras.Model(tokens, layers.Dense(VOCABULARY)(x), name=name)


models = {
    "memory": build(memory_block, "memory"),
    "LSTM": build(lstm_block, "LSTM"),
}

"""
## Training

Nothing is special about it. Only the answers count: the sample weights are 0
elsewhere.
"""

STEPS, BATCH = 2 if SMALL else 500, 32
train = draw(np.random.default_rng(1), STEPS * BATCH, LONGEST)

for name, model in models.items():
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    history = model.fit(
        *train[:2], BATCH, sample_weight=train[2], verbose=0
    ).history
    print(
        f"{name}: {model.count_params():,} weights, "
        f"accuracy in training {history['accuracy'][-1]:.2f}"
    )

"""
## Longer lists

Both were trained on up to 12 pairs. Here are lists of up to 48, of a fixed
number of pairs each, drawn anew. What the memory has learned is how to write
and to look up, and that does not depend on the list's length; how much its
matrices hold does.
"""

COUNTS = (2, 48) if SMALL else (2, 4, 8, 12, 16, 24, 32, 48)
ROWS = 64


def lists(pairs):
    rng = np.random.default_rng(pairs)
    return map(np.stack, zip(*(row_of_pairs(rng, pairs) for _ in range(ROWS))))


recall = {name: [] for name in models}
for pairs in COUNTS:
    tokens, answers = lists(pairs)
    for name, model in models.items():
        found = model.predict(tokens, verbose=0).argmax(axis=-1)
        right = (found == answers)[answers > 0]
        recall[name].append(right.mean())

print("\nRight answers by the number of pairs")
print(f"{'pairs':>8}", *(f"{name:>8}" for name in models))
for i, pairs in enumerate(COUNTS):
    print(f"{pairs:8}", *(f"{recall[name][i]:8.0%}" for name in models))

figure = Figure(figsize=(6, 3.6), layout="constrained")
axis = figure.subplots()
for name, color in (("memory", "#0b6e99"), ("LSTM", "#d98324")):
    axis.plot(COUNTS, recall[name], "o-", color=color, label=name)
axis.axvspan(0, LONGEST, color="#8a8a8a", alpha=0.15, lw=0)
axis.text(LONGEST, 1.06, "in training", ha="right", color="#5a5a5a")
axis.set(
    xlabel="pairs in the list",
    ylabel="right answers",
    xlim=(0, COUNTS[-1] + 1),
    ylim=(-0.03, 1.15),
)
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, loc="center right")
figure.savefig("functional_models.png", dpi=130)

"""
## The state in and out

A call starts from the learned initial memory unless it is given a state, so
that the rows of a batch do not know of each other, and `predict` gives the same
whatever was called before. `StreamingModel` is the same model, with the states
of all of its memories as inputs and outputs: a list may be told in one call and
asked for in another, or token by token, and the outputs are those of the whole.
"""

model = models["memory"]
streaming = StreamingModel(model)
tokens, answers = lists(LONGEST)
states = streaming.get_initial_state(batch_size=ROWS)
pieces = []
for piece in np.split(tokens, (10, 24, 25), axis=1):
    logits, states = streaming.predict_on_batch((piece, states))
    pieces.append(logits)
apart = np.concatenate(pieces, axis=1) - model.predict(tokens, verbose=0)
print(f"\nIn pieces and whole differ by {abs(apart).max():.1e} at most")

"""
In a model of your own making, the layers do it themselves: called with
`return_state=True` they return their state, and `initial_state` takes it.
"""

layer = NeuralMemory(num_heads=2)
x = keras.random.normal((1, 100, 32))
whole = layer(x)
first, state = layer(x[:, :70], return_state=True)
second = layer(x[:, 70:], initial_state=state)
again = keras.ops.concatenate([first, second], axis=1)
print(f"and so does one layer: {keras.ops.max(abs(again - whole)):.1e}")

"""
## Under another backend

A `.keras` file has no backend. Whoever loads it needs `import keras_titans`,
which brings the layers that the file names. `compile=False` leaves behind how
it was compiled: what suits one backend may not suit another.
"""

SCRIPT = """
import sys
import keras, numpy as np, keras_titans
model = keras.saving.load_model("functional_models.keras", compile=False)
tokens, logits = np.load("functional_models.npz").values()
apart = abs(model.predict(tokens, verbose=0) - logits).max()
print(f"{keras.backend.backend()} differs by {apart:.1e}")
"""

model.save("functional_models.keras")
np.savez(
    "functional_models.npz",
    tokens=tokens[:2],
    logits=model.predict(tokens[:2], verbose=0),
)
others = {"jax", "tensorflow", "torch"} - {keras.backend.backend()}
for other in sorted(others)[: 0 if SMALL else None]:
    if importlib.util.find_spec(other):
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "KERAS_BACKEND": other},
            check=True,
        )

"""
## What to take from it

![Right answers by the number of pairs](functional_models.png)

- A memory goes where a recurrent layer goes, with masks, any length, `fit`,
  `predict` and `.keras` files, and its state has a way in and a way out.
- It looks up what it was told, and how is no matter of the list's length. The
  picture shows how far either model can be taken beyond the lists that it was
  trained on. (One seed, and the same few steps of training for both.)

Next: [a memory of your own making](your_own_memory.py), and
[memories that are kept](kept_memories.py).
"""
