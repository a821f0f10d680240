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
gradient    g = gradient of  loss(M(k), v)  by the weights of M
memory      W = the update rule's step from W along g
read        y = M(q)
```

Three things in this may be yours: the **network** `M`, the **objective** (the
loss), and the **update rule** (the step). Each is a small class. None of them
needs to know of the others, of chunks, of masks or of backends. Here we write
one of each and train it beside those that come with the package.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import time

import keras
import numpy as np
from keras import layers
from keras import ops
from matplotlib.figure import Figure

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import Objective
from keras_titans.memory import UpdateRule
from keras_titans.ops.decay import chunk_decay

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

An objective is two things: the gradient of the loss by what was read, and its
largest slope. The learning rate is measured in units of that slope. The squared
error, the default, believes a value the more, the further it is from what was
expected. The log-cosh loss is the squared error for small errors, and its
gradient never exceeds a bound. (The package has `Huber` and `LpError` too.)

This gradient is not linear in the error, so the objective needs
`anchor="chunk"`: all gradients of a chunk are taken at the memory of the
chunk's start.
"""


@keras.saving.register_keras_serializable("guides")
class LogCosh(Objective):
    slope = 2.0

    def __init__(self, bound=0.2):
        self.bound = bound

    def gradient(self, prediction, target):
        error = prediction - target
        return 2.0 * self.bound * ops.tanh(error / self.bound)

    def get_config(self):
        return {"bound": self.bound}


"""
## An update rule

A rule is its gates and one step. A gate is a number between 0 and a maximum
that depends on the token. The layer learns a small dense map of the token for
each `Gate` that the rule names. The step is written as a paper prints it: from
the state before a token to the state after it.

Our rule forgets only when it writes. Its one gate says how much of the error a
write corrects, and the memory then forgets a small share of that. Below its
threshold the gate is 0. Such a token leaves the memory as it was, however many
of them there are.

In `step`, `gradient(weights)` is the token's gradient at the weights that you
pass. Weights are lists, with a tensor for each dense map of the network. (With
`anchor="token"` this holds for the last map; those below it are held at the
chunk's start. With `anchor="chunk"` all of them are.)
"""


@keras.saving.register_keras_serializable("guides")
class ForgetOnWrite(UpdateRule):
    gates = {"learning_rate": Gate(initial=0.2, threshold=0.1)}

    def __init__(self, share=0.02):
        self.share = share

    def step(self, state, gates, gradient, initial, slope):
        rate = gates["learning_rate"].value
        memory = [(1 - self.share * rate) * w for w in state["memory"]]
        gradients = gradient(state["memory"])
        pairs = zip(memory, gradients, strict=True)
        return {"memory": [w - rate / slope * g for w, g in pairs]}

    def get_config(self):
        return {"share": self.share}


"""
This is all that a rule needs. The layer now runs it one token after the other,
which is right and slow.

## The same rule, a chunk at a time

Our step is linear in the memory and in the gradient. For such a rule the layer
can compute whole chunks in a few matrix products, which is fast on any device.
It only has to be told how much of each earlier write is left at each later
token. `chunk_decay` works that out from three things: the rate that multiplies
the gradient, the logarithm of what momentum keeps (we have none), and the
logarithm of what the memory keeps.
"""


@keras.saving.register_keras_serializable("guides")
class FastForgetOnWrite(ForgetOnWrite):
    def coefficients(self, gates, mask, slope):
        rate = gates["learning_rate"].value
        log_kept = ops.log1p(-self.share * rate)
        return chunk_decay(rate / slope, None, log_kept, mask)


"""
`step` remains the definition. We check that both say the same: two layers with
the same weights read the same tokens. And we time a training step of each.
"""


def read_with(rule, tokens):
    """What a memory with this rule reads, and a training step's seconds."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([NeuralMemory(num_heads=2, update_rule=rule)])
    model.compile("sgd", "mse")
    outputs = model.predict(tokens, verbose=0)
    for _ in range(2):  # the first step compiles
        start = time.perf_counter()
        model.train_on_batch(tokens, tokens)
    return outputs, time.perf_counter() - start


tokens = np.random.default_rng(0).normal(size=(4, 64 if SMALL else 1024, 128))
by_token, slow = read_with(ForgetOnWrite(), tokens)
by_chunk, fast = read_with(FastForgetOnWrite(), tokens)
print(f"A step takes {slow:.2f} s by token, {fast:.2f} s in chunks")
apart = np.abs(by_chunk - by_token).max() / np.abs(by_token).max()
print(f"The outputs differ by {apart:.1e} of the largest")
assert apart < 1e-4

"""
A rule may do more. It may carry further entries in its state, as momentum is
(`initial_state`); change the memory at the end of each chunk in ways that are
not linear (`at_chunk_end`); or add a cost of writing to the loss
(`write_cost`). The docstring of `UpdateRule` says how. `Titans` and
`GatedDelta` are written in just this way.

## All of them on the same task

One block, one head, no convolutions, for which order means nothing here.
"""

IN_CHUNKS = {"anchor": "chunk", "chunk_size": 4}
MEMORIES = {
    "matrix": {"memory_depth": 1},
    "MLP": {"network": MLPMemory(depth=2)},
    "waves": {"network": WaveMemory()},
    "waves, chunks": {"network": WaveMemory(), **IN_CHUNKS},
    "waves, chunks, log-cosh": {
        "network": WaveMemory(),
        "objective": LogCosh(),
        **IN_CHUNKS,
    },
    "waves, forget on write": {
        "network": WaveMemory(),
        "update_rule": FastForgetOnWrite(),
    },
}


def build(options):
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None, 3))
    x = layers.Dense(64, "silu")(tokens)
    x = layers.Dense(32)(x)
    memory = NeuralMemory(num_heads=1, head_dim=32, kernel_size=1, **options)
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
print(f"{'':>24}", *(f"{count:>7}" for count in shown))
for name, options in list(MEMORIES.items())[:: 2 if SMALL else 1]:
    model = build(options)
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, STEPS, alpha=0.05)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), "mse")
    model.fit(tokens, targets, BATCH, sample_weight=is_asked, verbose=0)
    x, y, told = held_out
    answers = model.predict(as_tokens(x, told), verbose=0)[:, ::2]
    errors[name] = np.square(answers - y).mean(axis=(0, 2))
    models[name] = model
    print(f"{name:>24}", *(f"{errors[name][count]:7.3f}" for count in shown))

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

- A network is two methods, an objective one method and a number, a rule its
  gates and one method. The layer does the rest: chunks, gradients, masks,
  states, all backends.
- Write `step` first. Add `coefficients` when it is worth it, and check them
  against `step`.
- The anchor belongs to the choice: `"token"` wants an objective that is linear
  in the error and a network whose last map is its output.
- What one knows of a task may go into the network, as here that functions are
  waves, and into the objective, as here that some values are wrong.
- This is one seed of one task. Try a change on several before you believe in
  it.
"""
