"""Seeing what every memory of a model does, whatever the model is made of.

Within `watching()` each layer with a memory records its calls, also in models
that do not return diagnostics.
"""

import contextlib
import contextvars
from typing import Any, NamedTuple

from keras import ops


class SeenCall(NamedTuple):
    """One call of a layer with a memory."""

    layer: Any
    diagnostics: Any  # a dictionary of `(batch, length, heads, ...)`
    mask: Any  # `(batch, length)`, or None
    before: Any  # the state that the call started from
    after: Any  # and the one that it left


class Watch:
    """The calls that were seen, in order."""

    def __init__(self):
        self.calls = []
        self.real = None  # the mask where the model puts real tokens first

    def run(self, layer, x, mask, state, aligned, options):
        """As a layer's `mixed`, but taken down.

        A layer that would go on from a state of its own starts afresh, and
        keeps nothing: what is watched is not what is trained.
        """
        if mask is None and self.real is not None:
            mask = self.real
        asked = options["return_diagnostics"]
        options = {**options, "return_diagnostics": True}
        if state is None:
            state = layer.get_initial_state(ops.shape(x)[0])
        y, diagnostics, after = layer.mixed(x, mask, state, aligned, options)
        self.calls.append(SeenCall(layer, diagnostics, mask, state, after))
        return y, diagnostics if asked else None, after


_WATCH: contextvars.ContextVar[Watch | None] = contextvars.ContextVar(
    "watch", default=None
)


@contextlib.contextmanager
def watching():
    """A `Watch` of the calls that are made meanwhile."""
    watch = Watch()
    token = _WATCH.set(watch)
    try:
        yield watch
    finally:
        _WATCH.reset(token)


def current_watch():
    """The innermost `Watch`, or None if nobody watches."""
    return _WATCH.get()


def memory_in(mixer):
    """The memory that a `StatefulLayer` is, or that it joins to another."""
    return mixer if mixer.is_memory else mixer.memory


def memory_entry(state):
    """What is remembered, in a memory's state or in a union's."""
    memory = state["memory"]
    return memory["memory"] if isinstance(memory, dict) else memory
