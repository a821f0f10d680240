"""A matrix memory's parallel form beside its loop over chunks.

    KERAS_BACKEND=torch python -m benchmarks.linear_scan     # two minutes

The core alone: 4 heads of 64, batch 1, 2,048 tokens, float32, one thread.
Training takes the gradients of all arguments. Calls in turns; medians of
processor time, which other processes disturb less than the clock; XLA on JAX
and TensorFlow.
"""

import argparse
import os
import statistics
import time

for name in ("OMP_NUM", "TF_NUM_INTEROP", "TF_NUM_INTRAOP"):
    os.environ.setdefault(f"{name}_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import keras
import numpy as np
from keras import ops

from keras_titans.memory import MLPMemory
from keras_titans.memory import SquaredError
from keras_titans.memory import Titans
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.recipe import Shared
from keras_titans.ops.recipe import Tokens
from keras_titans.ops.sequence import fresh_memory
from keras_titans.ops.sequence import memorize

RULE = Titans()
HEADS, DIM, LENGTH = 4, 64, 2048
ENGINE = keras.backend.backend()


def arguments():
    rng = np.random.default_rng(0)
    shape = (1, LENGTH, HEADS)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    draw = lambda: rng.normal(size=(*shape, DIM))
    # Each gate's logits lie around the value that it starts from.
    logits = [
        rng.normal(size=shape) + gate.initial_logits(HEADS)
        for gate in RULE.gates.values()
    ]
    initial = 0.1 * rng.normal(size=(HEADS, DIM, DIM))
    arrays = [unit(draw()), unit(draw()), draw(), *logits, initial]
    return [ops.convert_to_tensor(x, "float32") for x in arrays]


def form(chunk, **options):
    recipe = Recipe(MLPMemory(1), SquaredError(), RULE, "token", chunk)

    def run(query, key, value, *others):
        *logits, initial = others
        logits = dict(zip(RULE.gates, logits, strict=True))
        start = fresh_memory([initial], 1, RULE, anchor=False)
        tokens = Tokens(query, key, value, logits)
        shared = Shared([], [initial])
        return memorize(tokens, start, shared, recipe, **options)[0]

    return run


def calls(fn, given):
    """Functions without arguments: forward, and with all gradients."""
    if ENGINE == "jax":
        import jax

        loss = lambda *args: ops.sum(ops.square(fn(*args)))
        train = jax.jit(jax.grad(loss, argnums=range(len(given))))
        forward = jax.jit(fn)
        return [
            lambda f=f: jax.block_until_ready(f(*given))
            for f in (forward, train)
        ]
    if ENGINE == "tensorflow":
        import tensorflow as tf

        def gradients(*args):
            with tf.GradientTape() as tape:
                tape.watch(args)
                loss = tf.reduce_sum(tf.square(fn(*args)))
            return tape.gradient(loss, args)

        compiled = [
            tf.function(f, autograph=False, jit_compile=True)
            for f in (fn, gradients)
        ]
        fetch = lambda results: [x.numpy() for x in keras.tree.flatten(results)]
        return [lambda f=f: fetch(f(*given)) for f in compiled]
    import torch

    torch.set_num_threads(1)
    sources = [x.clone().requires_grad_() for x in given]
    train = lambda: torch.autograd.grad(fn(*sources).square().sum(), sources)
    return [torch.no_grad()(lambda: fn(*given)), train]


def medians(forms, turns):
    for call in forms.values():
        call()
    times = {name: [] for name in forms}
    for _ in range(turns):
        for name, call in forms.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", nargs="+", type=int, default=[64, 16])
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    given = arguments()
    for chunk in options.chunks:
        forms = {
            "loop": calls(form(chunk, parallel=False), given),
            "loop, remat": calls(
                form(chunk, parallel=False, remat=True), given
            ),
            "parallel": calls(form(chunk, parallel=True), given),
        }
        for i, mode in enumerate(("forward", "train")):
            found = medians({k: f[i] for k, f in forms.items()}, options.turns)
            new = found["parallel"]
            text = ", ".join(
                f"{name} {1e3 * t:.1f} ms ({t / new:.2f})"
                for name, t in found.items()
            )
            print(f"{ENGINE}, chunk {chunk}, {mode}: {text}", flush=True)


if __name__ == "__main__":
    main()
