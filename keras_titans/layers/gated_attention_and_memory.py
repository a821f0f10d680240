"""Attention whose output the memory's gates: MAC and MAG."""

import keras
from keras import activations

from keras_titans.layers.attention_and_memory import AttentionAndMemory
from keras_titans.validation import check_activation


class GatedAttentionAndMemory(AttentionAndMemory):
    """An `AttentionAndMemory` with `o = norm(y) * gate(norm(m))`.

    Args:
        num_heads, window_size: As `AttentionAndMemory`'s.
        gate_activation: Of the memory's output, where it gates.
        **kwargs: As `AttentionAndMemory`'s.
    """

    def __init__(
        self,
        num_heads,
        window_size,
        memory=None,
        num_persistent_tokens=4,
        head_dim=None,
        num_key_value_heads=None,
        gate_activation="sigmoid",
        kernel_initializer="glorot_uniform",
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(
            num_heads,
            window_size,
            memory=memory,
            num_persistent_tokens=num_persistent_tokens,
            head_dim=head_dim,
            num_key_value_heads=num_key_value_heads,
            kernel_initializer=kernel_initializer,
            return_state=return_state,
            stateful=stateful,
            **kwargs,
        )
        self.gate_activation = check_activation(
            "gate_activation", gate_activation
        )

    def build(self, input_shape):
        self.attention_norm, self.memory_norm = (
            keras.layers.RMSNormalization(dtype=self.dtype_policy, name=name)
            for name in ("attention_norm", "memory_norm")
        )
        super().build(input_shape)

    def gated(self, y, m):
        """The attention's normalised output, gated by the memory's."""
        return y * self.gate_activation(self.memory_norm(m))

    def get_config(self):
        return {
            **super().get_config(),
            "gate_activation": activations.serialize(self.gate_activation),
        }
