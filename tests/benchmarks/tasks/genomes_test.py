"""Genomes: read as they are written, split by strain."""

import gzip

import numpy as np
import pytest

from benchmarks import data
from benchmarks.tasks import genomes
from benchmarks.tasks.genomes import BaseModelling
from benchmarks.tasks.genomes import GenomeSpecies
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import take


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two species of two strains each, where the package would be."""
    monkeypatch.setenv("KERAS_TITANS_DATA", str(tmp_path))
    root = tmp_path / "ragout-examples/usr/share/doc/ragout/examples"
    for species, strain, text in [
        ("E.Coli", "DH1", ">one\nAACC\nAAC\n>two\nACAC\n"),
        ("E.Coli", "MG1655-K12", ">x\nacgtNYac\n"),
        ("H.Pylori", "ELS37", ">x\nGGTTGG\n"),
        ("H.Pylori", "G27", ">x\nGTGTGTGT\n"),
    ]:
        folder = root / species / "references"
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / f"{strain}.fasta.gz", "wt") as file:
            file.write(text)


def test_chromosomes_are_read_and_split_by_strain(small):
    training, held_out = genomes.chromosomes()
    read = lambda half: [
        (s, n, "".join("ACGT?"[b] for b in x)) for s, n, x in half
    ]
    assert read(training) == [
        ("E.Coli", "DH1", "AACCAAC"),
        ("E.Coli", "DH1", "ACAC"),
        ("H.Pylori", "ELS37", "GGTTGG"),
    ]
    assert read(held_out) == [
        ("E.Coli", "MG1655-K12", "ACGT??AC"),
        ("H.Pylori", "G27", "GTGTGTGT"),
    ]


def test_bases_that_were_not_read_are_no_targets(small):
    task = BaseModelling(4)
    (batch,) = task.cases(length=7, batch_size=2)
    assert batch.targets[0].tolist() == [1, 2, 3, 4, 4, 0, 1]
    assert batch.weight[0].tolist() == [1, 1, 1, 0, 0, 1, 1]
    four = lambda task, batch: np.where(
        np.arange(5) < 4, clueless(task, batch), -np.inf
    )
    score = judged(task, four, length=7)
    assert score["bits_per_base"] == pytest.approx(2)


def test_species(small):
    task = GenomeSpecies(4)
    assert task.classes == ("E.Coli", "H.Pylori")
    (batch,) = take(task.training(0, 20), 1)
    for row, name in zip(batch.inputs, batch.about["class"]):
        assert {0, 1} >= set(row[:3].tolist()) or name == "H.Pylori"
        assert row[3] == task.question == 5
    (batch,) = task.cases(length=9, batch_size=2)
    assert batch.about["class"].tolist() == ["E.Coli", "H.Pylori"]


def test_the_package_has_four_species():
    if data.cached("ragout-examples") is None:
        pytest.skip("`python -m benchmarks.data` fetches it")
    training, held_out = genomes.chromosomes()
    strains = lambda half: {(one.species, one.strain) for one in half}
    assert not strains(training) & strains(held_out)
    assert len(strains(training) | strains(held_out)) == 16
    assert {species for species, _ in strains(held_out)} == {
        species for species, _ in strains(training)
    }
    assert {strain for _, strain in strains(held_out)} == set(
        genomes.HELD_OUT_STRAINS
    )
    assert sum(len(one.bases) for one in training + held_out) == 48_205_369
    (known,) = [one for one in held_out if one.strain == "MG1655-K12"]
    # The best known of all: how its sequence begins.
    begins = "".join("ACGT"[base] for base in known.bases[:20])
    assert begins == "AGCTTTTCATTCTGACTGCA"
