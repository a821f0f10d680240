"""
Title: A memory for a model that you have
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/26
Description: Put memories beside the attentions of a trained KerasHub model,
    train them alone, and see what the model has gained, and what not.
Accelerator: None
"""

"""
## Introduction

`keras_titans.models.add_memory` copies a trained model and puts a memory beside
each of its self-attentions. A gate that is 0 at the start lets the memory in,
so that the copy begins as the model was. Then the memories and their gates are
trained, and all else stays frozen.

Here the model is a small Mistral decoder whose attention looks back over a
short window, trained to look things up in short lists. Can memories have it do
so in lists that are longer than the window?
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_hub
import numpy as np
from matplotlib.figure import Figure

from keras_titans.layers import NeuralMemory
from keras_titans.models import add_memory

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(0)

"""
## Lists of pairs

A row tells pairs of a key and a value, then asks for the keys in another order.
Both are drawn anew for every row.
"""

KEYS, VALUES = 32, 32
FILLER, FIRST_KEY, FIRST_VALUE = 1, 2, 2 + KEYS
VOCABULARY = FIRST_VALUE + VALUES
SHORT, LONG = 4, 16  # pairs; a row has four tokens for each
WINDOW, LAYERS = 12, 2


def draw(rng, rows, pairs):
    """Tokens, answers, and 1 where something is asked."""
    pick = lambda n: np.argsort(rng.random((rows, n)), axis=1)[:, :pairs]
    keys, values = FIRST_KEY + pick(KEYS), FIRST_VALUE + pick(VALUES)
    order = pick(pairs)
    told = np.stack([keys, values], axis=-1)
    asked = np.stack(
        [np.take_along_axis(keys, order, 1), np.full_like(keys, FILLER)], -1
    )
    tokens = np.concatenate([told, asked], axis=1).reshape(rows, -1)
    answers = np.zeros_like(tokens)
    answers[:, 2 * pairs :: 2] = np.take_along_axis(values, order, 1)
    return tokens.astype("int32"), answers, (answers > 0).astype("float32")


"""
## The model that we have
"""

base = keras_hub.models.MistralBackbone(
    vocabulary_size=VOCABULARY,
    num_layers=LAYERS,
    num_query_heads=4,
    num_key_value_heads=4,
    hidden_dim=64,
    intermediate_dim=128,
    sliding_window=WINDOW,
)


def head(backbone):
    """From token ids to logits, with the backbone's own embedding."""
    tokens = keras.Input((None,), dtype="int32")
    ones = keras.ops.ones_like(tokens)
    hidden = backbone({"token_ids": tokens, "padding_mask": ones})
    return keras.Model(tokens, backbone.token_embedding(hidden, reverse=True))


def train(model, pairs, steps, rows, peak):
    steps = 2 if SMALL else steps
    tokens, answers, weight = draw(
        np.random.default_rng(pairs), steps * rows, pairs
    )
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(peak, steps, alpha=0.05),
            weight_decay=0.01,
            clipnorm=1.0,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(tokens, answers, rows, sample_weight=weight, verbose=0)


model = head(base)
train(model, SHORT, steps=1200, rows=64, peak=3e-3)
print(f"trained on {SHORT} pairs: {base.count_params():,} weights")

"""
## With a memory

The copy's outputs are the model's, to the last bit, until it is trained.
"""

longer = add_memory(base, NeuralMemory(num_heads=1, chunk_size=16))
with_memory = head(longer)
tokens, answers, _ = draw(np.random.default_rng(1), 4, LONG)
apart = with_memory.predict(tokens, verbose=0) - model.predict(
    tokens, verbose=0
)
print(f"before training the outputs differ by {abs(apart).max():g}")

trained = sum(np.prod(w.shape) for w in longer.trainable_weights)
print(f"{int(trained):,} weights of memories and gates are to be trained")

"""
Both what has a memory and what has not are trained on the longer lists: the
second, a copy without memories, whole. So that what the memory adds is told
from what the training does.
"""

tuned = base.__class__.from_config(base.get_config())
for weight, other in zip(tuned.weights, base.weights):
    weight.assign(np.array(keras.ops.convert_to_numpy(other)))
models = {
    "as it was": model,
    "trained on": head(tuned),
    "with memories": with_memory,
}
for name in ("trained on", "with memories"):
    train(models[name], LONG, steps=500, rows=32, peak=3e-3)

"""
## What was gained
"""

COUNTS = (2, 24) if SMALL else (2, 4, 8, 16, 24)
ROWS = 32 if SMALL else 128

right = {name: [] for name in models}
print("\nRight answers by the number of pairs")
print(f"{'pairs':>8}", *(f"{name:>14}" for name in models))
for pairs in COUNTS:
    tokens, answers, _ = draw(np.random.default_rng(pairs), ROWS, pairs)
    for name, each in models.items():
        found = each.predict(tokens, verbose=0).argmax(axis=-1)
        right[name].append((found == answers)[answers > 0].mean())
    print(f"{pairs:8}", *(f"{right[name][-1]:14.0%}" for name in models))

figure = Figure(figsize=(6, 3.6), layout="constrained")
axis = figure.subplots()
for name, color in zip(models, ("#8a8a8a", "#d98324", "#0b6e99")):
    axis.plot(COUNTS, right[name], "o-", color=color, label=name)
axis.set(xlabel="pairs in the list", ylabel="right answers", ylim=(-0.03, 1.05))
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
figure.savefig("memory_for_a_trained_model.png", dpi=130)

"""
## What to take from it

![Right answers by the number of pairs](memory_for_a_trained_model.png)

- Adding memories changes nothing until they are trained, and then nothing else
  is.
- What the memories bring is the looking up itself: the model is better with
  them on the short lists too, which its attention was trained on with little
  success. Trained on the long lists without them, it gains nothing.
- This is a made-up task, a small model and one seed; and the memories have more
  weights than the model. `python -m benchmarks.add_memory` does the same on
  real text with planted facts: there the facts are what is gained, too, and the
  text itself is predicted as well as with LoRA, no better.
"""
