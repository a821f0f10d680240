"""A model's layers called anew, with the state of each going in and out."""

import inspect

import keras
from keras import ops
from keras import tree

from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.titans_block import TitansBlock
from keras_titans.layers.token_order import RealTokensFirst
from keras_titans.layers.token_order import TokensInPlace


class StatefulCalls:
    """Calls a model's layers anew, on symbols, with states in and out.

    Args:
        update, return_diagnostics: As `StreamingModel`'s.
        mask: Boolean, `(batch, length)`: the tokens that layers with a state
            read, beside what the model itself masks. None for all.
    """

    def __init__(self, update, return_diagnostics, mask=None):
        self.update = update
        self.return_diagnostics = return_diagnostics
        self.layers, self.states = {}, {}
        self.diagnostics, self.after, self.masks = {}, {}, {}
        self.mask = mask
        self.real = None  # the mask where the model puts real tokens first

    def run(self, model, inputs):
        """The model's outputs for other inputs of the same structure."""
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self._call(layer, inputs)
            return inputs
        return model._run_through_graph(
            model_inputs(model, inputs), call_fn=self._call
        )

    def _call(self, operation, *args, **kwargs):
        if keeps_state(operation):
            return self._call_with_state(operation, *args, **kwargs)
        # A state stands behind a row's last real token. So padding stays in
        # its place, and each layer that has a state is told of it.
        if isinstance(operation, RealTokensFirst):
            x, self.real = args
            return x, self.real
        if isinstance(operation, TokensInPlace):
            return ops.copy(args[0])  # it passes no mask on, so nor do we
        if not has_state(operation):
            return operation(*args, **kwargs)
        if is_graph(operation):
            return self.run(operation, args[0])
        raise ValueError(
            f"Layer '{operation.name}' has memories inside, whose states "
            "cannot be carried on from outside of it. Put the "
            "`keras_titans` layers into a functional model. "
            f"Received: {type(operation).__name__}."
        )

    def _call_with_state(self, layer, *args, **kwargs):
        signature = inspect.signature(layer.call)
        options = dict(signature.bind(*args, **kwargs).arguments)
        x = options.pop(next(iter(signature.parameters)))
        if options.get("initial_state") is not None:
            return layer(*args, **kwargs)  # the model sees to it itself
        mixer = mixer_of(layer)
        if mixer.stateful:
            raise ValueError(
                "A layer with `stateful=True` keeps its state to itself. "
                f"Received: layer '{layer.name}' with stateful=True."
            )
        asked = (
            bool(options.get("return_diagnostics")),
            mixer.returns_state(options.get("return_state")),
        )
        name = self._name(layer)
        self.layers[name] = layer
        self.states[name] = state_inputs(mixer.state_spec(None), name)
        # Keras passes masks on by itself only where there is one tensor.
        if options.get("mask") is None:
            options["mask"] = getattr(x, "_keras_mask", None)
        if options["mask"] is None and self.real is not None:
            options["mask"] = ops.cast(self.real, "bool")
        if self.mask is not None:
            mask = options["mask"]
            options["mask"] = (
                self.mask if mask is None else ops.logical_and(mask, self.mask)
            )
        if mixer.has_memory:
            options["update"] = self.update and options.get("update", True)
            options["return_diagnostics"] = self.return_diagnostics or asked[0]
        if options["mask"] is not None:
            self.masks[name] = options["mask"]
        options |= {"initial_state": self.states[name], "return_state": True}
        y, *diagnostics, after = CallWithState(layer, name=name)(x, **options)
        if diagnostics and self.return_diagnostics:
            self.diagnostics[name] = diagnostics[0]
        self.after[name] = after
        results = [y]
        results += diagnostics if asked[0] else []
        results += [after] if asked[1] else []
        return results[0] if len(results) == 1 else tuple(results)

    def _name(self, layer):
        count = 1
        name = layer.name
        while name in self.layers:
            count += 1
            name = f"{layer.name}_call_{count}"
        return name


class CallWithState(keras.layers.Layer):
    """A layer, called so that it returns its state.

    A functional model takes all calls of one layer to have as many outputs.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(dtype=layer.dtype_policy, autocast=False, **kwargs)
        self.layer = layer
        self.supports_masking = True
        self.built = True

    def call(self, inputs, mask=None, initial_state=None, **options):
        return self.layer(
            inputs, mask=mask, initial_state=initial_state, **options
        )

    def compute_output_spec(self, inputs, **options):
        return self.layer.compute_output_spec(inputs, **options)


def keeps_state(operation):
    """Whether it takes and returns a state when called."""
    return isinstance(operation, StatefulLayer | TitansBlock)


def has_state(operation):
    """Whether something in it keeps a state."""
    return isinstance(operation, keras.layers.Layer) and any(
        keeps_state(layer) for layer in operation._flatten_layers()
    )


def mixer_of(layer):
    """The `StatefulLayer` that a layer is, or stands around."""
    return layer.mixer if isinstance(layer, TitansBlock) else layer


def is_graph(model):
    """Whether it is a model whose calls of layers can be seen."""
    if isinstance(model, keras.Sequential):
        return model.built
    return isinstance(model, keras.Model) and hasattr(
        model, "_run_through_graph"
    )


def check_streamable(model):
    """Raise a ValueError for what has no states, or none in sight."""
    if not is_graph(model):
        raise ValueError(
            "Argument `model` must be a functional model or a sequential one "
            "that is built, so that its layers' states can be made inputs "
            f"and outputs. Received: {type(model).__name__} {model!r}."
        )
    if not has_state(model):
        names = ", ".join(layer.name for layer in model.layers)
        raise ValueError(
            "Argument `model` must have at least one `keras_titans` layer "
            f"with a state. Received: a model with the layers {names}."
        )


def streamed_inputs(model):
    """New symbols like the model's inputs, for sequences of any length."""
    check_streamable(model)
    length = sequence_length(model)

    def like(x):
        shape = list(x.shape)
        if len(shape) > 1 and shape[1] == length:
            shape[1] = None
        return keras.Input(
            batch_shape=shape, dtype=x.dtype, sparse=x.sparse, name=x.name
        )

    if isinstance(model, keras.Sequential):
        return like(model.inputs[0])
    return tree.map_structure(like, model.input)


def sequence_length(model):
    """The length of the model's sequences as built: None for any."""
    lengths = {x.shape[1] for x in model.inputs if len(x.shape) > 1}
    if not lengths:
        raise ValueError(
            "Argument `model` must take sequences, (batch, length, ...). "
            f"Received: inputs of shape {[x.shape for x in model.inputs]}."
        )
    if None in lengths:
        return None
    return model.inputs[0].shape[1]


def are_sequences(model):
    """Which of a model's inputs, in their flat order, are sequences."""
    length = sequence_length(model)
    return [len(x.shape) > 1 and x.shape[1] == length for x in model.inputs]


def state_inputs(spec, name):
    """Symbols for a state, named after the layer and the entry."""
    flat = [
        keras.Input(
            batch_shape=x.shape,
            dtype=x.dtype,
            name="_".join((name, *map(str, path))),
        )
        for path, x in tree.flatten_with_path(spec)
    ]
    return tree.pack_sequence_as(spec, flat)


def model_inputs(model, x):
    """Values for a model's inputs, in the inputs' own structure."""
    if isinstance(model, keras.Sequential):
        return tree.flatten(x)[0]
    names = [tensor.name for tensor in model.inputs]
    if isinstance(x, dict) and set(names) <= set(x):
        x = [x[name] for name in names]
    return tree.pack_sequence_as(model.input, tree.flatten(x))
