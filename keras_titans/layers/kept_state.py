"""The state that a stateful layer keeps from call to call."""

import keras
from keras import ops
from keras import tree

from keras_titans import backend


class KeptState:
    """Variables for a state, which are no weights.

    A layer lists them among its `variables`, so that compiled steps carry
    them. They are not counted or saved, as those of `keras.layers.RNN`. Until
    something is kept, the state is the initial one: weights that are loaded
    after a layer was built count.

    Args:
        spec: The state's structure, as nested `keras.KerasTensor`s with a
            known batch size.
    """

    def __init__(self, spec):
        self._spec = spec
        self.batch_size = tree.flatten(spec)[0].shape[0]
        self._entries = [
            keras.Variable(
                "zeros",
                shape=entry.shape,
                dtype=entry.dtype,
                trainable=False,
                autocast=False,
                name="_".join(("state", *map(str, path))),
            )
            for path, entry in tree.flatten_with_path(spec)
        ]
        self._is_initial = keras.Variable(
            "ones",
            shape=(),
            dtype="bool",
            trainable=False,
            autocast=False,
            name="state_is_initial",
        )

    @property
    def variables(self):
        """All that compiled steps must carry."""
        return [*self._entries, self._is_initial]

    def value(self, get_initial_state):
        """The state as it is now.

        Args:
            get_initial_state: A function of the batch size.
        """

        def initial():
            state = get_initial_state(self.batch_size)
            return [ops.stop_gradient(x) for x in tree.flatten(state)]

        def kept():
            # Copies, because PyTorch assigns in place.
            return [ops.copy(variable) for variable in self._entries]

        flat = backend.either(self._is_initial.value, initial, kept)
        return tree.pack_sequence_as(self._spec, flat)

    def keep(self, state):
        """Keep a state for the next call."""
        # Copies, because JAX gives a variable's buffer away in `fit`: no
        # other variable, and nothing that a call returned, may share it.
        for variable, value in zip(
            self._entries, tree.flatten(state), strict=True
        ):
            variable.assign(ops.copy(ops.stop_gradient(value)))
        self._is_initial.assign(ops.zeros((), "bool"))

    def reset(self):
        """Go back to the initial state."""
        self._is_initial.assign(ops.ones((), "bool"))
