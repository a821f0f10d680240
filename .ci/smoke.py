"""One call of an installed `keras_titans`; run from outside the checkout."""

import importlib.util
import os
import pathlib
import sys

import keras
import numpy as np

import keras_titans

checkout = pathlib.Path(__file__).resolve().parents[1]
environment = pathlib.Path(sys.prefix).resolve()
imported = pathlib.Path(keras_titans.__file__).resolve()
if not imported.is_relative_to(environment):
    sys.exit(f"{imported} is not the installed package")
if pathlib.Path.cwd().resolve().is_relative_to(checkout):
    sys.exit("run this from outside the checkout")

backend = keras.backend.backend()
if backend != os.environ["KERAS_BACKEND"]:
    sys.exit(f"Keras runs on {backend}")
has_tensorflow = importlib.util.find_spec("tensorflow") is not None
if has_tensorflow != (backend == "tensorflow"):
    sys.exit(f"{backend} with TensorFlow installed: {has_tensorflow}")

layer = keras_titans.layers.NeuralMemory(num_heads=2, head_dim=8)
outputs = layer(keras.ops.zeros((1, 20, 16)))
outputs = keras.ops.convert_to_numpy(outputs)
if outputs.shape != (1, 20, 16) or not np.all(np.isfinite(outputs)):
    sys.exit(f"NeuralMemory returned {outputs}")
print(
    f"keras_titans {keras_titans.__version__}, Keras {keras.__version__}, "
    f"{backend}: NeuralMemory {outputs.shape}"
)
