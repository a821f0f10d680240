"""Tokens that are not finite: those that hold a NaN or an infinity.

Between the parts of a layer such a token is NaN. Each part puts zeros in its
place before it computes, because a product of NaN with zero is NaN, forward
and backward. What it computed at that token becomes NaN again at the end.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_titans import backend
from keras_titans.ops import alignment

# Larger numbers count as infinite, because products of them would be.
LIMIT = 1e30


class Finite(NamedTuple):
    """Which tokens are finite.

    Attributes:
        tokens: `(batch, tokens)`, boolean.
        missing: Whether any token is not: a tensor, or a bool where it is
            known. Nothing is computed for such tokens where there are none.
    """

    tokens: Any
    missing: Any


def may_overflow(dtype):
    """Whether finite tokens may become infinite in a dense map."""
    return dtype == "float16"


def finite_or_zero(tensors, finite=None):
    """Zeros in place of each token that is not finite in all of the tensors.

    Args:
        tensors: A list of `(batch, tokens, ...)`.
        finite: The tokens that were `Finite` before, or None for all.

    Returns:
        The tensors, and the `Finite` tokens.
    """
    found = [
        ops.all(_is_finite(x), axis=tuple(range(2, len(x.shape))))
        for x in tensors
    ]
    if finite is not None:
        found.append(finite.tokens)
    tokens = found[0]
    for also in found[1:]:
        tokens = ops.logical_and(tokens, also)
    missing = backend.known(ops.logical_not(ops.all(tokens)))
    finite = Finite(tokens, missing)
    return zero_tokens(tensors, finite), finite


def _is_finite(x):
    if may_overflow(keras.backend.standardize_dtype(x.dtype)):
        return ops.isfinite(x)
    return ops.abs(x) < LIMIT


def zero_tokens(tensors, finite):
    """The tensors, a list, with zeros in tokens that are not `Finite`."""
    return backend.when(
        finite.missing, _fill, _fill, finite.tokens, list(tensors)
    )


def blank_tokens(x, finite):
    """`x` with NaN in tokens that are not `Finite`."""
    return backend.when(finite.missing, _blank, _fill, finite.tokens, [x])[0]


def _fill(keep, tensors):
    return [fill_tokens(x, keep) for x in tensors]


def _blank(keep, tensors):
    return [fill_tokens(x, keep, float("nan")) for x in tensors]


def fill_tokens(x, keep, value=0.0):
    """`x` with a number in all tokens that are not kept.

    Args:
        x: `(batch, tokens, ...)`.
        keep: `(batch, tokens)`, boolean.
        value: The number.
    """
    for _ in x.shape[2:]:
        keep = keep[..., None]
    return ops.where(keep, x, value)


def finite_first(tensors, finite, count):
    """Each row's finite tokens in front, as if the others were not there.

    Args:
        tensors: A list of `(batch, tokens, ...)`.
        finite: The `Finite` tokens.
        count: `(batch,)`, int32: each row's real tokens, which are in front,
            or None if all are.

    Returns:
        The tensors; the finite ones among the real tokens, `(batch,)`, or
        None if all are; and a function that brings a `(batch, tokens, ...)`
        back into the order that `tensors` had.
    """
    finite, missing = finite
    if missing is False:
        return tensors, count, lambda x: x
    tokens = ops.shape(finite)[1]
    place = ops.arange(tokens, dtype="int32")[None, :]
    real = finite
    if count is not None:
        real = ops.logical_and(finite, place < count[:, None])
    count = ops.sum(ops.cast(real, "int32"), axis=1)
    if alignment.is_one_token(tokens):
        return tensors, count, lambda x: x

    # Each of the two is the other's inverse, and so its gradient.
    tensors = backend.when(missing, _to_front, _to_place, finite, tensors)
    in_place = lambda x: backend.when(
        missing, _to_place, _to_front, finite, [x]
    )
    return tensors, count, lambda x: in_place(x)[0]


def _to_front(keep, tensors):
    tokens = ops.shape(keep)[1]
    place = ops.arange(tokens, dtype="int32")[None, :]
    late = ops.cast(ops.logical_not(keep), "int32")
    order = ops.argsort(place + tokens * late, axis=1)
    return [alignment.take_tokens(x, order) for x in tensors]


def _to_place(keep, tensors):
    place = ops.arange(ops.shape(keep)[1], dtype="int32")[None, :]
    before = ops.cumsum(ops.cast(keep, "int32"), axis=1)
    behind = before[:, -1:] + place - before
    slot = ops.where(keep, before - 1, behind)
    return [alignment.take_tokens(x, slot) for x in tensors]
