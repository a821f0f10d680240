"""Checks of arguments, with errors that say what to pass instead.

A check of one argument returns what to keep of it: a Python number for
NumPy's, and an object for its name or for its serialised form.
"""

import contextlib
import math
import numbers

import keras
import numpy as np


def if_given(check, name, value):
    """None for None, and for all else what the check returns."""
    return None if value is None else check(name, value)


def check_bool(name, value, instead=""):
    """True or False, and nothing that Python would take for it.

    Args:
        name: The argument's name.
        value: Its value.
        instead: A sentence that says where a number would go.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(
            f"Argument `{name}` must be True or False. {instead}"
            f"Received: {name}={value!r}."
        )
    return bool(value)


def check_positive_integer(name, value):
    return _integer(name, value, 1)


def check_whole_number(name, value):
    return _integer(name, value, 0)


def check_positive(name, value):
    return _number(name, value, lambda x: x > 0, "a positive number")


def check_between(name, value, low, high):
    """Strictly between the two."""
    return _number(
        name,
        value,
        lambda x: low < x < high,
        f"a number that lies strictly between {low} and {high}",
    )


def check_threshold(name, value):
    return _number(
        name,
        value,
        lambda x: 0 <= x < 1,
        "a number that is at least 0 and below 1",
    )


def check_at_least_one(name, value):
    return _number(name, value, lambda x: x >= 1, "a number of at least 1")


def check_choice(name, value, choices):
    """One of some strings."""
    if not isinstance(value, str) or value not in choices:
        accepted = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"Argument `{name}` must be one of {accepted}. "
            f"Received: {name}={value!r}."
        )
    return value


def check_instance(name, value, kind):
    """An object of a class; also from its serialised form."""
    if isinstance(value, dict) and "class_name" in value:
        value = keras.saving.deserialize_keras_object(value)
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ValueError(
            f"Argument `{name}` must be {article} `{kind.__name__}`. "
            f"Received: {name}={value!r}."
        )
    return value


def check_activation(name, value):
    return _keras_object(
        name,
        value,
        keras.activations,
        callable,
        "a function of a tensor, or the name of a Keras activation such as "
        "'silu'",
    )


def check_initializer(name, value):
    return _keras_object(
        name,
        value,
        keras.initializers,
        lambda found: isinstance(found, keras.initializers.Initializer),
        "a Keras initializer, or the name of one such as 'glorot_uniform'",
    )


def check_regularizer(name, value):
    return _keras_object(
        name,
        value,
        keras.regularizers,
        lambda found: found is None or callable(found),
        "a Keras regularizer, the name of one such as 'l2', or None",
    )


def check_constraint(name, value):
    return _keras_object(
        name,
        value,
        keras.constraints,
        lambda found: found is None or callable(found),
        "a Keras constraint, the name of one such as 'non_neg', or None",
    )


def check_dtype(name, value):
    """A dtype policy, by default Keras' own."""
    return _keras_object(
        name,
        value,
        keras.dtype_policies,
        lambda found: "float" in found.compute_dtype,
        "a floating-point dtype policy, the name of one such as "
        "'mixed_bfloat16', or None",
    )


def check_unknown(owner, others, accepted):
    """Raise a TypeError for a keyword argument that nobody takes.

    Keras' functional models, and so KerasHub's, drop it without a word.

    Args:
        owner: The object that is made.
        others: A dictionary, what is left of the keyword arguments.
        accepted: Names of those that are passed on.
    """
    unknown = [name for name in others if name not in accepted]
    if unknown:
        names = ", ".join(f"`{name}`" for name in accepted)
        raise TypeError(
            f"`{type(owner).__name__}` has no argument `{unknown[0]}`. "
            f"Beside those that its documentation names, it takes {names}. "
            f"Received: {unknown[0]}={others[unknown[0]]!r}."
        )


def head_width(width, num_heads, head_dim):
    """`head_dim`, or by default each head's equal share of the width."""
    if head_dim is not None:
        return head_dim
    if width % num_heads:
        raise ValueError(
            "Without `head_dim`, the input's width must be a multiple of "
            f"`num_heads`. Received: width {width}, num_heads={num_heads}."
        )
    return width // num_heads


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


def check_width(hidden_dim, num_heads):
    """Raise a ValueError unless each head has an equal share of a width."""
    if hidden_dim % num_heads:
        raise ValueError(
            "Argument `hidden_dim` must be a multiple of `num_heads`. "
            f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}."
        )


def check_texts(name, value):
    """Raise a ValueError for what cannot be a string or a batch of them.

    Tensors and data sets are left to what reads them.
    """
    texts = list(value) if isinstance(value, list | tuple) else [value]
    wrong = any(x is None or isinstance(x, numbers.Number) for x in texts)
    if wrong or not texts or isinstance(value, bytes):
        raise ValueError(
            f"Argument `{name}` must be a string, or a list of one or more "
            f"strings. Received: {name}={value!r:.60}."
        )


def check_key_value_heads(num_key_value_heads, num_heads):
    """Heads that can be shared; None means one for each."""
    name = "num_key_value_heads"
    shared = if_given(check_positive_integer, name, num_key_value_heads)
    if shared is not None and num_heads % shared:
        raise ValueError(
            "Argument `num_key_value_heads` must divide `num_heads`. "
            f"Received: num_heads={num_heads}, "
            f"num_key_value_heads={num_key_value_heads}."
        )
    return shared


def _integer(name, value, least):
    real = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not real or not least <= value < 2**31:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}, and "
            f"below 2**31. Received: {name}={value!r}."
        )
    return int(value)


def _number(name, value, fits, what):
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):  # of an integer
            number = float(value)
    if not math.isfinite(number) or not fits(number):
        raise ValueError(
            f"Argument `{name}` must be {what}. Received: {name}={value!r}."
        )
    return number


def _keras_object(name, value, module, fits, what):
    """What a module's `get` finds for a name, a configuration or an object."""
    cause = found = None
    try:
        found = module.get(value)
        # Of a number's class, say, Keras would make 0.
        fitting = fits(found) and not isinstance(found, type)
    except Exception as error:  # Keras has many for what it cannot read
        cause, fitting = error, False
    if not fitting:
        raise ValueError(
            f"Argument `{name}` must be {what}. Received: {name}={value!r}."
        ) from cause
    return found
