"""Checks of arguments, with errors that say what to pass instead."""

import keras


def check_positive(name, value):
    if not value > 0:
        raise ValueError(
            f"Argument `{name}` must be positive. Received: {name}={value}."
        )


def check_positive_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least 1. "
            f"Received: {name}={value!r}."
        )


def check_whole_number(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least 0. "
            f"Received: {name}={value!r}."
        )


def check_fraction(name, value):
    """Strictly between 0 and 1: what a sigmoid can start from."""
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"Argument `{name}` must lie strictly between 0 and 1. "
            f"Received: {name}={value}."
        )


def check_fractions(name, value):
    """A fraction, or a pair of them: of the first head and of the last."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                f"Argument `{name}` must be a number, or a pair for the first "
                f"head and the last. Received: {name}={value}."
            )
        for one in value:
            check_fraction(name, one)
    else:
        check_fraction(name, value)


def check_threshold(name, value):
    if not 0.0 <= value < 1.0:
        raise ValueError(
            f"Argument `{name}` must be at least 0 and below 1. "
            f"Received: {name}={value}."
        )


def check_cost(name, value):
    if not 0.0 <= value < float("inf"):
        raise ValueError(
            f"Argument `{name}` must be a number of at least 0. "
            f"Received: {name}={value}."
        )


def check_at_most_one(name, value):
    if not 0.0 < value <= 1.0:
        raise ValueError(
            f"Argument `{name}` must be positive and at most 1. "
            f"Received: {name}={value}."
        )


def check_choice(name, value, choices):
    if value not in choices:
        accepted = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"Argument `{name}` must be one of {accepted}. "
            f"Received: {name}={value!r}."
        )


def check_instance(name, value, kind):
    if not isinstance(value, kind):
        raise ValueError(
            f"Argument `{name}` must be a `{kind.__name__}`. "
            f"Received: {name}={value!r}."
        )


def head_width(width, num_heads, head_dim):
    """`head_dim`, or by default each head's equal share of the width."""
    if head_dim is None and width % num_heads:
        raise ValueError(
            "Without `head_dim`, the input's width must be a multiple of "
            f"`num_heads`. Received: width {width}, num_heads={num_heads}."
        )
    return head_dim or width // num_heads


def check_mask(mask, shape, layer_name):
    """A boolean tensor `(batch, length)`; `shape` may have unknowns."""
    dtype = getattr(mask, "dtype", None)
    if dtype is None or keras.backend.standardize_dtype(dtype) != "bool":
        raise ValueError(
            f"Argument `mask` of layer '{layer_name}' must be a boolean "
            f"tensor. Received: {type(mask).__name__} of dtype {dtype}."
        )
    if not same_shape(tuple(mask.shape), tuple(shape)):
        raise ValueError(
            f"Argument `mask` of layer '{layer_name}' must have the inputs' "
            f"shape (batch, length), {tuple(shape)}. "
            f"Received: shape {tuple(mask.shape)}."
        )


def check_padding_mask(padding_mask, token_ids):
    """Raise a ValueError unless both have one shape; either may be symbolic."""
    shapes = tuple(tuple(x.shape) for x in (padding_mask, token_ids))
    if not same_shape(*shapes):
        raise ValueError(
            "Argument `padding_mask` must have the shape of `token_ids`, "
            f"{shapes[1]}. Received: shape {shapes[0]}."
        )


def same_shape(one, other):
    """Whether two shapes can be the same; None is any number."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b
        for a, b in zip(one, other, strict=True)
    )


def check_key_value_heads(num_key_value_heads, num_heads):
    """Raise a ValueError unless they can be shared; None means one for each."""
    if num_key_value_heads is None:
        return
    check_positive_integer("num_key_value_heads", num_key_value_heads)
    if num_heads % num_key_value_heads:
        raise ValueError(
            "Argument `num_key_value_heads` must divide `num_heads`. "
            f"Received: num_heads={num_heads}, "
            f"num_key_value_heads={num_key_value_heads}."
        )
