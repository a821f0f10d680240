"""Saved under one backend, loaded and continued under the others."""

import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory

ROOT = pathlib.Path(__file__).parents[1]
HERE = keras.backend.backend()
OTHERS = sorted({"jax", "tensorflow", "torch"} - {HERE})
ROWS, TOKENS, WIDTH = 2, 11, 8

# Reads a model, a state and inputs; goes on; writes what comes out.
THERE = """
import sys

import keras
import numpy as np
from keras import tree

import keras_titans

folder, name = sys.argv[1:]
model = keras.saving.load_model(f"{folder}/model.keras")
given = np.load(f"{folder}/given.npz")
layer = model.layers[-1]
spec = layer.memory.state_spec(2)
state = tree.pack_sequence_as(
    spec, [given[f"state_{i}"] for i in range(len(tree.flatten(spec)))]
)
outputs = model.predict(given["x"], verbose=0)
more, after = layer(given["more"], initial_state=state)
results = {
    f"state_{i}": keras.ops.convert_to_numpy(x)
    for i, x in enumerate(tree.flatten(after))
}
np.savez(
    f"{folder}/{name}.npz",
    outputs=tree.flatten(outputs)[0],
    more=keras.ops.convert_to_numpy(more),
    **results,
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    x = keras.Input((None, WIDTH))
    memory = NeuralMemory(2, WIDTH // 2, chunk_size=4, return_state=True)
    layer = MemoryBlock(memory, intermediate_dim=12)
    model = keras.Model(x, layer(x))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        start = keras.ops.convert_to_numpy(weight.value)
        weight.assign(start + 0.2 * rng.normal(size=start.shape))
    model.save(folder / "model.keras")
    draw = lambda: rng.normal(size=(ROWS, TOKENS, WIDTH)).astype("float32")
    x, more = draw(), draw()
    outputs, state = layer(x)  # ends inside a chunk
    numpy = keras.ops.convert_to_numpy
    flat = {
        f"state_{i}": numpy(entry)
        for i, entry in enumerate(keras.tree.flatten(state))
    }
    np.savez(folder / "given.npz", x=x, more=more, **flat)
    later, after = layer(more, initial_state=state)
    results = {
        f"state_{i}": numpy(entry)
        for i, entry in enumerate(keras.tree.flatten(after))
    }
    np.savez(
        folder / "here.npz",
        outputs=numpy(outputs),
        more=numpy(later),
        **results,
    )
    return folder


@pytest.mark.parametrize("there", OTHERS)
def test_goes_on_under_another_backend(folder, there):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(THERE), str(folder), there],
        env={**os.environ, "KERAS_BACKEND": there, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wanted = np.load(folder / "here.npz")
    have = np.load(folder / f"{there}.npz")
    assert set(have) == set(wanted)
    for name in wanted:
        assert have[name].dtype == wanted[name].dtype
        scale = np.abs(wanted[name]).max()
        assert np.abs(have[name] - wanted[name]).max() <= 1e-4 * scale, name
    moved = np.abs(wanted["more"] - wanted["outputs"]).max()
    assert moved > 1e-2, "other inputs gave the same"


LOADED = """
import sys

import keras
import numpy as np

import keras_titans

folder, what = sys.argv[1:]
model = keras.saving.load_model(f"{folder}/{what}.keras")
x = np.load(f"{folder}/x.npy")
if what == "compiled":
    model.fit(x, x, verbose=0)
np.save(f"{folder}/{what}.npy", model.predict(x, verbose=0))
"""


def saved(folder, what):
    x = keras.Input((TOKENS, WIDTH))
    model = keras.Model(
        x, NeuralMemory(2, WIDTH // 2, memory_depth=1, chunk_size=4)(x)
    )
    model.compile("sgd", "mse", jit_compile=True)
    data = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH))
    if what == "quantized":
        model.quantize("int8")
    model.save(folder / f"{what}.keras")
    np.save(folder / "x.npy", data.astype("float32"))
    return model, data.astype("float32")


def loaded(there, folder, what):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOADED), str(folder), what],
        env={**os.environ, "KERAS_BACKEND": there, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / f"{what}.npy")


@pytest.mark.skipif(HERE == "torch", reason="it is loaded there")
def test_a_model_compiled_here_is_trained_on_pytorch(tmp_path):
    model, x = saved(tmp_path, "compiled")
    have = loaded("torch", tmp_path, "compiled")
    model.fit(x, x, verbose=0)
    wanted = model.predict(x, verbose=0)
    assert np.abs(have - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("there", OTHERS)
def test_a_quantized_model_is_loaded_under_another_backend(there, tmp_path):
    model, x = saved(tmp_path, "quantized")
    have = loaded(there, tmp_path, "quantized")
    wanted = model.predict(x, verbose=0)
    # A value that is rounded the other way is a step of int8.
    assert np.abs(have - wanted).max() <= 0.02 * np.abs(wanted).max()
