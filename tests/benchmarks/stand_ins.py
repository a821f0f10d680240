"""Small data in the place of what the tasks read, made up and at hand."""

import numpy as np
import pytest

from benchmarks.tasks import addresses
from benchmarks.tasks import genomes
from benchmarks.tasks import modelling
from benchmarks.tasks import needle
from benchmarks.tasks import prose
from benchmarks.tasks import stories
from benchmarks.tasks import wordnet

WORDS = "we the people of these states have found that peace is kept".split()


def text(seed, sentences):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 12, sentences)
    told = (" ".join(rng.choice(WORDS, n)).capitalize() for n in lengths)
    return ". ".join(told) + "."


def some_prose():
    return prose.Prose((text(0, 3000), text(1, 3000)), (text(2, 3000),))


def some_addresses():
    found = []
    for i in range(32):
        found.append(
            {
                "year": 1900 + i,
                "president": f"President {i // 8}",
                "party": addresses.PARTIES[i // 8 % 2],
                "decade": f"{190 + i // 16}0s",
                "text": text(i, 20),
            }
        )
    return found


def some_nouns():
    nouns = {"0": wordnet.Noun("entity", "what is", ())}
    for i in range(1, 200):
        parent = "0" if i < 40 else str(i % 39 + 1)
        nouns[str(i)] = wordnet.Noun(f"thing {i}", f"number {i}", (parent,))
    return nouns


def some_chromosomes():
    rng = np.random.default_rng(0)
    bases = lambda: rng.integers(0, 4, 10_000).astype("uint8")
    half = lambda strain: [
        genomes.Chromosome(species, strain, bases()) for species in "AB"
    ]
    return half("training"), half("held out")


@pytest.fixture
def stand_ins(monkeypatch):
    found = some_prose()
    for module in (needle, modelling, stories, prose):
        monkeypatch.setattr(module, "addresses", lambda: found)
    monkeypatch.setattr(prose, "novels", lambda: found)
    monkeypatch.setattr(addresses, "masked_addresses", some_addresses)
    monkeypatch.setattr(genomes, "chromosomes", some_chromosomes)
    monkeypatch.setattr(wordnet, "wordnet", some_nouns)
