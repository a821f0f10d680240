"""A bank of slots as a Keras layer."""

import math

import keras
from keras import initializers
from keras import ops

from keras_titans.layers.projected_memory import ProjectedMemory
from keras_titans.layers.slot_bank import SlotBank
from keras_titans.ops.finite import zero_tokens
from keras_titans.ops.slots import MAX_RATE
from keras_titans.validation import check_between
from keras_titans.validation import check_bool
from keras_titans.validation import check_initializer
from keras_titans.validation import check_positive_integer
from keras_titans.validation import if_given


@keras.saving.register_keras_serializable("keras_titans")
class SlotMemory(ProjectedMemory):
    """A fixed bank of slots, read by attention and written gradually.

    The simplest associative memory beside `NeuralMemory`, with the same
    calls, states and place in a model. Each slot `s` has a learned key `K_s`
    and a value `V[s]`, which starts from a learned one and is written at
    every token, in training and at test time. With the token's query `q_t`,
    key `k_t`, value `v_t` and rate `r_t`:

        attention   a_t = softmax(K q_t)       w_t = softmax(K k_t)
        write       V_t[s] = (1 - r_t w_t[s]) V_{t-1}[s] + r_t w_t[s] v_t
        read        y_t = sum_s a_t[s] V_t[s]

    Queries and keys have unit norm; how sharply they attend is learned, one
    factor for each head.

    A token that holds NaN or infinity is NaN in the outputs and in the
    surprises. It is not written, so that other tokens and the state stay
    finite.

    Args:
        num_heads: int. Number of banks. Defaults to one for each 64 channels
            of the input, and at least one. The attribute is `None` until the
            layer is built then.
        num_slots: int. Slots of each bank. Defaults to `1024`.
        head_dim: int. Width of each head's queries, keys and values. It does
            not depend on the input's width. Defaults to `64`.
        top_k: int. How many slots, the best, a token attends to. Defaults to
            `None`: all of them, which is as fast for up to a few thousand
            slots.
        write_rate: float. `r`, where it starts or stands, between 0 and 0.95.
            Defaults to `0.5`.
        learn_write_rate: bool. Whether the rate is a function of the token.
            Defaults to `True`.
        slot_initializer: str or Keras initializer. Of the slots' first values.
            Defaults to `"zeros"`.
        kernel_size: int. As `NeuralMemory`'s. Defaults to `4`.
        use_bias: bool. Whether the projections have biases. Defaults to
            `False`.
        kernel_initializer, bias_initializer, kernel_regularizer,
            bias_regularizer, kernel_constraint, bias_constraint: For the
            projections, as `NeuralMemory`'s.
        remat: bool. Whether training recomputes, and does not keep, what the
            backward pass needs. Defaults to `True`.
        return_state: bool. Whether to return the state after the outputs.
            Defaults to `False`.
        stateful: bool. Whether a call starts where the last one ended.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask, initial_state, training, update, return_diagnostics,
            return_state: As `NeuralMemory`'s. A token's surprise is the
            distance of its value from what its key found just before; its
            gate is `"write_rate"`.

    Returns:
        The outputs `(batch, length, width)` in the compute dtype; where asked
        for, the diagnostics; where `return_state`, the state: a dictionary of
        `"memory"`, the slots' values `(batch, num_heads, num_slots,
        head_dim)`, float32, and `"convolution"`, as `NeuralMemory`'s.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 64))
    outputs = keras_titans.layers.SlotMemory(num_heads=4)(inputs)
    model = keras.Model(inputs, outputs)
    ```

    References:
        - [Memory Networks](https://arxiv.org/abs/1410.3916)
        - [Neural Turing Machines](https://arxiv.org/abs/1410.5401), section
            3.1 and 3.2
    """

    def __init__(
        self,
        num_heads=None,
        num_slots=1024,
        head_dim=None,
        top_k=None,
        write_rate=0.5,
        learn_write_rate=True,
        slot_initializer="zeros",
        kernel_size=4,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        remat=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(
            num_heads,
            head_dim,
            kernel_size=kernel_size,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            remat=remat,
            return_state=return_state,
            stateful=stateful,
            **kwargs,
        )
        self.num_slots = check_positive_integer("num_slots", num_slots)
        self.top_k = if_given(check_positive_integer, "top_k", top_k)
        if top_k is not None and top_k > num_slots:
            raise ValueError(
                "Argument `top_k` must be at most `num_slots`. Received: "
                f"top_k={top_k}, num_slots={num_slots}."
            )
        self.write_rate = check_between("write_rate", write_rate, 0, MAX_RATE)
        self.learn_write_rate = check_bool("learn_write_rate", learn_write_rate)
        self.slot_initializer = check_initializer(
            "slot_initializer", slot_initializer
        )
        self.core = SlotBank(
            self.num_slots,
            self.top_k,
            self.slot_initializer,
            dtype=self.state_dtype,
            name="slots",
        )

    def build_gates(self, input_shape):
        if self.learn_write_rate:
            share = self.write_rate / MAX_RATE
            start = math.log(share / (1.0 - share))
            self.rate = keras.layers.Dense(
                self.num_heads,
                bias_initializer=initializers.Constant(start),
                dtype=self.state_dtype,
                name="write_rate",
            )
            self.rate.build(input_shape)

    def remember(
        self, x, projected, state, count, finite, return_diagnostics, remat
    ):
        if self.learn_write_rate:
            rate = MAX_RATE * ops.sigmoid(self.rate(x))
        else:
            shape = (*ops.shape(x)[:2], self.num_heads)
            rate = ops.full(shape, self.write_rate, self.state_dtype)
        (rate,) = zero_tokens([rate], finite)
        read, surprise, after = self.core(
            *projected,
            rate,
            state,
            count,
            return_surprise=return_diagnostics,
            remat=remat,
        )
        if not return_diagnostics:
            return read, None, after
        return read, {"surprise": surprise, "write_rate": rate}, after

    @property
    def gate_names(self):
        return ["write_rate"]

    def get_config(self):
        return {
            **super().get_config(),
            "num_slots": self.num_slots,
            "top_k": self.top_k,
            "write_rate": self.write_rate,
            "learn_write_rate": self.learn_write_rate,
            "slot_initializer": initializers.serialize(self.slot_initializer),
        }
