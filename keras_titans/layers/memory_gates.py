"""The gates of a memory's update rule, one scalar a token and head."""

import keras
import numpy as np
from keras import initializers
from keras import ops

# A gate starts nearly alike for every token, however steep it is, so that
# recall is learned in half the steps: what is written first is a matter of keys
# and values alone.
INITIAL_SCALE = 0.01


class GateMap(keras.layers.Dense):
    """A dense map that stays as it is when a model is quantised.

    It is as small as it is sensitive: its outputs are rates that compound
    over thousands of tokens.
    """

    def quantize(self, *args, **kwargs):
        # What Keras takes for a layer that knows no such thing.
        raise AttributeError("The gates of a memory are not quantised.")


class MemoryGates(keras.layers.Layer):
    """A dense map of the token for each gate that the update rule uses."""

    def __init__(self, num_heads, update_rule, slope, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.update_rule = update_rule
        self.slope = slope

    def build(self, input_shape):
        self.maps = {}
        for name, start in self.update_rule.initial_logits().items():
            self.maps[name] = GateMap(
                self.num_heads,
                kernel_initializer=initializers.VarianceScaling(
                    INITIAL_SCALE / self.update_rule.gate_scale**2,
                    "fan_avg",
                    "uniform",
                ),
                bias_initializer=initializers.Constant(
                    _by_head(start, self.num_heads)
                ),
                dtype=self.dtype_policy,
                name=name,
            )
            self.maps[name].build(input_shape)

    def call(self, inputs):
        """What `UpdateRule.gates` returns, `(batch, tokens, num_heads)`."""
        # Not of the bias: it stays where it starts until it is learned.
        x = self.update_rule.gate_scale * inputs
        logits = {name: dense(x) for name, dense in self.maps.items()}
        theta, log_momentum, log_retention = self.update_rule.gates(
            logits, self.slope
        )
        if not hasattr(theta, "shape"):
            rows, tokens = ops.shape(inputs)[:2]
            theta = ops.full(
                (rows, tokens, self.num_heads), theta, self.compute_dtype
            )
        return theta, log_momentum, log_retention


def _by_head(start, num_heads):
    """A number, or from the pair a number for each head, in equal steps."""
    if isinstance(start, (list, tuple)):
        first, last = start
        return np.linspace(first, last, num_heads).tolist()
    return start
