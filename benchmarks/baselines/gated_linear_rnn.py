"""Griffin's recurrent block, around its real-gated linear recurrent unit."""

import math

import keras
from keras import ops

from benchmarks.baselines.mixer import Drawn
from benchmarks.baselines.mixer import Mixer
from benchmarks.baselines.mixer import join_heads
from benchmarks.baselines.mixer import split_heads
from benchmarks.baselines.recurrence import gated_sum
from keras_titans.validation import check_positive_integer

# The paper's constant `c`.
SHARPNESS = 8.0


@keras.saving.register_keras_serializable("keras_titans_baselines")
class GatedLinearRNN(Mixer):
    """Griffin's recurrent block (RG-LRU).

    With two projections `u` and `g` of the input, `x` a short causal
    convolution of `u`, and gates `r` and `i`, sigmoids of block-diagonal maps
    of `x`:

        a_t = sigmoid(Lambda) ** (8 r_t)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t ** 2) * (i_t * x_t)
        y_t = gelu(g_t) * h_t

    (equations 1 to 4), and a last projection. `a` is computed in logarithms,
    and `sigmoid(Lambda) ** 8` starts uniform between 0.9 and 0.999.

    Args:
        num_heads: Blocks of the gates' maps.
        recurrent_dim: Width of the recurrence. By default the input's; the
            paper's models have 4/3 of it.
        kernel_size: Taps of the short causal convolution.
        chunk_size: Tokens that follow one another, while chunks stand side by
            side. The result does not depend on it.
        **kwargs: As `Mixer`'s.

    Call arguments:
        inputs, mask, initial_state, training, return_state: As `Mixer`'s.

    Returns:
        As `Mixer`'s; the state has `"convolution"`, `(batch, kernel_size - 1,
        recurrent_dim)`, and `"hidden"`, `(batch, recurrent_dim)`.

    References:
        - [Griffin](https://arxiv.org/abs/2402.19427), section 2.4
    """

    def __init__(
        self,
        num_heads,
        recurrent_dim=None,
        kernel_size=4,
        chunk_size=32,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if recurrent_dim is not None:
            check_positive_integer("recurrent_dim", recurrent_dim)
        self.recurrent_dim = recurrent_dim
        for name, value in (
            ("num_heads", num_heads),
            ("kernel_size", kernel_size),
            ("chunk_size", chunk_size),
        ):
            check_positive_integer(name, value)
            setattr(self, name, value)

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        inner = self._inner = self.recurrent_dim or width
        if inner % self.num_heads:
            raise ValueError(
                "Argument `num_heads` must divide the recurrence's width. "
                f"Received: num_heads={self.num_heads}, width {inner}."
            )
        self.recurrent = self.add_dense(inner, width, "recurrent")
        self.output_gate = self.add_dense(inner, width, "output_gate")
        self.convolution = self.add_convolution(
            self.kernel_size, inner, "convolution"
        )
        self.recurrence_gate = self._gate("recurrence_gate")
        self.input_gate = self._gate("input_gate")
        self.decay_logit = self.add_weight(
            shape=(inner,),
            initializer=Drawn(_decay_logit, 0.9, 0.999),
            name="decay_logit",
        )
        self.output_projection = self.add_dense(width, inner, "output")
        self.build_state(input_shape[0])

    def _gate(self, name):
        block = self._inner // self.num_heads
        gate = keras.layers.EinsumDense(
            "bnhi,hij->bnhj",
            (None, self.num_heads, block),
            bias_axes="hj",
            # Keras would count the blocks into each unit's inputs.
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=1.0 / math.sqrt(block)
            ),
            dtype=self.dtype_policy,
            name=name,
        )
        gate.build((None, None, self.num_heads, block))
        return gate

    def mix(self, x, state, count):
        carried = state or {}
        u, tail = self.convolution(
            self.recurrent(x), carried.get("convolution"), count
        )
        heads = split_heads(u, self.num_heads)
        r, i = (
            ops.sigmoid(self.precise(join_heads(gate(heads))))
            for gate in (self.recurrence_gate, self.input_gate)
        )
        real = self.real(x, count)
        base = ops.log_sigmoid(self.precise(self.decay_logit))
        log_decay = SHARPNESS * base * r * real
        # The root has no gradient at 0, where a gate may have closed.
        room = ops.maximum(-ops.expm1(2.0 * log_decay), 1e-12)
        h = gated_sum(
            log_decay,
            ops.sqrt(room) * i * self.precise(u) * real,
            carried.get("hidden"),
            self.chunk_size,
        )
        y = ops.gelu(self.output_gate(x)) * ops.cast(h, self.compute_dtype)
        if state is not None:
            state = {"convolution": self.precise(tail), "hidden": h[:, -1]}
        return self.output_projection(y), None, state

    def state_spec(self, batch_size):
        return {
            "convolution": self.carried(
                batch_size, self.kernel_size - 1, self._inner
            ),
            "hidden": self.carried(batch_size, self._inner),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "recurrent_dim": self.recurrent_dim,
            "kernel_size": self.kernel_size,
            "chunk_size": self.chunk_size,
        }


def _decay_logit(decay):
    """Lambda, by `sigmoid(Lambda) ** 8`."""
    base = decay ** (1.0 / SHARPNESS)
    return ops.log(base) - ops.log1p(-base)
