"""The gated delta rule."""

import keras

from keras_titans.memory.gate import Gate
from keras_titans.memory.gate import Spread
from keras_titans.memory.gate import check_gate
from keras_titans.memory.gate import gate_config
from keras_titans.memory.update_rule import UpdateRule
from keras_titans.ops.decay import chunk_decay

LEARNING_RATE = Gate()
FORGETTING = Gate(initial=Spread(1e-5, 1e-2))


@keras.saving.register_keras_serializable("keras_titans")
class GatedDelta(UpdateRule):
    """The gated delta rule: forget, then correct what is left.

    For every token `t` and every head, with the gradient `g_t` at the memory
    that has already forgotten:

        W' = (1 - alpha_t) * W_{t-1}
        W_t = W' - learning_rate / slope * g_t(W')

    For a matrix memory and the squared error (slope 2) this is

        W_t = W' + learning_rate * k_t^T (v_t - k_t W')

    It has no momentum and forgets to zero. Needs `anchor="token"`.

    Args:
        learning_rate: float or `Gate`. The share of the error that one write
            corrects. Defaults to `Gate()`.
        forgetting: float, `Gate` or None. `alpha`, how much of the memory is
            forgotten at a token. None or 0: the delta rule. Defaults to
            `Gate(initial=Spread(1e-5, 1e-2))`.

    Example:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, update_rule=keras_titans.memory.GatedDelta()
    )
    ```

    References:
        - [Gated Delta Networks](https://arxiv.org/abs/2412.06464)
    """

    token_anchor_only = True

    def __init__(
        self,
        learning_rate: float | Gate = LEARNING_RATE,
        forgetting: float | Gate | None = FORGETTING,
    ):
        self.learning_rate = check_gate(
            "learning_rate", learning_rate, none=False
        )
        self.forgetting = check_gate("forgetting", forgetting, high=1)
        self.gates = {"learning_rate": self.learning_rate}
        if self.forgetting is not None:
            self.gates["forgetting"] = self.forgetting

    def step(self, state, gates, gradient, initial, slope):
        memory = state["memory"]
        if self.forgetting is not None:
            memory = [gates["forgetting"].complement * w for w in memory]
        rate = gates["learning_rate"].value / slope
        return {
            "memory": [
                w - rate * g
                for w, g in zip(memory, gradient(memory), strict=True)
            ]
        }

    def coefficients(self, gates, mask, slope):
        rate = gates["learning_rate"].value / slope
        if self.forgetting is None:
            return chunk_decay(rate, None, None, mask)
        log_retention = gates["forgetting"].log_complement * mask
        decay = chunk_decay(rate, None, log_retention, mask)
        return decay._replace(log_retention=log_retention)

    def get_config(self):
        return {
            "learning_rate": gate_config(self.learning_rate),
            "forgetting": gate_config(self.forgetting),
        }
