"""Errors for arrays that do not fit each other."""

from collections.abc import Iterable

import numpy as np
from keras import ops


def as_array(name, values, dimensions):
    """NumPy's, of numbers, if there are so many dimensions."""
    if ops.is_tensor(values):
        values = ops.convert_to_numpy(values)
    try:
        values = np.asarray(values, dtype="float64")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `{name}` must be an array of numbers. "
            f"Received: {name}={values!r:.60}."
        ) from error
    if values.ndim != dimensions or not values.size:
        axes = {1: "one axis", 2: "two axes"}[dimensions]
        raise ValueError(
            f"Argument `{name}` must have {axes} and at least one entry. "
            f"Received: shape {values.shape}."
        )
    return values


def check_lengths(**counts):
    """Raise a ValueError if two arguments have not as many entries."""
    (one, first), (other, second) = counts.items()
    if first != second:
        raise ValueError(
            f"Arguments `{one}` and `{other}` must fit each other, entry by "
            f"entry. Received: {first} in `{one}`, {second} in `{other}`."
        )


def check_texts(name, texts):
    """A list of strings."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise ValueError(
            f"Argument `{name}` must be a list of strings. "
            f"Received: {name}={texts!r:.60}."
        )
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(
                f"Argument `{name}` must be a list of strings. "
                f"Received: {text!r} among them."
            )
    return texts
