"""How much of a state each head keeps at each token, as in Mamba-2."""

import math

import keras
from keras import ops

from benchmarks.baselines.mixer import Drawn


class DecayGate(keras.layers.Layer):
    """A step's length for each token and head, and the decay over it.

        step = softplus(logit + step_bias)
        log(decay) = -exp(log_rate) * step

    At the start, steps are between 0.001 and 0.1, uniform in the logarithm,
    and rates between 1 and 16.

    Call arguments:
        logits: `(batch, tokens, heads)`.

    Returns:
        The steps and the logarithms of the decays, as `logits`.
    """

    def build(self, input_shape):
        for name, initializer in (
            ("step_bias", Drawn(_step_bias, math.log(1e-3), math.log(1e-1))),
            ("log_rate", Drawn(ops.log, 1.0, 16.0)),
        ):
            weight = self.add_weight(
                shape=input_shape[-1:], initializer=initializer, name=name
            )
            setattr(self, name, weight)

    def call(self, logits):
        step = ops.softplus(logits + self.step_bias)
        return step, -ops.exp(self.log_rate) * step


def _step_bias(log_step):
    """Whose softplus is the step."""
    return ops.log(ops.expm1(ops.exp(log_step)))
