"""The state contract of every layer that remembers, after `keras.layers.RNN`.

A state is a plain nested structure of tensors with the batch on axis 0. It
enters as `initial_state`, leaves with `return_state=True`, and a layer built
with `stateful=True` keeps it from call to call until `reset_state()`.
"""

from typing import Any

import keras
from keras import ops
from keras import tree

from keras_titans.validation import same_shape


class StatefulLayer(keras.layers.Layer):
    """A layer with a state.

    A subclass says what its state looks like (`state_spec`) and where it
    starts (`get_initial_state`); it asks for the state to start a call from
    (`starting_state`) and hands in the state to end it with (`keep_state`).

    Args:
        return_state: Whether a call returns the state as its last output.
        stateful: Whether a call starts where the last one ended. Needs a
            batch size that is known when the layer is built.
    """

    def __init__(self, return_state=False, stateful=False, **kwargs):
        # Keras would cast a state that is passed to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.return_state = return_state
        self.stateful = stateful
        self._state: Any = None

    def state_spec(self, batch_size):
        """The state's structure, as nested `keras.KerasTensor`s."""
        raise NotImplementedError

    def get_initial_state(self, batch_size):
        """The state before anything was read."""
        raise NotImplementedError

    @property
    def state_dtype(self):
        """float32 whatever the compute dtype, but for float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def state(self):
        """The kept state's variables, or None if the layer keeps none."""
        if self._state is None:
            return None
        spec = self.state_spec(self._state[0].shape[0])
        return tree.pack_sequence_as(spec, list(self._state))

    def build_state(self, batch_size):
        """Make the variables that a stateful layer keeps its state in."""
        if not self.stateful:
            return
        if batch_size is None:
            raise ValueError(
                "A layer with `stateful=True` must know its batch size when it "
                "is built: pass `batch_size` to `keras.Input`, or the full "
                "shape to `build`. Received: batch size None."
            )
        self._state = [
            self.add_weight(
                shape=spec.shape,
                dtype=spec.dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                name="_".join(("state", *map(str, path))),
            )
            for path, spec in tree.flatten_with_path(
                self.state_spec(batch_size)
            )
        ]
        self.reset_state()

    def reset_state(self):
        """Forget everything: back to the learned initial state."""
        if self._state is not None:
            batch_size = self._state[0].shape[0]
            self._assign(self.get_initial_state(batch_size))

    def starting_state(self, initial_state):
        """The state that a call starts from, or None for a fresh one."""
        if initial_state is not None:
            return initial_state
        if self.stateful:
            # Copies, because PyTorch assigns in place.
            return tree.map_structure(ops.copy, self.state)
        return None

    def keep_state(self, state):
        """Keep the state for the next call, if the layer is stateful."""
        if self.stateful:
            self._assign(tree.map_structure(ops.stop_gradient, state))

    def check_state(self, state, batch_size):
        """Raise a ValueError where a state does not fit this layer."""
        spec = self.state_spec(batch_size)
        try:
            tree.assert_same_structure(spec, state)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Argument `initial_state` of layer '{self.name}' must have "
                "the structure that `get_initial_state` returns: "
                f"{_shapes(spec)}. Received: {_shapes(state)}."
            ) from error
        wanted = tree.flatten_with_path(spec)
        for (path, want), have in zip(wanted, tree.flatten(state), strict=True):
            name = "/".join(str(key) for key in path)
            shape = tuple(getattr(have, "shape", ()))
            if not same_shape(shape, want.shape):
                raise ValueError(
                    f"Entry '{name}' of argument `initial_state` of layer "
                    f"'{self.name}' must have shape {want.shape}. "
                    f"Received: shape {shape}."
                )
            dtype = keras.backend.standardize_dtype(have.dtype)
            if dtype != want.dtype:
                raise ValueError(
                    f"Entry '{name}' of argument `initial_state` of layer "
                    f"'{self.name}' must have dtype {want.dtype}. "
                    f"Received: {dtype}."
                )

    def get_config(self):
        config = super().get_config()
        config.update(
            {"return_state": self.return_state, "stateful": self.stateful}
        )
        return config

    def _assign(self, state):
        # Copies, because JAX gives a variable's buffer away in `fit`: no
        # other variable, and nothing that a call returned, may share it.
        for variable, value in zip(
            self._state, tree.flatten(state), strict=True
        ):
            variable.assign(ops.copy(value))


def _shapes(structure):
    return tree.map_structure(
        lambda x: tuple(getattr(x, "shape", ())) or type(x).__name__, structure
    )
