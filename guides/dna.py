"""
Title: Which bacterium is this? Memories over DNA
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/27
Description: Tell the species that a piece of DNA is from, beside a classifier
    that only counts.
Accelerator: None
"""

"""
## Introduction

A genome is a long text in four letters. We train a small model of memories on
the genomes of four species of bacteria, to tell which a piece is from, and test
it on a strain of each that it has not seen. Beside it stands what any such
model has to beat: a linear map of how often each word of four bases occurs.

The strains of a species share most of their DNA. So this tells how a model does
on a new individual of a known species, and nothing of unknown ones.

## The genomes

They are sixteen complete ones, from the examples of the program
[Ragout](https://github.com/mikolmogorov/Ragout), which Debian and its relatives
have as a package. To unpack it here, without installing anything:

```shell
apt-get download ragout-examples
dpkg-deb -x ragout-examples_*.deb genomes
```

Elsewhere, put FASTA files into `genomes`, as
`genomes/SPECIES/references/STRAIN.fasta.gz`, and name below the strains to be
held out.
"""

import gzip
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory

SMALL = "GUIDE_SMALL" in os.environ  # made-up genomes, and nothing is learned
FOLDER = pathlib.Path("genomes")
HELD_OUT = ("MG1655-K12", "G27", "N315", "O395")
BASES = "ACGT"
keras.utils.set_random_seed(0)


def read_fasta(path):
    """All bases of a file, as numbers from 0; what is uncertain is dropped."""
    with gzip.open(path, "rb") as file:
        lines = file.read().upper().split(b"\n")
    letters = b"".join(line for line in lines if not line.startswith(b">"))
    codes = np.full(256, len(BASES), "uint8")
    codes[list(BASES.encode())] = range(len(BASES))
    bases = codes[np.frombuffer(letters, "uint8")]
    return bases[bases < len(BASES)]


def load():
    """Species -> genomes to train on, and species -> genomes held out."""
    train, held_out = {}, {}
    for path in sorted(FOLDER.rglob("references/*.fasta.gz")):
        strain = path.name.removesuffix(".fasta.gz")
        half = held_out if strain in HELD_OUT else train
        half.setdefault(path.parts[-3], []).append(read_fasta(path))
    if not train or train.keys() != held_out.keys():
        raise SystemExit(
            f"There must be strains of the same species in {FOLDER.resolve()} "
            "to train on and to hold out: see above how to get them."
        )
    return train, held_out


def make_up():
    """As `load`, of random bases."""
    rng = np.random.default_rng(0)
    species = {
        name: rng.choice(4, (2, 9000), p=rng.dirichlet(np.ones(4)))
        for name in ("one", "another")
    }
    halves = zip(*species.values())
    return [dict(zip(species, ([g] for g in half))) for half in halves]


train, held_out = make_up() if SMALL else load()
SPECIES = sorted(train)
for name in SPECIES:
    count = sum(map(len, train[name]))
    print(f"{name}: {len(train[name])} strains, {count:,} bases to train on")

"""
## Pieces

Every species is as likely. DNA may be read from either strand, so half of the
pieces are turned round: backwards, with A for T and C for G.
"""


def draw(rng, genomes, rows, length):
    """Pieces `(rows, length)`, and the number of each one's species."""
    labels = rng.integers(0, len(SPECIES), rows)
    pieces = np.empty((rows, length), "int32")
    for i, label in enumerate(labels):
        strains = genomes[SPECIES[label]]
        genome = strains[rng.integers(len(strains))]
        first = rng.integers(0, len(genome) - length)
        pieces[i] = genome[first : first + length]
    turned = rng.random(rows) < 0.5
    pieces[turned] = 3 - pieces[turned, ::-1]
    return pieces, labels


"""
## Two models

The one with memories reads four bases at a step; with the mean over all steps
it says what it has seen.
"""

WIDTH = 48


def memory_model():
    bases = keras.Input((None,), dtype="int32")
    x = layers.Embedding(4, 16)(bases)
    x = layers.Conv1D(WIDTH, 8, strides=4, padding="same")(x)
    for _ in range(2):
        memory = NeuralMemory(num_heads=2, head_dim=WIDTH // 2, chunk_size=16)
        x = MemoryBlock(memory, intermediate_dim=2 * WIDTH)(x)
    x = layers.GlobalAveragePooling1D()(layers.RMSNormalization()(x))
    return keras.Model(bases, layers.Dense(len(SPECIES))(x))


"""
The other counts words of four bases, in Keras as well: the words are numbers
from 0 to 255, one-hot, and their mean over the piece is mapped linearly.
"""

WORD = 4


class CountWords(layers.Layer):
    def call(self, bases):
        length = keras.ops.shape(bases)[1] - WORD + 1
        words = sum(4**i * bases[:, i : i + length] for i in range(WORD))
        counts = keras.ops.one_hot(words, 4**WORD)
        # Standardised, roughly: a word has one place in 256.
        return 4**WORD * keras.ops.mean(counts, axis=1) - 1.0

    def compute_output_shape(self, shape):
        return shape[0], 4**WORD


def counting_model():
    bases = keras.Input((None,), dtype="int32")
    x = CountWords()(bases)
    return keras.Model(bases, layers.Dense(len(SPECIES))(x))


"""
## Training

On the same pieces of 512 bases.
"""

LENGTH = 512
STEPS, BATCH = 2 if SMALL else 500, 16
pieces, labels = draw(np.random.default_rng(0), train, STEPS * BATCH, LENGTH)

models = {"memories": memory_model(), "counts": counting_model()}
for name, model in models.items():
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, STEPS, alpha=0.05)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    logs = model.fit(pieces, labels, BATCH, verbose=0).history
    print(f"{name}: {model.count_params():,} weights")

"""
## Strains that neither has seen

Shorter and longer pieces than those in training: a longer one says more of
where it is from.
"""

LENGTHS = (64, 2048) if SMALL else (64, 128, 256, 512, 1024, 2048)
TESTED = 32 if SMALL else 400

right = {name: [] for name in models}
print(f"\n{'bases':>8}", *(f"{name:>10}" for name in models))
for length in LENGTHS:
    x, y = draw(np.random.default_rng(length), held_out, TESTED, length)
    for name, model in models.items():
        answers = model.predict(x, verbose=0).argmax(axis=-1)
        right[name].append((answers == y).mean())
    print(f"{length:8,}", *(f"{right[name][-1]:10.1%}" for name in models))

figure = Figure(figsize=(6, 3.6), layout="constrained")
axis = figure.subplots()
for name, color in (("memories", "#0b6e99"), ("counts", "#d98324")):
    share = np.array(right[name])
    error = np.sqrt(share * (1 - share) / TESTED)
    axis.errorbar(LENGTHS, share, error, fmt="o-", color=color, label=name)
axis.axvline(LENGTH, color="#8a8a8a", lw=0.8, ls="--")
axis.set(
    xscale="log",
    xticks=LENGTHS,
    xticklabels=[f"{length:,}" for length in LENGTHS],
    xlabel="bases in the piece (trained on: the dashed line)",
    ylabel="species told rightly",
)
axis.minorticks_off()
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, loc="lower right")
figure.savefig("dna.png", dpi=130)

"""
## What to take from it

![Species told rightly, by length](dna.png)

- A memory layer takes DNA as it takes text, and a model with a mean at its end
  takes pieces of any length.
- Counting words is a strong classifier of species: trained for so few steps,
  the memories do not reach it at any length. Whatever a deeper model is said to
  do with DNA should be measured beside it.
- This is one seed, and bars are one standard error of the pieces drawn.
"""
