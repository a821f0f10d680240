"""A small world: people walk between rooms, pick things up, put them down.

What happens is told in sentences, and questions are about what follows from
one, two or three of them, as in the first three of the bAbI tasks
(arXiv 1502.05698). The sentences are ours.
"""

from typing import NamedTuple

PEOPLE = "Anna Ben Clara David Emma Frank Grace Henry".split()
ROOMS = "attic bathroom bedroom cellar garden hallway kitchen library".split()
OBJECTS = "apple ball book cup key lamp letter umbrella".split()

WAYS_TO_TELL = {
    "move": (
        "{person} went to the {thing}.",
        "{person} moved to the {thing}.",
        "{person} walked to the {thing}.",
    ),
    "take": (
        "{person} picked up the {thing}.",
        "{person} took the {thing}.",
        "{person} grabbed the {thing}.",
    ),
    "drop": (
        "{person} put down the {thing}.",
        "{person} dropped the {thing}.",
        "{person} left the {thing} there.",
    ),
}
# Of what can be done, how often: who never walks has nothing to tell.
HOW_OFTEN = {"move": 0.5, "take": 0.3, "drop": 0.2}


class Event(NamedTuple):
    """Somebody goes to a room, or takes or drops an object."""

    kind: str
    person: str
    thing: str

    def tell(self, rng):
        ways = WAYS_TO_TELL[self.kind]
        way = ways[rng.integers(len(ways))]
        return way.format(person=self.person, thing=self.thing)


class Question(NamedTuple):
    """A question, the room that answers it, the events that tell so."""

    text: str
    answer: str
    support: tuple[int, ...]


class Stay(NamedTuple):
    """Where somebody or something is, and the events that tell so."""

    room: str
    support: tuple[int, ...]


def happen(rng, count, people, objects):
    """`count` events, each possible after those before it.

    An object may be picked up wherever nobody has seen it yet, and then where
    it was dropped. Who has not walked yet does nothing else.
    """
    events, room, holder, lies = [], {}, {}, {}
    for _ in range(count):
        takes = [
            Event("take", person, thing)
            for person in room
            for thing in objects
            if thing not in holder
            and lies.get(thing, room[person]) == room[person]
        ]
        drops = [Event("drop", who, thing) for thing, who in holder.items()]
        moves = [
            Event("move", person, place)
            for person in people
            for place in ROOMS
            if room.get(person) != place
        ]
        can = {"move": moves, "take": takes, "drop": drops}
        kinds = [kind for kind in can if can[kind]]
        odds = [HOW_OFTEN[kind] for kind in kinds]
        kind = kinds[rng.choice(len(kinds), p=[o / sum(odds) for o in odds])]
        event = can[kind][rng.integers(len(can[kind]))]
        if kind == "move":
            room[event.person] = event.thing
        elif kind == "take":
            holder[event.thing] = event.person
        else:
            lies[event.thing] = room[holder.pop(event.thing)]
        events.append(event)
    return events


def questions(events, num_facts):
    """All questions whose answer takes exactly so many events: 1, 2 or 3."""
    people, objects = follow(events)
    if num_facts == 1:
        found = [
            Question(f"Where is {person}?", *stay)
            for person, stay in people.items()
        ]
    elif num_facts == 2:
        found = [
            Question(f"Where is the {thing}?", *stays[-1])
            for thing, stays in objects.items()
        ]
    else:
        found = [before_the_last(*item) for item in objects.items()]
    return [q for q in found if q and len(q.support) == num_facts]


def before_the_last(thing, stays):
    """Where something was before, if it was in its last room only once."""
    *earlier, last = stays
    if not earlier or last.room in [stay.room for stay in earlier]:
        return None
    support = sorted({*earlier[-1].support, *last.support})
    text = f"Where was the {thing} before the {last.room}?"
    return Question(text, earlier[-1].room, tuple(support))


def follow(events):
    """Where everybody is, and all stays of every object that was held."""
    people, objects, holder, taken = {}, {}, {}, {}
    for i, (kind, person, thing) in enumerate(events):
        if kind == "move":
            people[person] = Stay(thing, (i,))
            for held in [held for held in holder if holder[held] == person]:
                objects[held].append(Stay(thing, (taken[held], i)))
            continue
        here = Stay(people[person].room, (*people[person].support, i))
        stays = objects.setdefault(thing, [])
        # Where it was seen before, it is now seen by nearer events.
        objects[thing] = [*stays[:-1], here] if stays else [here]
        if kind == "take":
            holder[thing], taken[thing] = person, i
        else:
            del holder[thing]
    return people, objects
