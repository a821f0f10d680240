"""Multiple choice: one answer is right, and the other half never asked it."""

import re

import numpy as np
import pytest

from benchmarks import data
from benchmarks.tasks import wordnet
from benchmarks.tasks.tokens import BytePairs
from benchmarks.tasks.tokens import Bytes
from benchmarks.tasks.wordnet import MultipleChoice
from benchmarks.tasks.wordnet import Noun
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import perfect
from tests.benchmarks.tasks.checks import take

LINES = (
    "  1 This software and database is provided to you, the LICENSEE",
    "00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | all that is  ",
    "03352628 06 n 01 fishnet 0 001 @ 00001740 n 0000 | a net; for fish  ",
    "03639077 06 n 02 landing_net 0 scoop 0 002 @ 03352628 n 0000 "
    '#m 03351434 n 0000 | a bag-shaped fishnet; "he held it"  ',
)


def test_a_file_as_the_package_has_it():
    assert wordnet.read_nouns("\n".join(LINES)) == {
        "00001740": Noun("entity", "all that is", ()),
        "03352628": Noun("fishnet", "a net; for fish", ("00001740",)),
        "03639077": Noun("landing net", "a bag-shaped fishnet", ("03352628",)),
    }


@pytest.fixture(scope="module")
def nouns():
    """A tree of 200 nouns, each below the one of a third of its number."""
    return {
        str(i): Noun(f"word{i}", f"the thing {i}", (str(i // 3),) if i else ())
        for i in range(200)
    }


def test_ancestors(nouns):
    assert wordnet.ancestors(nouns, "100") == {"100", "33", "11", "3", "1", "0"}


@pytest.mark.parametrize("question", ["definition", "hypernym"])
@pytest.mark.parametrize("pairs", [False, True])
def test_one_answer_is_right(nouns, question, pairs):
    tokenizer = BytePairs(["word thing the Answer"], 270) if pairs else Bytes()
    task = MultipleChoice(200, question, tokenizer=tokenizer, nouns=nouns)
    (training,) = take(task.training(0, 10), 1)
    (held_out,) = task.cases(length=400, count=10, batch_size=10)
    places = set()
    for batch in (training, held_out):
        for inputs, targets, weight in zip(*batch[:3]):
            text = tokenizer.decode([*inputs, targets[-1]])
            letters = tokenizer.decode(targets[weight > 0])
            asked = re.findall(
                r"(?:means: the thing|general than word) ?(\d+)\? (.*?)\. "
                r"Answer:(\w)\n?",
                text,
            )
            assert letters == "".join(letter for _, _, letter in asked)
            assert len(asked) > 1
            for number, listed, letter in asked:
                options = dict(re.findall(r"\(([A-D])\) word(\d+)", listed))
                assert len(set(options.values())) == 4
                held = wordnet.is_held_out(f"word{number}")
                assert held == (len(inputs) == 400)
                above = wordnet.ancestors(nouns, number)
                if question == "definition":
                    right = [a for a, n in options.items() if n == number]
                else:
                    right = [a for a, n in options.items() if n in above]
                    assert options[letter] == str(int(number) // 3)
                assert right == [letter]
                places.add(letter)
    assert places == set("ABCD")


def test_position_is_what_was_read_before(nouns):
    task = MultipleChoice(300, "definition", nouns=nouns)
    (batch,) = task.cases(count=5, batch_size=5)
    for weight, position in zip(batch.weight, batch.about["position"]):
        for i in np.flatnonzero(weight):
            assert position[i] <= i + 1 < 2 * position[i]
    score = judged(task, perfect, count=5)
    assert score["exact_match"] == 1
    assert len(score["exact_match_by_position"]) > 1


def test_rows_are_as_full_as_can_be(nouns):
    task = MultipleChoice(300, "definition", nouns=nouns)
    (batch,) = take(task.training(0, 40), 1)
    longest = "Which word means: the thing 100? (A) word100 (B) word100 "
    longest += "(C) word100 (D) word100. Answer:A\n"
    for row in batch.inputs:
        filled = len(bytes(row.tolist()).rstrip(b"\0"))
        assert 300 - len(longest) < filled <= 300


def test_only_letters_are_answers(nouns):
    task = MultipleChoice(300, "definition", options=3, nouns=nouns)
    assert bytes(task.choices.tolist()) == b"ABC"

    def says_a(task, batch):
        logits = np.zeros((*batch.targets.shape, 256))
        logits[..., ord("A")], logits[..., ord("e")] = 1.0, 2.0
        return logits

    right = judged(task, says_a, count=40)["exact_match"]
    assert 0.15 < right < 0.55


def test_wrong_arguments_are_named(nouns):
    with pytest.raises(ValueError, match="`question` must be one of"):
        MultipleChoice(300, "synonym", nouns=nouns)
    with pytest.raises(ValueError, match="`options` must be one of"):
        MultipleChoice(300, "definition", options=1, nouns=nouns)
    with pytest.raises(ValueError, match="`length` must be at least"):
        next(MultipleChoice(20, "definition", nouns=nouns).training(0, 1))
    few = dict(list(nouns.items())[:20])
    with pytest.raises(ValueError, match="`nouns` has too few words"):
        next(MultipleChoice(300, "definition", 26, nouns=few).training(0, 1))


def test_the_package():
    if data.cached("wordnet-base") is None:
        pytest.skip("`python -m benchmarks.data` fetches it")
    nouns = wordnet.wordnet()
    assert len(nouns) == 82_115
    net = nouns["03639077"]
    assert net.word == "landing net"
    assert net.definition.startswith("a bag-shaped fishnet on a long handle")
    above = [nouns[o].word for o in wordnet.ancestors(nouns, "03639077")]
    assert "fishnet" in above and "entity" in above
    task = MultipleChoice(500, "hypernym", nouns=nouns)
    assert all(len(half) > 10_000 for half in task._halves)
