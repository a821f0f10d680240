"""Questions on addresses: nothing gives the answer away."""

import collections
import re

import pytest

from benchmarks.tasks import addresses as module
from benchmarks.tasks.addresses import AddressQuestions
from tests.benchmarks.tasks.checks import take


@pytest.fixture(scope="module")
def addresses():
    return module.masked_addresses()


def test_masks():
    text = "On January 5, 1862, Mr. Abraham Lincoln met J. K. Polk's Whigs."
    masked = module.mask(text, {"Lincoln", "Polk"})
    assert masked == "On January 5, [YEAR], Mr. [NAME] met [NAME]'s [PARTY]."
    kept = "A republican form of government; the linchpin, 1500 men, 21000."
    assert module.mask(kept, {"Lincoln"}) == kept
    loud = "PRESIDENT BUSH and Republicans, GOP, Democratic, 2004."
    masked = module.mask(loud, {"Bush"})
    assert masked == "PRESIDENT [NAME] and [PARTY], [PARTY], [PARTY], [YEAR]."


def test_nothing_tells_who_or_when(addresses):
    assert len(addresses) == 237
    for address in addresses:
        surname = address["president"].split(" (")[0]
        assert not re.search(rf"\b{surname}\b", address["text"])
        assert str(address["year"]) not in address["text"].split()
    assert sum("[NAME]" in address["text"] for address in addresses) > 100


def test_presidents_of_one_surname_are_apart(addresses):
    years = {}
    for address in addresses:
        years.setdefault(address["president"], []).append(address["year"])
    assert years["Bush (since 1989)"] == [1990, 1991, 1992]
    assert years["Bush (since 2001)"] == list(range(2002, 2009))
    assert years["Johnson (Democratic)"] == list(range(1964, 1970))
    assert years["Adams (Federalist)"] == list(range(1797, 1801))
    assert len(years["Cleveland"]) == 8
    assert len(years["Trump"]) == 4


@pytest.mark.parametrize("question", ["president", "party", "decade"])
def test_every_class_has_both_halves(addresses, question):
    found, held_out = module.split(addresses, question)
    classes = collections.Counter(address[question] for address in found)
    of_half = collections.Counter(
        address[question] for address, out in zip(found, held_out) if out
    )
    assert len(classes) > 1
    for name, count in classes.items():
        assert 0 < of_half[name] <= count / 2
        if question != "party":
            assert abs(of_half[name] - count / 4) < 1


def test_presidents_of_the_party_question_are_of_one_half(addresses):
    found, held_out = module.split(addresses, "party")
    halves = {True: set(), False: set()}
    for address, out in zip(found, held_out):
        halves[out].add(address["president"])
    assert not halves[True] & halves[False]
    assert len(halves[True]) >= 6
    assert {address["party"] for address in found} == set(module.PARTIES)
    assert min(address["year"] for address in found) >= 1861


def test_the_row_is_a_piece_of_an_address(addresses):
    task = AddressQuestions(300, "party")
    assert task.vocabulary_size == 256 + 1 + 2
    texts = {True: set(), False: set()}
    found, held_out = module.split(addresses, "party")
    for address, out in zip(found, held_out):
        texts[out].add((address["text"], address["party"]))
    for out, batch in [
        (False, take(task.training(0, 6), 1)[0]),
        (True, next(task.cases(600, batch_size=6, count=6))),
    ]:
        for tokens, name in zip(batch.inputs, batch.about["class"]):
            piece = bytes(tokens[:-1].tolist()).decode(errors="ignore")
            assert tokens[-1] == task.question
            assert any(
                piece in text and party == name for text, party in texts[out]
            )


def test_other_questions_are_refused():
    with pytest.raises(ValueError, match="`question` must be one of"):
        AddressQuestions(300, "year")
