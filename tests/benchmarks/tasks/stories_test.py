"""Stories in prose: all there, in order, and of one half only."""

import re

import numpy as np
import pytest

from benchmarks.tasks import world
from benchmarks.tasks.prose import Prose
from benchmarks.tasks.stories import Stories
from benchmarks.tasks.stories import is_held_out
from benchmarks.tasks.stories import tellings
from benchmarks.tasks.tokens import BytePairs
from benchmarks.tasks.tokens import Bytes
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import perfect
from tests.benchmarks.tasks.checks import take
from tests.benchmarks.tasks.world_test import answer

PROSE = Prose(
    ("We train on this. It is old. " * 100,),
    ("You are judged by that. It is new! " * 200,),
)
KINDS = {
    way.format(person="X", thing="Y"): kind
    for kind, ways in world.WAYS_TO_TELL.items()
    for way in ways
}
TOLD = re.compile(
    "|".join(
        re.escape(way).replace("X", r"([A-Z][a-z]+)").replace("Y", r"([a-z]+)")
        for way in KINDS
    )
)


def read(inputs, targets, weight):
    """The sentences of a story, its events, question, answer and the rest."""
    text = Bytes().decode([*inputs, targets[-1]])
    body, asked = text.split("\n")
    question, said = asked.split(" In the ")
    told = [match.group() for match in TOLD.finditer(body)]
    events = read_events(body)
    assert Bytes().decode(targets[weight == 1]) == f" {said}"
    return told, events, question, said, body


def read_events(body):
    events = []
    for match in TOLD.finditer(body):
        person, thing = filter(None, match.groups())
        way = match.group().replace(person, "X").replace(thing, "Y")
        events.append(world.Event(KINDS[way], person, thing))
    return events


@pytest.mark.parametrize("num_facts", [1, 2, 3])
def test_the_answer_follows_from_the_story(num_facts):
    task = Stories(600, num_facts, prose=PROSE)
    training = take(task.training(0, 10), 1)
    held_out = list(task.cases(1200, count=10))
    for batch in [*training, *held_out]:
        for row in zip(*batch[:3]):
            told, events, question, said, body = read(*row)
            assert len(events) == 10
            assert answer(question, events) == said
            assert is_held_out(told) == (len(row[0]) == 1200)
            assert ("You are" in body) == (len(row[0]) == 1200)
            assert ("We train" in body) == (len(row[0]) == 600)


def test_questions_between_what_happens():
    task = Stories(900, 1, prose=PROSE, questions=6)
    counts = set()
    for batch in take(task.training(0, 4), 3):
        for inputs, targets, weight in zip(*batch[:3]):
            text = Bytes().decode([*inputs, targets[-1]])
            answers = Bytes().decode(targets[weight == 1]).split()
            asked = re.findall(r"\n(Where is \w+\?) In the", text)
            assert len(asked) == len(answers)
            for i, (question, said) in enumerate(zip(asked, answers)):
                before = "\n".join(text.split("\n")[: 1 + i])
                assert answer(question, read_events(before)) == said
            counts.add(len(asked))
    assert max(counts) == 6
    (held_out,) = task.cases(900, count=1)
    assert Bytes().decode(held_out.inputs[0]).count("Where") == 1


def test_distance_is_to_the_first_fact_that_is_needed():
    task = Stories(400, 1, sentences=2, prose=PROSE)
    seen = set()
    for batch in task.cases(800, count=30):
        told, events, question, said, body = read(*(a[0] for a in batch[:3]))
        person = question.removeprefix("Where is ").removesuffix("?")
        needed = max(i for i, e in enumerate(events) if e.person == person)
        if events[needed].kind != "move":
            continue
        start = body.rindex(told[needed]) - 1  # a blank is before it
        distance = 801 - len(said) - 1 - start
        assert batch.about["distance"][0] <= distance
        assert distance < 2 * batch.about["distance"][0]
        seen.add(int(batch.about["distance"][0]))
    assert len(seen) > 2


def test_a_tokenizer_learns_the_words_of_training_stories():
    texts = tellings(300)
    for text in texts:
        told = [match.group() for match in TOLD.finditer(text)]
        assert len(told) == 10
        assert not is_held_out(told)
    pairs = BytePairs(texts, 512)
    for word in (*world.PEOPLE, *world.ROOMS, *world.OBJECTS):
        assert len(pairs.encode(f" {word}")) == 1


def test_score():
    task = Stories(600, 2, prose=PROSE, text_weight=0.5)
    score = judged(task, perfect, count=8)
    assert score["exact_match"] == 1
    assert set(score["exact_match_by_distance"].values()) == {1.0}
    assert judged(task, clueless, count=8)["exact_match"] == 0
    (batch,) = take(task.training(0, 4), 1)
    assert set(np.unique(batch.weight)) == {0.5, 1.0}


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`num_facts` must be one of"):
        Stories(600, 4, prose=PROSE)
    with pytest.raises(ValueError, match="`sentences` must be"):
        Stories(600, 3, sentences=3, prose=PROSE)
    with pytest.raises(ValueError, match="`length` must be at least"):
        next(Stories(100, 1, prose=PROSE).training(0, 1))
