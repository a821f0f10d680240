"""Checks of arguments, with errors that say what to pass instead."""


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


def check_fraction(name, value):
    """Strictly between 0 and 1: what a sigmoid can start from."""
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"Argument `{name}` must lie strictly between 0 and 1. "
            f"Received: {name}={value}."
        )


def check_choice(name, value, choices):
    if value not in choices:
        accepted = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"Argument `{name}` must be one of {accepted}. "
            f"Received: {name}={value!r}."
        )
