"""
Title: A network, an objective and an update rule of your own
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/27
Description: Change what is memorised into, what the memory descends and how it
    moves, each in a few lines, and see on one task what each change does.
Accelerator: None
"""

"""
## Introduction

A neural memory is a small network `M` that is trained while a sequence is read.
At every token, with the key `k`, the value `v` and the query `q`:

```
surprise    g = gradient of  loss(M(k), v)  by the weights of M
momentum    S = eta * S - theta * g
memory      W = (1 - alpha) * W + S
read        y = M(q)
```

Three things in this may be yours: the **network** `M`, the **objective** (the
loss), and the **update rule** (what the gates theta, eta and alpha are). Each
is a small class, and none has to know of the others, of chunks, of masks or of
backends. Here we write one of each and train it beside those that come with
the package.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from keras import ops
from matplotlib.figure import Figure

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import UpdateRule

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing

"""
## A task: learn a function while reading

Each row has a function of its own, a random sum of waves. A token asks for its
value somewhere; the next one tells it; and so on, at random places. One in ten
of the values that are told is wrong, by far. The model has to say what the
function is, from what it was told so far and without believing all of it.
"""

PLACES = 24
OUTLIERS = 0.1


def draw(rng, rows):
    """Places, the functions' values there, and what is told of them."""
    x = rng.uniform(-1, 1, (rows, PLACES, 1))
    frequency = rng.uniform(0, 2 * np.pi, (rows, 1, 3))
    phase = rng.uniform(0, 2 * np.pi, (rows, 1, 3))
    y = np.sin(frequency * x + phase).mean(axis=-1, keepdims=True)
    wrong = rng.random(y.shape) < OUTLIERS
    told = np.where(wrong, rng.choice([-3.0, 3.0], y.shape), y)
    return x, y, told


def as_tokens(x, told):
    """`(rows, 2 * places, 3)`: place, value or 0, and whether it is told."""
    zeros, ones = np.zeros_like(x), np.ones_like(x)
    asks = np.concatenate([x, zeros, zeros], axis=-1)
    tells = np.concatenate([x, told, ones], axis=-1)
    tokens = np.stack([asks, tells], axis=2)
    return tokens.reshape(len(x), -1, 3).astype("float32")


"""
## A network

A network says which dense maps it has, and how they are put together. It does
not own their weights: `dense(m, h)` is the m-th map, whatever its weights are
at that token. What the maps' gradients are is found out by the backend, unless
you write `backward` yourself.

Ours expects waves: between its two maps it takes sines and cosines. The last
map's inputs have length one, as the keys have: then a write moves what is read
by at most the error, and the default anchor, `"token"`, keeps it stable.
"""


@keras.saving.register_keras_serializable("guides")
class WaveMemory(MemoryNetwork):
    def __init__(self, waves=32):
        self.waves = waves

    def map_shapes(self, dim):
        return (dim, self.waves), (2 * self.waves, dim)

    def __call__(self, x, dense):
        angle = np.pi * dense(0, x)
        waves = ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)
        return dense(1, waves / self.waves**0.5)

    def get_config(self):
        return {"waves": self.waves}


"""
## An objective

An objective is the loss's gradient by what was read, and its largest slope,
which the learning rate is measured in. The squared error, the default, believes
a value the more, the further it is from what was expected. Huber's loss is the
squared error for small errors, and has a gradient of fixed size for large ones.

As its gradient is not linear in the error, it needs `anchor="chunk"`: the
surprises of a chunk are all taken at the memory of the chunk's start.
"""


@keras.saving.register_keras_serializable("guides")
class Huber(Objective):
    slope = 2.0

    def __init__(self, bound=0.2):
        self.bound = bound

    def gradient(self, prediction, target):
        error = prediction - target
        return 2.0 * ops.clip(error, -self.bound, self.bound)

    def get_config(self):
        return {"bound": self.bound}


"""
## An update rule

A rule names its gates and says where their logits start; each gets a small
dense map of the token. `gates` makes of the logits theta, log eta and
log (1 - alpha), with None for a gate that is off.

Ours has a single gate, as a leaky average has: as much as it learns of a token
it forgets of all that was before.
"""


@keras.saving.register_keras_serializable("guides")
class Leaky(UpdateRule):
    def initial_logits(self):
        return {"learning_rate": -2.0}

    def gates(self, logits, slope):
        gate = logits["learning_rate"]
        # log_sigmoid(-z) is log(1 - sigmoid(z)), exact also near 0.
        return ops.sigmoid(gate) / slope, None, ops.log_sigmoid(-gate)


