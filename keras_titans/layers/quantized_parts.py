"""Which layers inside of a layer are quantized, in a file and back.

`quantize` goes to the layers that hold the weights, and the layer that made
them knows nothing of it. Made anew from its configuration, its layers would
have weights of other shapes than those that were saved.
"""

import functools

import keras

from keras_titans.validation import check_choice

MODES = ("int8", "int4", "float8")


def quantized_parts(layer):
    """What `quantize_parts` needs, as a file can hold it.

    Args:
        layer: A layer or a model.

    Returns:
        A dictionary: by the place of each quantized layer inside of `layer`,
        its mode and its serialized quantization config.
    """
    parts = {}
    for place, part in _parts(layer):
        mode = part.quantization_mode
        if mode is None or not _holds_weights(part):
            continue
        if mode not in MODES:
            raise ValueError(
                f"Layer '{layer.name}' can be saved where it is quantized with "
                f"one of the modes {', '.join(map(repr, MODES))}. Received: "
                f"its layer '{part.path}' has mode {mode!r}."
            )
        config = getattr(part, "quantization_config", None)
        parts[place] = [mode, keras.saving.serialize_keras_object(config)]
    return parts


def quantize_parts(layer, parts):
    """Quantize the layers inside of a built layer that were quantized before.

    Args:
        layer: A layer or a model.
        parts: What `quantized_parts` returned.
    """
    for place, part in _parts(layer):
        if place in parts and part.quantization_mode is None:
            mode, config = parts[place]
            config = keras.saving.deserialize_keras_object(config)
            part.quantize(mode, config=config)


def with_quantized_parts(config, model):
    """A model's configuration with what `revived` needs, if anything."""
    parts = quantized_parts(model)
    return {**config, "quantized_parts": parts} if parts else config


def revived(make, config):
    """A model from its configuration, quantized as it was.

    Args:
        make: A function from a configuration to a model.
        config: What `with_quantized_parts` returned.
    """
    config = dict(config)
    parts = config.pop("quantized_parts", {})
    model = make(config)
    quantize_parts(model, parts)
    return model


def prepare_parts(layer):
    """Prepare the layers inside of a layer for `quantize`.

    Keras passes over those that it cannot quantize, in silence. The others
    refuse a mode that a file cannot hold.

    Args:
        layer: A layer or a model that is built.
    """
    for part in layer._flatten_layers(include_self=False):
        if type(part).quantize is keras.layers.Layer.quantize:
            part.quantize = _not_quantized
        elif _holds_weights(part) and not _is_checked(part.quantize):
            part.quantize = functools.partial(_checked, part.quantize)


def _not_quantized(*args, **kwargs):
    # What Keras takes for a layer that knows no such thing.
    raise AttributeError("This layer is not quantized.")


def _checked(quantize, mode=None, config=None, **kwargs):
    given = mode if config is None else getattr(config, "mode", mode)
    check_choice("mode", given, MODES)
    return quantize(mode, config=config, **kwargs)


def _is_checked(quantize):
    return getattr(quantize, "func", None) is _checked


class LayerOfParts(keras.layers.Layer):
    """A layer that makes layers when it is built, and saves how."""

    def get_build_config(self):
        config = super().get_build_config()
        if config is not None and (parts := quantized_parts(self)):
            config["quantized_parts"] = parts
        return config

    def build_from_config(self, config):
        super().build_from_config(config)
        quantize_parts(self, config.get("quantized_parts", {}))


def _parts(layer):
    """Each layer inside of a layer, after its place: the names down to it."""
    for part in layer._flatten_layers(include_self=False, recursive=False):
        yield part.name, part
        for place, inner in _parts(part):
            yield f"{part.name}/{place}", inner


def _holds_weights(layer):
    return not layer._flatten_layers(include_self=False)
