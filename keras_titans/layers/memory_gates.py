"""The logits of a memory's gates, one scalar a token and head."""

import keras
from keras import initializers

from keras_titans.memory.gate import Gate

# Small initial gate weights make early writes depend on keys and values only;
# recall is learned in half the steps.
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
    """A dense map of the token for each `Gate` of the update rule.

    Args:
        num_heads: int. Number of heads.
        update_rule: A `keras_titans.memory.UpdateRule`.
        **kwargs: For `keras.layers.Layer`.
    """

    def __init__(self, num_heads, update_rule, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.update_rule = update_rule

    def build(self, input_shape):
        self.maps = {}
        for name, gate in self.update_rule.gates.items():
            if not isinstance(gate, Gate):
                continue
            self.maps[name] = GateMap(
                self.num_heads,
                kernel_initializer=initializers.VarianceScaling(
                    INITIAL_SCALE / gate.logit_scale**2, "fan_avg", "uniform"
                ),
                bias_initializer=initializers.Constant(
                    gate.initial_logits(self.num_heads)
                ),
                dtype=self.dtype_policy,
                name=name,
            )
            self.maps[name].build(input_shape)

    def call(self, inputs):
        """The logits by the gates' names, each `(batch, tokens, num_heads)`."""
        # The scale is not of the bias, which is where a gate starts.
        return {
            name: dense(self.update_rule.gates[name].logit_scale * inputs)
            for name, dense in self.maps.items()
        }