"""
The rule's switches must say the same: `momentum=False`, as there is none.

## All of them on the same task

One block, one head, no convolutions, for which order means nothing here.
"""

IN_CHUNKS = {"anchor": "chunk", "chunk_size": 4}
MEMORIES = {
    "matrix": {"memory_depth": 1},
    "MLP": {"network": MLPMemory(depth=2)},
    "waves": {"network": WaveMemory()},
    "waves, chunks": {"network": WaveMemory(), **IN_CHUNKS},
    "waves, chunks, Huber": {
        "network": WaveMemory(),
        "objective": Huber(),
        **IN_CHUNKS,
    },
    "waves, leaky": {
        "network": WaveMemory(),
        "update_rule": Leaky(momentum=False),
    },
}


def build(options):
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None, 3))
    x = layers.Dense(64, "silu")(tokens)
    x = layers.Dense(32)(x)
    memory = NeuralMemory(num_heads=1, kernel_size=1, **options)
    x = MemoryBlock(memory, intermediate_dim=64)(x)
    x = layers.RMSNormalization()(x)
    return keras.Model(tokens, layers.Dense(1)(x))


STEPS, BATCH = 2 if SMALL else 600, 32
x, y, told = draw(np.random.default_rng(0), STEPS * BATCH)
tokens, targets = as_tokens(x, told), np.repeat(y, 2, axis=1)
is_asked = np.tile([1.0, 0.0], (len(x), PLACES))

held_out = draw(np.random.default_rng(1), 32 if SMALL else 512)

models, errors = {}, {}
print(f"Error by the number of places told, of {np.var(held_out[1]):.3f}")
shown = (0, 4, 8, 16, PLACES - 1)
print(f"{'':>22}", *(f"{count:>7}" for count in shown))
for name, options in list(MEMORIES.items())[:: 2 if SMALL else 1]:
    model = build(options)
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, STEPS, alpha=0.05)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), "mse")
    model.fit(tokens, targets, BATCH, sample_weight=is_asked, verbose=0)
    x, y, told = held_out
    answers = model.predict(as_tokens(x, told), verbose=0)[:, ::2]
    errors[name] = np.square(answers - y).mean(axis=(0, 2))
    models[name] = model
    print(f"{name:>22}", *(f"{errors[name][count]:7.3f}" for count in shown))

"""
## Read what it holds

A memory that has read may be asked anywhere: a question writes nothing if the
model has learned it so, and here we do not rely on that. Each question is asked
in a row of its own, after the same places.
"""

x, _, told = (part[:1] for part in held_out)
GRID = 65
grid = np.linspace(-1, 1, GRID)
rows = np.repeat(as_tokens(x, told), GRID, axis=0)
last = np.stack([grid, 0 * grid, 0 * grid], axis=-1)[:, None]
rows = np.concatenate([rows, last], axis=1).astype("float32")

figure = Figure(figsize=(9, 3.8), layout="constrained")
left, right = figure.subplots(1, 2)
for name, model in models.items():
    (line,) = left.plot(errors[name], label=name)
    answers = model.predict(rows, verbose=0)[:, -1, 0]
    right.plot(grid, answers, color=line.get_color())
right.plot(x[0, :, 0], told[0, :, 0], "kx", ms=5, label="what was told")
left.set(
    xlabel="places told",
    ylabel="mean squared error",
    yscale="log",
    title="512 functions that it never saw",
)
right.set(title="One of them, after all places", xlabel="place")
left.legend(frameon=False, fontsize=8)
right.legend(frameon=False, fontsize=8)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig("your_own_memory.png", dpi=130)

"""
## Saved with the model

Registered classes are part of a `.keras` file like any layer: what `get_config`
returns goes in, and the class is made from it again.
"""

name, model = list(models.items())[-1]
model.save("your_own_memory.keras")
again = keras.saving.load_model("your_own_memory.keras")
apart = again.predict(rows[:2], verbose=0) - model.predict(rows[:2], verbose=0)
print(f"{name}, saved and loaded: differs by {abs(apart).max():.1e}")

"""
## What to take from it

![Error by what was told, and one function](your_own_memory.png)

- A network is two methods, an objective one and a number, a rule two methods.
  The layer does the rest: chunks, gradients, masks, states, all backends.
- The anchor belongs to the choice: `"token"` wants an objective that is linear
  in the error and a network whose last map is its output.
- What one knows of a task may go into the network: with the one that expects
  waves, fewer places have to be told.
- In chunks Huber's loss errs a third as much as the squared error. The default
  anchor with the squared error is better still, and the leaky rule is no help.
- This is one seed of one task. Try a change on several before you believe in
  it.
"""
