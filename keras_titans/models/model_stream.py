"""What a model gives for a piece of a sequence, and what it is left with."""

from typing import Any, NamedTuple

import keras
from keras import tree

from keras_titans.models.stateful_calls import StatefulCalls
from keras_titans.models.stateful_calls import are_sequences
from keras_titans.models.stateful_calls import streamed_inputs


class StreamResults(NamedTuple):
    outputs: Any  # the model's
    mask: Any  # of the first output, `(batch, length)`, or None
    surprises: dict[str, Any]  # by the layer's name
    masks: dict[str, Any]  # what each layer saw, if any
    states: dict[str, Any]


class ModelStream:
    """A model's layers, from states to states: a function, and no layer.

    Args:
        model: The model.
        surprise: What to ask memories for, as their `return_surprise`.
    """

    def __init__(self, model, surprise=False):
        calls = StatefulCalls(update=True, return_surprise=surprise)
        inputs = streamed_inputs(model)
        outputs = calls.run(model, inputs)
        _check_outputs(outputs)
        self.is_sequence = are_sequences(model)
        self.layers = dict(calls.layers)
        self._like = inputs
        results = {
            "outputs": outputs,
            "states": dict(sorted(calls.after.items())),
            "surprises": dict(sorted(calls.surprises.items())),
            "masks": dict(sorted(calls.masks.items())),
        }
        mask = getattr(tree.flatten(outputs)[0], "_keras_mask", None)
        if mask is not None:
            results["mask"] = mask
        self._graph = keras.Model(
            (inputs, dict(sorted(calls.states.items()))), results
        )

    def __call__(self, x, states, training):
        """`StreamResults` for inputs, a flat list."""
        results = self._graph((self.as_inputs(x), states), training=training)
        return StreamResults(
            results["outputs"],
            results.get("mask"),
            results["surprises"],
            results["masks"],
            results["states"],
        )

    def as_inputs(self, x):
        """A flat list of inputs as the model's own structure."""
        return tree.pack_sequence_as(self._like, x)

    def get_initial_state(self, batch_size):
        """The states before anything was read."""
        states = {
            name: layer.get_initial_state(batch_size)
            for name, layer in self.layers.items()
        }
        return dict(sorted(states.items()))


def _check_outputs(outputs):
    for x in tree.flatten(outputs):
        if len(x.shape) < 2 or x.shape[1] is not None:
            raise ValueError(
                "Each output of argument `model` must have an entry for each "
                f"token, (batch, length, ...). Received: shape {x.shape}."
            )
