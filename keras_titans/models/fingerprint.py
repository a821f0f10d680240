"""Which model a memory belongs to."""

import hashlib
import json
import re
from typing import NamedTuple

import numpy as np
from keras import ops

# What of a config changes neither what is computed nor what is remembered.
_IMMATERIAL = {
    "build_config",
    "compile_config",
    "dropout",
    "dtype",
    "module",
    "name",
    "remat",
    "return_state",
    "shared_object_id",
    "stateful",
    "trainable",
}
DIGEST_SIZE = 16  # in bytes
_DIGEST = re.compile(f"[0-9a-f]{{{2 * DIGEST_SIZE}}}")
_FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")


class Fingerprint(NamedTuple):
    """What tells one model from another, where its memory is concerned.

    Attributes:
        architecture: A digest of the model's config, without names, dtypes
            and what counts in training only.
        weights: A digest of its weights' values.
    """

    architecture: str
    weights: str


def check_fingerprint(value):
    """Raise a ValueError for what is neither a `Fingerprint` nor None."""
    if value is None:
        return
    if not isinstance(value, Fingerprint) or not all(map(_is_digest, value)):
        raise ValueError(
            "Argument `fingerprint` must be a `Fingerprint` of two digests "
            f"of {2 * DIGEST_SIZE} hexadecimal digits each, or None. "
            f"Received: fingerprint={value!r}."
        )


def _is_digest(value):
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def fingerprint(model):
    """The `Fingerprint` of a model or a layer as it stands now."""
    config = json.dumps(
        _material(model.get_config()), sort_keys=True, default=repr
    )
    weights = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for weight in model.weights:
        value = np.ascontiguousarray(ops.convert_to_numpy(weight.value))
        weights.update(f"{value.dtype.name}{value.shape}".encode())
        weights.update(value.view(np.uint8).data if value.size else b"")
    return Fingerprint(
        hashlib.blake2b(config.encode(), digest_size=DIGEST_SIZE).hexdigest(),
        weights.hexdigest(),
    )


def _material(config):
    if isinstance(config, dict):
        return {
            key: _material(value)
            for key, value in config.items()
            if key not in _IMMATERIAL and not key.endswith(_FOR_TRAINING)
        }
    if isinstance(config, list | tuple):
        return [_material(value) for value in config]
    return config
