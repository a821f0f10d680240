"""Gates: numbers between 0 and a maximum that depend on the token."""

import functools
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_titans.validation import check_between
from keras_titans.validation import check_positive
from keras_titans.validation import check_threshold

# The smallest number whose logarithm is taken.
TINY = 1e-30


@keras.saving.register_keras_serializable("keras_titans")
class Spread:
    """One initial value for each head, from the first head's to the last's.

    The logits lie in equal steps. A single head gets the first value.

    Args:
        first: float. The first head's value.
        last: float. The last head's value.

    Example:

    ```python
    forgetting = keras_titans.memory.Gate(
        initial=keras_titans.memory.Spread(1e-5, 1e-2)
    )
    ```
    """

    def __init__(self, first: float, last: float):
        self.first = check_positive("first", first)
        self.last = check_positive("last", last)

    def __repr__(self):
        return f"Spread({self.first}, {self.last})"

    def get_config(self):
        return {"first": self.first, "last": self.last}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("keras_titans")
class Gate:
    """A number that depends on the token, one for each head.

        z = logit_scale * x W + b
        gate = maximum * max(sigmoid(z) - threshold, 0) / (1 - threshold)

    `W` and `b` are learned: `W` starts small, so a gate starts nearly alike
    for every token. A larger `logit_scale` makes it learn faster.

    Args:
        maximum: float. The upper end of the gate. Defaults to `1.0`.
        initial: float, a sequence with one float for each head, or a
            `Spread`. The gate's value before training, strictly between 0
            and `maximum`. Defaults to half of `maximum`.
        logit_scale: float. The factor on the gate's logits. Defaults to
            `5.0`.
        threshold: float in [0, 1). Where the sigmoid is below it, the gate is
            exactly 0. Its gradient goes on there, so a closed gate can open
            again. Defaults to `0.0`: the gate is never exactly 0.

    Example:

    ```python
    rule = keras_titans.memory.Titans(
        learning_rate=keras_titans.memory.Gate(initial=0.1, threshold=0.1),
        momentum=None,
    )
    layer = keras_titans.layers.NeuralMemory(num_heads=2, update_rule=rule)
    ```
    """

    def __init__(
        self,
        maximum: float = 1.0,
        initial: "float | Sequence[float] | Spread | None" = None,
        logit_scale: float = 5.0,
        threshold: float = 0.0,
    ):
        self.maximum = check_positive("maximum", maximum)
        self.initial = self._checked_initial(initial)
        self.logit_scale = check_positive("logit_scale", logit_scale)
        self.threshold = check_threshold("threshold", threshold)

    def _checked_initial(self, initial):
        if initial is None:
            return self.maximum / 2.0
        if isinstance(initial, dict) and "class_name" in initial:
            initial = keras.saving.deserialize_keras_object(initial)
        check = lambda x: check_between("initial", x, 0, self.maximum)
        if isinstance(initial, Spread):
            check(initial.first)
            check(initial.last)
            return initial
        if isinstance(initial, np.ndarray):
            initial = initial.tolist()
        if isinstance(initial, list | tuple) and len(initial):
            return [check(x) for x in initial]
        return check(initial)

    def initial_logits(self, num_heads: int) -> list[float]:
        """The logit that each head starts from."""
        if isinstance(self.initial, Spread):
            first = self._logit(self.initial.first)
            last = self._logit(self.initial.last)
            return np.linspace(first, last, num_heads).tolist()
        if not isinstance(self.initial, list):
            return [self._logit(self.initial)] * num_heads
        if len(self.initial) != num_heads:
            raise ValueError(
                "Argument `initial` of `Gate` must have one value for each of "
                f"the {num_heads} heads. Received: initial={self.initial}."
            )
        return [self._logit(x) for x in self.initial]

    def _logit(self, value):
        share = value / self.maximum
        share = self.threshold + (1.0 - self.threshold) * share
        return math.log(share / (1.0 - share))

    def values(self, logits) -> "GateValues":
        """The gate's values at its logits."""
        return GateValues(self, logits)

    def __repr__(self):
        return (
            f"Gate(maximum={self.maximum}, initial={self.initial}, "
            f"logit_scale={self.logit_scale}, threshold={self.threshold})"
        )

    def get_config(self):
        initial = self.initial
        if isinstance(initial, Spread):
            initial = keras.saving.serialize_keras_object(initial)
        return {
            "maximum": self.maximum,
            "initial": initial,
            "logit_scale": self.logit_scale,
            "threshold": self.threshold,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class GateValues:
    """A gate `g` at some tokens, in the forms that rules compute with.

    Each form is exact where the others round: `complement` where the gate is
    nearly 1, the logarithms where many gates are multiplied.

    Attributes:
        value: `g`.
        complement: `1 - g`.
        log: `log(g)`.
        log_complement: `log(1 - g)`.
    """

    def __init__(self, gate, logits):
        self._gate = gate
        self._logits = logits

    @functools.cached_property
    def value(self):
        threshold = self._gate.threshold
        share = ops.sigmoid(self._logits)
        if threshold:
            share = _opening(share - threshold) / (1.0 - threshold)
        return self._gate.maximum * share

    @functools.cached_property
    def complement(self):
        maximum = self._gate.maximum
        if self._gate.threshold:
            return 1.0 - self.value
        return (1.0 - maximum) + maximum * ops.sigmoid(-self._logits)

    @functools.cached_property
    def log(self):
        if self._gate.threshold:
            return ops.log(ops.maximum(self.value, TINY))
        return ops.log_sigmoid(self._logits) + math.log(self._gate.maximum)

    @functools.cached_property
    def log_complement(self):
        if self._gate.threshold or self._gate.maximum != 1.0:
            return ops.log(ops.maximum(self.complement, TINY))
        return ops.log_sigmoid(-self._logits)


class ConstantValues:
    """A constant where a rule looks for `GateValues`.

    Args:
        number: float. The constant.
        like: A tensor with the shape and the dtype of the values.
    """

    def __init__(self, number, like):
        self._number = number
        self._like = like

    def _filled(self, number):
        return ops.full_like(self._like, number)

    @functools.cached_property
    def value(self):
        return self._filled(self._number)

    @functools.cached_property
    def complement(self):
        return self._filled(1.0 - self._number)

    @functools.cached_property
    def log(self):
        return self._filled(math.log(max(self._number, TINY)))

    @functools.cached_property
    def log_complement(self):
        return self._filled(math.log(max(1.0 - self._number, TINY)))


def check_gate(name, value, high=None, none=True):
    """What a rule takes for a gate: a number, a `Gate`, or None for off.

    Args:
        name: The argument's name.
        value: Its value.
        high: What a gate's maximum, or a number, must not exceed; None for
            no bound. A number must be below it.
        none: Whether the gate may be off.

    Returns:
        A `Gate`, a positive float, or None for None and for 0.
    """
    if isinstance(value, dict) and "class_name" in value:
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, Gate):
        if high is not None and value.maximum > high:
            raise ValueError(
                f"Argument `{name}` must be a `Gate` with a maximum of at "
                f"most {high}. Received: {name}={value!r}."
            )
        return value
    fits = (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool | np.bool_)
        and math.isfinite(value)
        and value >= 0
        and (high is None or value < high)
    )
    if none and (value is None or (fits and value == 0)):
        return None
    if not fits or value == 0:
        bound = "" if high is None else f" below {high}"
        off = ", a `Gate`, or None for off" if none else " or a `Gate`"
        raise ValueError(
            f"Argument `{name}` must be a number{bound}{off}. A number is "
            "constant; a `Gate` depends on the token. "
            f"Received: {name}={value!r}."
        )
    return float(value)


def gate_config(value):
    """A gate as a configuration has it."""
    if isinstance(value, Gate):
        return keras.saving.serialize_keras_object(value)
    return value


def _opening(above):
    """`relu(above)`, whose slope is 1 on either side."""
    return above + ops.stop_gradient(ops.relu(above) - above)
