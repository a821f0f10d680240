"""A model with memories, saved here, reads and writes under the others."""

import functools
import os
import pathlib
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest

import keras_titans

ROOT = pathlib.Path(__file__).parents[1]
HERE = keras.backend.backend()
OTHERS = sorted({"jax", "tensorflow", "torch"} - {HERE})
IDS = np.random.default_rng(0).integers(0, 31, (2, 12)).astype("int32")
PROMPTS = np.arange(12)[None] < np.array([[6], [4]])

THERE = """
import sys

import keras
import keras_hub
import numpy as np

import keras_titans

folder, name = sys.argv[1:]
given = dict(np.load(f"{folder}/given.npz"))
whole = {"token_ids": given["ids"], "padding_mask": np.ones_like(given["ids"])}
model = keras.saving.load_model(f"{folder}/model.keras")
preset = keras_hub.models.CausalLM.from_preset(f"{folder}/preset")
preset.compile(sampler="greedy")
prompts = {"token_ids": given["ids"], "padding_mask": given["prompts"]}
np.savez(
    f"{folder}/{name}.npz",
    logits=model.predict(whole, verbose=0),
    answer=preset.generate(prompts, stop_token_ids=None)["token_ids"],
    trained=len(model.trainable_variables),
)
"""


def moved(model):
    """Weights away from their start, so that the memories have a say."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        start = keras.ops.convert_to_numpy(weight.value)
        weight.assign(start + 0.2 * rng.normal(size=start.shape))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=31,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=16,
        intermediate_dim=24,
    )
    moved(backbone)
    memory = keras_titans.layers.NeuralMemory(2, 8, chunk_size=4)
    model = keras_titans.models.add_memory(
        keras_hub.models.LlamaCausalLM(backbone), memory
    )
    moved(model)
    model.save(folder / "model.keras")
    model.save_to_preset(str(folder / "preset"))
    np.savez(folder / "given.npz", ids=IDS, prompts=PROMPTS)
    return folder


@functools.cache
def ran(folder, backend):
    done = subprocess.run(
        [sys.executable, "-c", THERE, str(folder), backend],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / f"{backend}.npz")


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("there", OTHERS)
def test_reads_and_writes_the_same_under_another_backend(folder, there):
    here, there = ran(folder, HERE), ran(folder, there)
    scale = np.abs(here["logits"]).max()
    assert np.abs(here["logits"] - there["logits"]).max() <= 1e-4 * scale
    np.testing.assert_array_equal(here["answer"], there["answer"])
    np.testing.assert_array_equal(here["answer"][PROMPTS], IDS[PROMPTS])
    assert here["trained"] == there["trained"] > 0
