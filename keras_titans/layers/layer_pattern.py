"""A layer as a pattern: others are made like it, and it is never built."""

import keras

from keras_titans.layers.stateful_layer import StatefulLayer

# What each layer gets from the model that it is made for.
_GIVEN = ("name", "dtype")


def check_memory_pattern(name, pattern):
    """A memory that others are made like; also from its serialised form."""
    return _check(
        name,
        pattern,
        lambda layer: layer.is_memory,
        "a `NeuralMemory`, a `SlotMemory` or another memory layer",
    )


def check_mixer_pattern(name, pattern):
    """A mixer that others are made like; also from its serialised form."""
    return _check(
        name,
        pattern,
        lambda layer: True,
        "a `MemoryAsGate` or another layer that mixes tokens and has a state",
    )


def _check(name, pattern, fits, what):
    if isinstance(pattern, dict) and "class_name" in pattern:
        # Of a layer that is built, the shapes are left out.
        config = {k: v for k, v in pattern.items() if k != "build_config"}
        pattern = keras.saving.deserialize_keras_object(config)
    if not isinstance(pattern, StatefulLayer) or not fits(pattern):
        raise ValueError(
            f"Argument `{name}` must be {what}. Received: {name}={pattern!r}."
        )
    if pattern.built or pattern.weights:
        raise ValueError(
            f"Argument `{name}` must be a layer that is not built: its "
            "settings are used, and its weights would be lost. "
            f"Received: {name}={pattern!r}, which is built."
        )
    for option in ("stateful", "return_state"):
        if getattr(pattern, option):
            raise ValueError(
                f"Argument `{name}` must be a layer without `{option}`: the "
                "model keeps the states. "
                f"Received: {name}={pattern!r} with {option}=True."
            )
    return pattern


def clone(pattern, name, dtype):
    """A new layer with a pattern's settings.

    Args:
        pattern: A layer that `check_memory_pattern` or `check_mixer_pattern`
            returned.
        name: str. The new layer's name.
        dtype: The dtype policy of the new layer and of the layers in it.
    """
    config = _with_dtype(pattern.get_config(), dtype)
    return type(pattern).from_config({**config, "name": name})


def _with_dtype(config, dtype):
    """A configuration with another dtype, also for the layers in it."""
    changed = {**config, "dtype": dtype}
    for key, value in config.items():
        inner = value.get("config") if isinstance(value, dict) else None
        if isinstance(inner, dict) and "dtype" in inner:
            changed[key] = {**value, "config": _with_dtype(inner, dtype)}
    return changed


def serialized_pattern(pattern):
    """A pattern as a configuration holds it; None for None."""
    if pattern is None:
        return None
    config = keras.saving.serialize_keras_object(pattern)
    settings = config["config"].items()
    config["config"] = {k: v for k, v in settings if k not in _GIVEN}
    return config
