"""Titans' update rule: gradient descent with momentum and forgetting."""

import keras
from keras import ops
from keras import regularizers

from keras_titans.memory.gate import Gate
from keras_titans.memory.gate import Spread
from keras_titans.memory.gate import check_gate
from keras_titans.memory.gate import gate_config
from keras_titans.memory.update_rule import UpdateRule
from keras_titans.memory.update_rule import zeros_of
from keras_titans.ops.decay import chunk_decay
from keras_titans.validation import check_bool
from keras_titans.validation import check_choice
from keras_titans.validation import check_positive
from keras_titans.validation import check_regularizer
from keras_titans.validation import if_given

# Gates never change, so that signatures can show the defaults.
LEARNING_RATE = Gate(initial=Spread(0.1, 0.5), threshold=0.1)
MOMENTUM = Gate(maximum=0.5, initial=0.25)
FORGETTING = Gate(initial=Spread(1e-5, 1e-2))


@keras.saving.register_keras_serializable("keras_titans")
class Titans(UpdateRule):
    """Gradient descent with momentum and forgetting (equations 13 and 14).

    For every token `t` and every head, with the gradient `g_t`:

        S_t = eta_t * S_{t-1} - theta_t * g_t
        W_t = (1 - alpha_t) * W_{t-1} + alpha_t * W_0 + S_t

    `W_0` is the learned initial memory; the paper has no `alpha_t * W_0`
    (`forget_to="zero"`). The rate theta comes from the learning rate:

        theta = learning_rate * (1 - eta) * (1 - alpha) / slope

    with the objective's slope, 2 for the squared error. Then the learning
    rate is the share of the error that one write corrects at a unit key.

    A matrix memory is bounded, for every sequence of tokens, if

        learning_rate * momentum / (1 - momentum) <= 1

    at the maxima of both gates. The defaults satisfy it, and so do a
    momentum of 0.9 and a learning rate of 0.1.

    Args:
        learning_rate: float or `Gate`. How much of the error one write
            corrects. A number is the same for every token. Defaults to
            `Gate(initial=Spread(0.1, 0.5), threshold=0.1)`: most tokens write
            little at first, and some need not be written at all.
        momentum: float, `Gate` or None. `eta`, what is left of the momentum
            after a token. None or 0: no momentum. Defaults to
            `Gate(maximum=0.5, initial=0.25)`.
        forgetting: float, `Gate` or None. `alpha`, how much of the memory is
            forgotten at a token. At `1e-5` half is left after 70,000 tokens,
            at `1e-2` after 70. None or 0: nothing is forgotten. Defaults to
            `Gate(initial=Spread(1e-5, 1e-2))`.
        normalize_learning_rate: bool. If False, `theta` is the learning rate
            itself, as in the paper. It diverges where `slope * theta / (1 -
            eta)` exceeds 2. Defaults to `True`.
        forget_to: `"initial"` or `"zero"`. What the memory decays to: the
            learned initial memory, or nothing. Defaults to `"initial"`.
        clipnorm: float or None. A gradient with a larger norm is scaled down
            to it. Needs `anchor="chunk"`. Defaults to `None`.
        write_regularizer: A `keras.regularizers.Regularizer` of the learning
            rate's gate. In training, its value over all tokens and heads,
            divided by their number, is added to the loss. With `L1(0.3)` the
            memory learns not to write tokens that help nothing later.
            Defaults to `None`.

    Example:

    ```python
    import keras
    import keras_titans

    rule = keras_titans.memory.Titans(
        momentum=0.9, write_regularizer=keras.regularizers.L1(0.3)
    )
    layer = keras_titans.layers.NeuralMemory(num_heads=2, update_rule=rule)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 3.1
    """

    def __init__(
        self,
        learning_rate: float | Gate = LEARNING_RATE,
        momentum: float | Gate | None = MOMENTUM,
        forgetting: float | Gate | None = FORGETTING,
        normalize_learning_rate: bool = True,
        forget_to: str = "initial",
        clipnorm: float | None = None,
        write_regularizer: regularizers.Regularizer | None = None,
    ):
        self.learning_rate = check_gate(
            "learning_rate", learning_rate, none=False
        )
        self.momentum = check_gate("momentum", momentum, high=1)
        self.forgetting = check_gate("forgetting", forgetting, high=1)
        self.normalize_learning_rate = check_bool(
            "normalize_learning_rate", normalize_learning_rate
        )
        self.forget_to = check_choice(
            "forget_to", forget_to, ("initial", "zero")
        )
        self.clipnorm = if_given(check_positive, "clipnorm", clipnorm)
        self.write_regularizer = check_regularizer(
            "write_regularizer", write_regularizer
        )
        if write_regularizer is not None and not isinstance(
            self.learning_rate, Gate
        ):
            raise ValueError(
                "Argument `write_regularizer` needs a `Gate` as "
                "`learning_rate`: a constant cannot be learned. Received: "
                f"learning_rate={learning_rate!r}."
            )
        self.linear = self.clipnorm is None
        self.gates = {
            name: gate
            for name in ("learning_rate", "momentum", "forgetting")
            if (gate := getattr(self, name)) is not None
        }

    def step(self, state, gates, gradient, initial, slope):
        memory = state["memory"]
        theta = self._theta(gates, slope)
        gradients = gradient(memory)
        scale = self.scale_of(gradient.norm)
        if scale is not None:
            theta = theta * scale[..., None, None]
        new = [-theta * g for g in gradients]
        after = {}
        if self.momentum is not None:
            eta = gates["momentum"].value
            new = [
                eta * s + x for s, x in zip(state["momentum"], new, strict=True)
            ]
            after["momentum"] = new
        if self.forgetting is not None:
            alpha = gates["forgetting"]
            memory = [alpha.complement * w for w in memory]
            if self.forget_to == "initial":
                memory = [
                    w + alpha.value * w0
                    for w, w0 in zip(memory, initial, strict=True)
                ]
        after["memory"] = [w + s for w, s in zip(memory, new, strict=True)]
        return after

    def coefficients(self, gates, mask, slope):
        log_momentum = log_retention = None
        if self.momentum is not None:
            log_momentum = gates["momentum"].log
        if self.forgetting is not None:
            log_retention = gates["forgetting"].log_complement
        decay = chunk_decay(
            self._theta(gates, slope), log_momentum, log_retention, mask
        )
        if self.forgetting is None or self.forget_to == "zero":
            return decay
        return decay._replace(initial=1.0 - decay.memory)

    def _theta(self, gates, slope):
        theta = gates["learning_rate"].value
        if not self.normalize_learning_rate:
            return theta
        theta = theta / slope
        for name in ("momentum", "forgetting"):
            if name in self.gates:
                theta = theta * gates[name].complement
        return theta

    def scale_of(self, norms):
        if self.clipnorm is None:
            return None
        return self.clipnorm / ops.maximum(norms, self.clipnorm)

    def initial_state(self, memory):
        state = {"memory": memory}
        if self.momentum is not None:
            state["momentum"] = zeros_of(memory)
        return state

    @property
    def has_write_cost(self):
        return self.write_regularizer is not None

    def write_cost(self, gates):
        return self.write_regularizer(gates["learning_rate"])

    def get_config(self):
        return {
            "learning_rate": gate_config(self.learning_rate),
            "momentum": gate_config(self.momentum),
            "forgetting": gate_config(self.forgetting),
            "normalize_learning_rate": self.normalize_learning_rate,
            "forget_to": self.forget_to,
            "clipnorm": self.clipnorm,
            "write_regularizer": regularizers.serialize(self.write_regularizer),
        }
