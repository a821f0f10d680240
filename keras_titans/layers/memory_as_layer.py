"""Memory as layer (MAL)."""

import keras
from keras import ops

from keras_titans.layers.attention_and_memory import AttentionAndMemory
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import finite_or_zero
from keras_titans.validation import check_bool


@keras.saving.register_keras_serializable("keras_titans")
class MemoryAsLayer(AttentionAndMemory):
    """Titans' memory as layer (MAL): attention over a memory's outputs.

    With learned tokens `p` before the sequence `x`, the attention's window
    `w` and the memory `M`:

        m = M([p, x])
        o = m + attention_w(norm([p, x] + m))

    (equations 29 to 31). The attention sees the learned tokens from
    everywhere. The residuals are as around any layer of a decoder, and are
    left out in the equations as the others are: there `o = attention_w(m)`,
    and what the memory retrieved reaches the output only if the attention has
    learned to look at the token itself.

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
        residual: bool. Whether the residuals are there. If not, the
            attention's input is `m`, not normalised. Defaults to `True`.
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
    mixer = keras_titans.layers.MemoryAsLayer(2, window_size=16)
    block = keras_titans.layers.TitansBlock(mixer, intermediate_dim=64)
    model = keras.Model(inputs, block(inputs))

    layer = keras_titans.layers.MemoryAsLayer(
        2, window_size=16, return_state=True
    )
    x = keras.random.normal((2, 50, 32))
    first, state = layer(x[:, :20])
    second, state = layer(x[:, 20:], initial_state=state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 4.3
    """

    attention_entry = "attention_over_memory"

    def __init__(
        self,
        num_heads,
        window_size,
        memory=None,
        num_persistent_tokens=4,
        head_dim=None,
        num_key_value_heads=None,
        residual=True,
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
        self.residual = check_bool("residual", residual)

    def build(self, input_shape):
        if self.residual:
            self.attention_norm = keras.layers.RMSNormalization(
                dtype=self.dtype_policy, name="attention_norm"
            )
        super().build(input_shape)

    def mix(self, x, state, count, training, update, return_diagnostics):
        state = state or {}
        m, diagnostics, memory = self.remember(
            x, state.get("memory"), count, training, update, return_diagnostics
        )
        prefix = state.get("prefix")
        if prefix is None and self.persistent_tokens is not None:
            prefix, _ = self.read_prefix()
        z = m
        if self.residual:
            (x, m), finite = finite_or_zero([x, m])
            z = blank_tokens(self.attention_norm(x + m), finite)
            if prefix is not None:
                prefix = self.attention_norm(self.prefix + prefix)
        y, _, attention = self.attention.mix(
            z, state.get(self.attention_entry), count, prefix=prefix
        )
        if self.residual:
            y = m + y
        if not state:
            return y, diagnostics, None
        after = {self.attention_entry: attention, "memory": memory}
        if "prefix" in state:
            after["prefix"] = state["prefix"]
        return y, diagnostics, after

    def state_spec(self, batch_size):
        spec = super().state_spec(batch_size)
        if self.persistent_tokens is not None:
            spec["prefix"] = keras.KerasTensor(
                (batch_size, self.num_persistent_tokens, self.width),
                self.compute_dtype,
            )
        return spec

    def get_initial_state(self, batch_size):
        """The state before anything was read but the persistent tokens.

        What the memory gave these is a part of it, because the attention goes
        on seeing them.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary, as a call returns it.
        """
        state = super().get_initial_state(batch_size)
        if self.persistent_tokens is not None:
            prefix, _ = self.read_prefix()
            state["prefix"] = ops.broadcast_to(
                prefix[None], (batch_size, *prefix.shape)
            )
        return state

    def get_config(self):
        return {**super().get_config(), "residual": self.residual}
