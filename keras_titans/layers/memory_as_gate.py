"""Memory as gate (MAG)."""

import keras

from keras_titans.layers.gated_attention_and_memory import (
    GatedAttentionAndMemory,
)
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import finite_or_zero


@keras.saving.register_keras_serializable("keras_titans")
class MemoryAsGate(GatedAttentionAndMemory):
    """Titans' memory as gate (MAG): attention and memory side by side.

    With learned tokens `p` before the sequence `x`, the attention's window
    `w` and the memory `M`, one gates the other:

        y = attention_w([p, x])
        m = M([p, x])
        o = norm(y) * sigmoid(norm(m))

    (equations 26 to 28; both norms have learned scales). The attention sees
    the learned tokens from everywhere, the memory reads them first.

    A token that holds NaN or infinity is NaN in the outputs and in the
    diagnostics. The memory does not read it, the attention sees zeros in its
    place, so that other tokens and the state stay finite.

    Args:
        num_heads: int. Heads of the attention.
        window_size: int. Tokens of the attention's window.
        memory: `NeuralMemory`, `SlotMemory` or another memory layer. Defaults
            to `NeuralMemory()`.
        num_persistent_tokens: int. Learned tokens before the sequence.
            Defaults to `4`.
        head_dim: int. Width of each head of the attention. Defaults to the
            input's width divided by `num_heads`.
        num_key_value_heads: int. Heads of the attention's keys and values, as
            `WindowedAttention`'s. Defaults to `num_heads`.
        gate_activation: str or callable. The activation of the memory's
            output, where it gates. Defaults to `"sigmoid"`.
        kernel_initializer: str or Keras initializer. For the attention's
            projections. Defaults to `"glorot_uniform"`.
        return_state: bool. Whether to return the state after the outputs.
            Defaults to `False`.
        stateful: bool. Whether a call starts where the last one ended.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask, initial_state, training, update, return_diagnostics,
            return_state: As `NeuralMemory`'s. Masked tokens are as if they
            were not there.

    Returns:
        The outputs `(batch, length, width)` in the compute dtype; where asked
        for, the memory's diagnostics; where `return_state`, the state: a
        dictionary of the attention's and the memory's.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 32))
    mixer = keras_titans.layers.MemoryAsGate(2, window_size=16)
    block = keras_titans.layers.TitansBlock(mixer, intermediate_dim=64)
    model = keras.Model(inputs, block(inputs))

    layer = keras_titans.layers.MemoryAsGate(
        2, window_size=16, return_state=True
    )
    x = keras.random.normal((2, 50, 32))
    first, state = layer(x[:, :20])
    second, state = layer(x[:, 20:], initial_state=state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 4.2
    """

    def mix(self, x, state, count, training, update, return_diagnostics):
        state = state or {}
        y, _, attention = self.attention.mix(
            x, state.get("attention"), count, prefix=self.prefix
        )
        m, diagnostics, memory = self.remember(
            x, state.get("memory"), count, training, update, return_diagnostics
        )
        (y, m), finite = finite_or_zero([y, m])
        y = blank_tokens(self.gated(self.attention_norm(y), m), finite)
        if not state:
            return y, diagnostics, None
        return y, diagnostics, {"attention": attention, "memory": memory}
