"""Mamba-2: a state-space model with one decay a head, in its dual form.

Legend: `B` batch, `N` tokens, `H` heads, `P` head width, `S` state width, `b`
tokens of a chunk, `n` chunks.
"""

import keras
from keras import ops

from benchmarks.baselines.decay_gate import DecayGate
from benchmarks.baselines.mixer import Mixer
from benchmarks.baselines.mixer import join_heads
from benchmarks.baselines.mixer import split_heads
from benchmarks.baselines.recurrence import chunk_layout
from benchmarks.baselines.recurrence import states_before
from keras_titans.ops.alignment import pad_tokens
from keras_titans.ops.decay import chunk_decay
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.sequence import from_chunks
from keras_titans.ops.sequence import to_chunks
from keras_titans.validation import check_positive_integer
from keras_titans.validation import head_width


@keras.saving.register_keras_serializable("keras_titans_baselines")
class Mamba2(Mixer):
    """The Mamba-2 block.

    One projection gives gate `z`, values `x`, keys `B`, queries `C` and, for
    each head, the length `dt` of the step; `x`, `B` and `C` go through a
    short causal convolution and SiLU. With one decay `A < 0` a head:

        h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T
        y_t = h_t^T C_t + D x_t

    Then `norm(y * silu(z))` and a last projection. `B` and `C` are the same
    for all heads.

    Args:
        num_heads: `H`.
        expansion: Width of the values in all, as many times the input's.
        state_dim: `S`.
        kernel_size: Taps of the short causal convolution.
        chunk_size: `b`: tokens that are computed together. The result does
            not depend on it.
        **kwargs: As `Mixer`'s.

    Call arguments:
        inputs, mask, initial_state, training, return_state: As `Mixer`'s.

    Returns:
        As `Mixer`'s; the state has `"convolution"`, `(batch, kernel_size - 1,
        expansion * width + 2 * state_dim)`, and `"memory"`, `(batch,
        num_heads, state_dim, head width)`.

    References:
        - [Transformers are SSMs](https://arxiv.org/abs/2405.21060), sections
            6 and 7
    """

    def __init__(
        self,
        num_heads,
        expansion=2,
        state_dim=128,
        kernel_size=4,
        chunk_size=64,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (
            ("num_heads", num_heads),
            ("expansion", expansion),
            ("state_dim", state_dim),
            ("kernel_size", kernel_size),
            ("chunk_size", chunk_size),
        ):
            check_positive_integer(name, value)
            setattr(self, name, value)

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        inner = self._inner = self.expansion * width
        self._head_dim = head_width(inner, self.num_heads, None)
        self._mixed = inner + 2 * self.state_dim
        self.in_projection = self.add_dense(
            inner + self._mixed + self.num_heads, width, "in_projection"
        )
        self.convolution = self.add_convolution(
            self.kernel_size, self._mixed, "convolution"
        )
        # float32 like the state: a decay of nearly 1 compounds.
        self.gate = DecayGate(dtype=self.state_dtype, name="gate")
        self.gate.build((None, None, self.num_heads))
        self.skip = self.add_weight(
            shape=(self.num_heads,), initializer="ones", name="skip"
        )
        self.norm = self.add_norm(inner, "norm")
        self.output_projection = self.add_dense(width, inner, "output")
        self.build_state(input_shape[0])

    def mix(self, x, state, count):
        carried = state or {}
        z, mixed, logits = ops.split(
            self.in_projection(x),
            [self._inner, self._inner + self._mixed],
            axis=-1,
        )
        mixed, tail = self.convolution(mixed, carried.get("convolution"), count)
        value, key, query = ops.split(
            self.precise(ops.silu(mixed)),
            [self._inner, self._inner + self.state_dim],
            axis=-1,
        )
        value = split_heads(value, self.num_heads)
        real = self.real(x, count)
        step, log_decay = self.gate(self.precise(logits))
        y, memory = state_space_dual(
            query,
            key,
            value,
            step * real,
            log_decay * real,
            carried.get("memory"),
            self.chunk_size,
        )
        y = y + self.precise(self.skip)[:, None] * value
        y = ops.cast(join_heads(y), self.compute_dtype)
        if state is not None:
            state = {"convolution": self.precise(tail), "memory": memory}
        y = self.norm(y * ops.silu(z))
        return self.output_projection(y), None, state

    def state_spec(self, batch_size):
        return {
            "convolution": self.carried(
                batch_size, self.kernel_size - 1, self._mixed
            ),
            "memory": self.carried(
                batch_size, self.num_heads, self.state_dim, self._head_dim
            ),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "expansion": self.expansion,
            "state_dim": self.state_dim,
            "kernel_size": self.kernel_size,
            "chunk_size": self.chunk_size,
        }


def state_space_dual(query, key, value, step, log_decay, start, chunk_size):
    """`h_t = decay_t h_{t-1} + step_t k_t v_t^T`, read as `h_t^T q_t`.

    Within chunks in matrix products, all chunks at once; from chunk to chunk
    `n` additions follow one another.

    Args:
        query, key: `(B, N, S)`.
        value: `(B, N, H, P)`.
        step: `(B, N, H)`.
        log_decay: `(B, N, H)`.
        start: `h` before the first token, `(B, H, S, P)`, or None for 0.
        chunk_size: `b`.

    Returns:
        What was read, `(B, N, H, P)`, and `h` after the last token.
    """
    length = ops.shape(value)[1]
    size, slots = chunk_layout(length, chunk_size)
    cut = lambda x: to_chunks(pad_tokens(x, slots), size)
    query, key = cut(query[:, :, None]), cut(key[:, :, None])  # (n, B, 1, b, S)
    value = cut(value)  # (n, B, H, b, P)
    decay = chunk_decay(cut(step), None, cut(log_decay), 1.0)
    key_across = ops.swapaxes(key, -1, -2)
    match = ops.matmul(query, key_across) * decay.surprise  # (n, B, H, b, b)
    at_end = scale_rows(value, decay.surprise[..., -1, :])
    before, last = states_before(
        decay.memory[..., -1:, None], ops.matmul(key_across, at_end), start
    )
    read = ops.matmul(match, value)
    read += scale_rows(ops.matmul(query, before), decay.memory)
    return from_chunks(read)[:, :length], last
