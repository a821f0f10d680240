"""Bacterial genomes: the next base, and the species.

Sixteen complete genomes of four species. One strain of each is held out. It
shares most of its sequence with the other strains of its species, Escherichia
coli's two nearly all: what is measured is how a model does on a new individual
of a known species.
"""

import gzip
from typing import NamedTuple

import numpy as np

from benchmarks import data
from benchmarks.tasks.classification import Classification
from benchmarks.tasks.modelling import Modelling

BASES = "ACGT"
UNKNOWN = len(BASES)  # what was not read for certain
HELD_OUT_STRAINS = ("MG1655-K12", "G27", "N315", "O395")


class Chromosome(NamedTuple):
    """A sequence of a genome, as tokens."""

    species: str
    strain: str
    bases: np.ndarray


def read_fasta(text):
    """An array of tokens for each record."""
    codes = np.full(256, UNKNOWN, "uint8")  # 48 million of them
    for i, base in enumerate(BASES):
        codes[[ord(base), ord(base.lower())]] = i
    for record in text.split(">")[1:]:
        _, _, sequence = record.partition("\n")
        letters = "".join(sequence.split()).encode("ascii")
        yield codes[np.frombuffer(letters, "uint8")]


def chromosomes():
    """Those to train on, and those of held-out strains."""
    root = data.fetched("ragout-examples") / "usr/share/doc/ragout/examples"
    halves = [], []
    for path in sorted(root.glob("*/references/*.fasta.gz")):
        species, strain = path.parts[-3], path.name.removesuffix(".fasta.gz")
        with gzip.open(path, "rt", encoding="ascii") as file:
            for bases in read_fasta(file.read()):
                chromosome = Chromosome(species, strain, bases)
                halves[strain in HELD_OUT_STRAINS].append(chromosome)
    return halves


class BaseModelling(Modelling):
    """The next base of a held-out strain, in bits per base.

    Args:
        length: Bases of a training row.
    """

    def __init__(self, length):
        super().__init__(
            length,
            *([one.bases for one in half] for half in chromosomes()),
            vocabulary_size=len(BASES) + 1,
            units=[1] * len(BASES) + [0],
            unit="base",
        )


class GenomeSpecies(Classification):
    """Which species a piece of a held-out strain's genome is from.

    Args:
        length: Tokens of a training row: bases, and the one that asks.
    """

    def __init__(self, length):
        halves = [
            [(one.bases, one.species) for one in half] for half in chromosomes()
        ]
        super().__init__(
            length,
            *halves,
            vocabulary_size=len(BASES) + 1,
            classes=sorted({species for _, species in halves[0]}),
        )
