"""One state of several."""

import numpy as np
from keras import tree

# Entries of a memory's state that belong to the last few tokens. The others
# are its update rule's.
_RECENT = ("convolution", "phase")
_COPIES = ("anchor", "start")  # of the memory, at a chunk's or segment's start


def shares_of(weights, count):
    """Weights that sum to 1."""
    shares = np.ones(count) if weights is None else np.asarray(weights, float)
    if (
        shares.shape != (count,)
        or not np.isfinite(shares).all()
        or (shares < 0).any()
        or shares.sum() == 0
    ):
        raise ValueError(
            f"Argument `weights` must hold {count} numbers of at least 0, one "
            f"for each snapshot and not all 0. Received: weights={weights!r}."
        )
    return shares / shares.sum()


def merged(states, average):
    """The average of what lasts, and nothing of what does not.

    Args:
        states: Nested dictionaries and lists of arrays, all alike.
        average: A function of as many arrays to one.
    """
    first = states[0]
    if isinstance(first, list):
        return [
            merged(list(entries), average)
            for entries in zip(*states, strict=True)
        ]
    if not isinstance(first, dict):
        return np.zeros_like(first)
    found = {}
    # In another dictionary, an entry of that name is a layer's state.
    of_a_memory = not isinstance(first.get("memory", {}), dict)
    for name in first:
        entries = [state[name] for state in states]
        if of_a_memory and name not in (*_RECENT, *_COPIES):
            found[name] = tree.map_structure(average, *entries)
        else:
            found[name] = merged(entries, average)
    for name in _COPIES:
        # A dictionary is no copy, but the state of a layer of that name.
        if name in found and not isinstance(found[name], dict):
            held = found["memory"]
            held = held["memory"] if isinstance(held, dict) else held
            found[name] = tree.map_structure(np.copy, held)
    return found
