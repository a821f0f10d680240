"""States for memories that nothing can be passed to.

A layer inside somebody else's block gets what that block passes to it, and no
state is among it. What calls the block opens a scope around the call: within
it, each layer starts from the state that the scope holds for it, and leaves
there the state after. A scope is opened and closed within one function, so
that seen from outside states go in and come out as ever.
"""

import contextlib
import contextvars


class CarriedStates:
    """Where layers within a scope find their states, and leave them.

    Args:
        layers: The layers.
        states: The state that each starts from.
        mask: Boolean, `(batch, length)`: which tokens they read, or None for
            all.
    """

    def __init__(self, layers, states, mask=None):
        self._layers = list(layers)
        self._states = {
            id(layer): state
            for layer, state in zip(self._layers, states, strict=True)
        }
        self.mask = mask

    def __contains__(self, layer):
        return id(layer) in self._states

    def __getitem__(self, layer):
        return self._states[id(layer)]

    def __setitem__(self, layer, state):
        self._states[id(layer)] = state

    @property
    def states(self):
        """The states as they are now, in the layers' order."""
        return [self[layer] for layer in self._layers]


_scope: contextvars.ContextVar = contextvars.ContextVar("scope", default=None)


@contextlib.contextmanager
def carrying(layers, states, mask=None):
    """A scope within which layers start from these states.

    Args:
        layers, states, mask: As `CarriedStates`'.

    Yields:
        The `CarriedStates`, which have the states after each call.
    """
    carried = CarriedStates(layers, states, mask)
    token = _scope.set(carried)
    try:
        yield carried
    finally:
        _scope.reset(token)


def carried_for(layer):
    """The open scope, where it has a state for the layer; or None."""
    carried = _scope.get()
    return carried if carried is not None and layer in carried else None
