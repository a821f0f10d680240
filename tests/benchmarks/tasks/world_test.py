"""The world's rules, and answers that follow from their facts alone."""

import numpy as np
import pytest

from benchmarks.tasks.world import OBJECTS
from benchmarks.tasks.world import PEOPLE
from benchmarks.tasks.world import Event
from benchmarks.tasks.world import happen
from benchmarks.tasks.world import questions


def stories(count, length=14):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield happen(rng, length, PEOPLE[:3], OBJECTS[:2])


def replay(events):
    """Each person's room and the rooms each object was seen in, in order.

    Nothing is known of a room before somebody is said to have gone there.
    """
    room, holder, been = {}, {}, {}
    for kind, person, thing in events:
        if kind == "move":
            room[person] = thing
        elif kind == "take":
            holder[thing] = person
        else:
            holder.pop(thing, None)
            been.setdefault(thing, []).append(room.get(person))
        for held, by in holder.items():
            been.setdefault(held, []).append(room.get(by))
    for rooms in been.values():
        known = [place for place in rooms if place]
        rooms[:] = [p for i, p in enumerate(known) if known[i - 1 : i] != [p]]
    return room, been


def answer(text, events):
    """What a reader would say; None if the events do not tell."""
    room, been = replay(events)
    *_, first, last = words = text.rstrip("?").split()
    if words[:2] == ["Where", "was"]:
        rooms = been.get(words[3], [])
        if rooms.count(last) != 1 or rooms[0] == last:
            return None
        return rooms[rooms.index(last) - 1]
    if first == "the":
        return (been.get(last) or [None])[-1]
    return room.get(last)


@pytest.mark.parametrize("num_facts", [1, 2, 3])
def test_answers_follow_from_the_facts_and_from_no_fewer(num_facts):
    asked = 0
    for events in stories(150):
        for question in questions(events, num_facts):
            asked += 1
            assert answer(question.text, events) == question.answer
            assert len(question.support) == num_facts
            assert list(question.support) == sorted(question.support)
            told = [events[i] for i in question.support]
            assert answer(question.text, told) == question.answer
            for i in range(num_facts):
                fewer = told[:i] + told[i + 1 :]
                assert answer(question.text, fewer) != question.answer
    assert asked > 50


def test_nobody_does_what_cannot_be_done():
    kinds = set()
    for events in stories(100):
        room, holder, lies = {}, {}, {}
        for kind, person, thing in events:
            kinds.add(kind)
            if kind == "move":
                assert room.get(person) != thing
                room[person] = thing
            elif kind == "take":
                assert thing not in holder
                assert lies.get(thing, room[person]) == room[person]
                holder[thing] = person
            else:
                assert holder.pop(thing) == person
                lies[thing] = room[person]
    assert kinds == {"move", "take", "drop"}


def test_a_story_by_hand():
    events = [
        Event("move", "Anna", "attic"),
        Event("take", "Anna", "key"),
        Event("move", "Ben", "garden"),
        Event("move", "Anna", "kitchen"),
        Event("drop", "Anna", "key"),
    ]
    one, two, three = (questions(events, n) for n in (1, 2, 3))
    assert one == [
        ("Where is Anna?", "kitchen", (3,)),
        ("Where is Ben?", "garden", (2,)),
    ]
    assert two == [("Where is the key?", "kitchen", (3, 4))]
    assert three == []  # that it was put down is a fourth fact
    assert questions(events[:4], 3) == [
        ("Where was the key before the kitchen?", "attic", (0, 1, 3))
    ]


def test_events_are_told_in_several_ways():
    event = Event("take", "Emma", "lamp")
    told = {event.tell(np.random.default_rng(seed)) for seed in range(30)}
    assert told == {
        "Emma picked up the lamp.",
        "Emma took the lamp.",
        "Emma grabbed the lamp.",
    }
