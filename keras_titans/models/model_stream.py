"""What a model gives for a piece of a sequence, and what it is left with."""

from typing import Any, NamedTuple

import keras
from keras import tree

from keras_titans.layers.watching import memory_in
from keras_titans.models.stateful_calls import StatefulCalls
from keras_titans.models.stateful_calls import are_sequences
from keras_titans.models.stateful_calls import mixer_of
from keras_titans.models.stateful_calls import streamed_inputs


class StreamResults(NamedTuple):
    outputs: Any  # the model's
    diagnostics: dict[str, Any]  # by the layer's name
    masks: dict[str, Any]  # what each layer saw, if any
    states: dict[str, Any]


class ModelStream:
    """A model's layers, from states to states: a function, and no layer.

    Args:
        model: The model.
        return_diagnostics: Whether to ask memories for diagnostics.
    """

    def __init__(self, model, return_diagnostics=False):
        calls = StatefulCalls(
            update=True, return_diagnostics=return_diagnostics
        )
        inputs = streamed_inputs(model)
        outputs = calls.run(model, inputs)
        _check_outputs(outputs)
        self.is_sequence = are_sequences(model)
        self.layers = dict(calls.layers)
        self._like = inputs
        results = {
            "outputs": outputs,
            "states": dict(sorted(calls.after.items())),
            "diagnostics": dict(sorted(calls.diagnostics.items())),
            "masks": dict(sorted(calls.masks.items())),
        }
        self.outputs = outputs  # symbolic
        self._masks = self._mask_graph(inputs, calls.masks)
        self._graph = keras.Model(
            (inputs, dict(sorted(calls.states.items()))), results
        )

    def __call__(self, x, states, training):
        """`StreamResults` for inputs, a flat list."""
        results = self._graph((self.as_inputs(x), states), training=training)
        return StreamResults(
            results["outputs"],
            results["diagnostics"],
            results["masks"],
            results["states"],
        )

    def masks(self, x):
        """The masks that losses are counted by, for inputs, a flat list."""
        if self._masks is None:
            return {}
        return self._masks(self.as_inputs(x))

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

    def _mask_graph(self, inputs, masks_of_layers):
        """A model from inputs to the masks of outputs and of `paying`."""
        self.paying: dict[str, Any] = {}
        self.output_masks: dict[int, str] = {}
        masks = {}
        for name, layer in self.layers.items():
            again = any(layer is x for x in self.paying.values())
            if name in masks_of_layers and has_cost(layer) and not again:
                self.paying[name] = layer
                masks[name] = masks_of_layers[name]
        for i, x in enumerate(tree.flatten(self.outputs)):
            mask = getattr(x, "_keras_mask", None)
            if mask is not None:
                self.output_masks[id(x)] = f"mask of output {i}"
                masks[f"mask of output {i}"] = mask
        if not masks:
            return None
        try:
            return keras.Model(inputs, masks)
        except ValueError as error:
            raise ValueError(
                "Argument `model` must have masks that its inputs alone make, "
                "so that what counts is known before it runs. Received: "
                f"masks of {', '.join(masks)} which a memory has a part in."
            ) from error


def has_cost(layer):
    """Whether a layer's memory pays for what it writes."""
    mixer = mixer_of(layer)
    return mixer.has_memory and memory_in(mixer).has_write_cost


def _check_outputs(outputs):
    for x in tree.flatten(outputs):
        if len(x.shape) < 2 or x.shape[1] is not None:
            raise ValueError(
                "Each output of argument `model` must have an entry for each "
                f"token, (batch, length, ...). Received: shape {x.shape}."
            )
