"""The gated delta rule, a chunk at a time.

Legend: `B` batch, `N` tokens, `H` heads, `K` key width, `V` value width, `b`
tokens of a chunk, `n` chunks.
"""

import keras
import numpy as np
from keras import ops

from benchmarks.baselines.decay_gate import DecayGate
from benchmarks.baselines.mixer import Mixer
from benchmarks.baselines.mixer import join_heads
from benchmarks.baselines.mixer import split_heads
from benchmarks.baselines.recurrence import chunk_layout
from benchmarks.baselines.recurrence import fresh
from keras_titans import backend
from keras_titans.ops.alignment import pad_tokens
from keras_titans.ops.decay import chunk_decay
from keras_titans.ops.rows import scale_rows
from keras_titans.ops.sequence import from_chunks
from keras_titans.ops.sequence import to_chunks
from keras_titans.ops.triangular import solve_unit_lower
from keras_titans.ops.unit import unit
from keras_titans.validation import check_positive_integer
from keras_titans.validation import head_width


@keras.saving.register_keras_serializable("keras_titans_baselines")
class GatedDelta(Mixer):
    """The gated delta network's mixer.

    Queries, keys and values go through short causal convolutions and SiLU;
    queries and keys have unit norm. With a decay `alpha` (Mamba-2's) and a
    learning rate `beta` (a sigmoid) for each token and head:

        S_t = alpha_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T
        y_t = S_t q_t

    (equation 10). Then, head by head, `norm(y) * silu(gate)`, and a last
    projection.

    Args:
        num_heads: `H`.
        head_dim: `K`. By default the input's width divided by `num_heads`.
        expansion: `V`, as many times `K`.
        kernel_size: Taps of the short causal convolutions.
        chunk_size: `b`: tokens that are computed together. The result does
            not depend on it.
        **kwargs: As `Mixer`'s.

    Call arguments:
        inputs, mask, initial_state, training, return_state: As `Mixer`'s.

    Returns:
        As `Mixer`'s; the state has `"convolution"`, a list of three `(batch,
        kernel_size - 1, channels)`, and `"memory"`, `S` transposed, `(batch,
        num_heads, head_dim, expansion * head_dim)`.

    References:
        - [Gated Delta Networks](https://arxiv.org/abs/2412.06464), section 3
    """

    def __init__(
        self,
        num_heads,
        head_dim=None,
        expansion=2,
        kernel_size=4,
        chunk_size=64,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if head_dim is not None:
            check_positive_integer("head_dim", head_dim)
        self.head_dim = head_dim
        for name, value in (
            ("num_heads", num_heads),
            ("expansion", expansion),
            ("kernel_size", kernel_size),
            ("chunk_size", chunk_size),
        ):
            check_positive_integer(name, value)
            setattr(self, name, value)

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        self._head_dim = head_width(width, self.num_heads, self.head_dim)
        inner = self.num_heads * self._head_dim
        self._channels = (inner, inner, self.expansion * inner)
        for name, channels in zip(
            ("query", "key", "value"), self._channels, strict=True
        ):
            setattr(self, name, self.add_dense(channels, width, name))
            convolution = self.add_convolution(
                self.kernel_size, channels, f"{name}_convolution"
            )
            setattr(self, f"{name}_convolution", convolution)
        self.decay_logit = self.add_dense(self.num_heads, width, "decay_logit")
        # float32 like the state: a decay of nearly 1 compounds.
        self.gate = DecayGate(dtype=self.state_dtype, name="gate")
        self.gate.build((None, None, self.num_heads))
        self.rate_logit = self.add_dense(self.num_heads, width, "rate_logit")
        self.output_gate = self.add_dense(
            self.expansion * inner, width, "output_gate"
        )
        self.norm = self.add_norm(self.expansion * self._head_dim, "norm")
        self.output_projection = self.add_dense(
            width, self.expansion * inner, "output"
        )
        self.build_state(input_shape[0])

    def mix(self, x, state, count):
        carried = state or {"convolution": [None] * 3}
        parts, tails = [], []
        for name, earlier in zip(
            ("query", "key", "value"), carried["convolution"], strict=True
        ):
            y, tail = getattr(self, f"{name}_convolution")(
                getattr(self, name)(x), earlier, count
            )
            y = self.precise(ops.silu(y))
            parts.append(split_heads(y, self.num_heads))
            tails.append(tail)
        query, key, value = parts
        real = self.real(x, count)
        _, log_decay = self.gate(self.precise(self.decay_logit(x)))
        rate = ops.sigmoid(self.precise(self.rate_logit(x)))
        y, memory = gated_delta_rule(
            unit(query),
            unit(key),
            value,
            rate * real,
            log_decay * real,
            carried.get("memory"),
            self.chunk_size,
        )
        y = join_heads(self.norm(ops.cast(y, self.compute_dtype)))
        if state is not None:
            state = {
                "convolution": [self.precise(tail) for tail in tails],
                "memory": memory,
            }
        y = y * ops.silu(self.output_gate(x))
        return self.output_projection(y), None, state

    def state_spec(self, batch_size):
        return {
            "convolution": [
                self.carried(batch_size, self.kernel_size - 1, channels)
                for channels in self._channels
            ],
            "memory": self.carried(
                batch_size,
                self.num_heads,
                self._head_dim,
                self.expansion * self._head_dim,
            ),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "expansion": self.expansion,
            "kernel_size": self.kernel_size,
            "chunk_size": self.chunk_size,
        }


def gated_delta_rule(query, key, value, rate, log_decay, start, chunk_size):
    """Write each token by the gated delta rule, and read at each.

    A token writes its error, `e_t = v_t - alpha_t M_{t-1}^T k_t`, by its rate
    at its key: `M_t = alpha_t M_{t-1} + beta_t k_t e_t^T`. A chunk's errors
    depend on its start and on those before them, linearly, so that all of
    them solve one unit lower-triangular system (the WY form).

    Args:
        query, key: `(B, N, H, K)`.
        value: `(B, N, H, V)`.
        rate: `beta`, `(B, N, H)`.
        log_decay: `log(alpha)`, `(B, N, H)`.
        start: `M` before the first token, `(B, H, K, V)`, or None for 0.
        chunk_size: `b`.

    Returns:
        What was read, `(B, N, H, V)`, and `M` after the last token.
    """
    length = ops.shape(value)[1]
    size, slots = chunk_layout(length, chunk_size)
    query, key, value, rate, log_decay = (
        to_chunks(pad_tokens(x, slots), size)
        for x in (query, key, value, rate, log_decay)
    )
    decay = chunk_decay(rate, None, log_decay, 1.0)
    key_across = ops.swapaxes(key, -1, -2)
    strict = ops.convert_to_tensor(np.tri(size, k=-1), key.dtype)
    # Errors from an empty start, and what a start takes from them.
    errors = solve_unit_lower(
        ops.matmul(key, key_across) * decay.surprise * strict,
        ops.concatenate([value, scale_rows(key, decay.memory)], axis=-1),
    )
    own, taken = ops.split(errors, [value.shape[-1]], axis=-1)
    if start is None:
        start = fresh(ops.matmul(key_across[0], value[0]))
    weighted = scale_rows(key, decay.surprise[..., -1, :])
    last, (error, before) = backend.scan(
        _write,
        start,
        (own, taken, weighted, decay.memory[..., -1:, None]),
        remat=False,
    )
    match = ops.matmul(query, key_across) * decay.surprise
    read = ops.matmul(match, error)
    read += scale_rows(ops.matmul(query, before), decay.memory)
    return from_chunks(read)[:, :length], last


def _write(memory, chunk, _):
    """A chunk's errors given its start, and the memory after it."""
    own, taken, key, left = chunk
    error = own - ops.matmul(taken, memory)
    after = left * memory + ops.matmul(ops.swapaxes(key, -1, -2), error)
    return after, (error, memory)
