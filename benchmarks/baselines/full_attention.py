"""Causal attention over all tokens before: the Transformer's mixer."""

import keras
import numpy as np
from keras import ops

from benchmarks.baselines.mixer import Mixer
from benchmarks.baselines.mixer import join_heads
from benchmarks.baselines.mixer import split_heads
from keras_titans.validation import check_key_value_heads
from keras_titans.validation import check_positive_integer
from keras_titans.validation import head_width


@keras.saving.register_keras_serializable("keras_titans_baselines")
class FullAttention(Mixer):
    """Causal attention over the whole past, with rotary positions.

    The engine's own fused attention, without biases or dropout. What it would
    carry from call to call grows with the past, so it carries nothing.

    Args:
        num_heads: Heads of the queries.
        head_dim: Width of each head, even. By default the input's width
            divided by `num_heads`.
        num_key_value_heads: Heads of the keys and values, each shared by
            `num_heads / num_key_value_heads` heads of the queries
            (grouped-query attention). By default `num_heads`.
        query_block: Longer sequences, where the length is known, are
            computed so many queries at a time: the same, in memory that grows
            with the length and not with its square. By default never.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs, mask, training: As `Mixer`'s.

    Returns:
        `(batch, length, width)`.

    References:
        - [Attention Is All You Need](https://arxiv.org/abs/1706.03762)
        - [RoFormer](https://arxiv.org/abs/2104.09864)
        - [Grouped-query attention](https://arxiv.org/abs/2305.13245)
    """

    def __init__(
        self,
        num_heads,
        head_dim=None,
        num_key_value_heads=None,
        query_block=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive_integer("num_heads", num_heads)
        if head_dim is not None:
            check_positive_integer("head_dim", head_dim)
        check_key_value_heads(num_key_value_heads, num_heads)
        if query_block is not None:
            check_positive_integer("query_block", query_block)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads
        self.query_block = query_block

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        head_dim = head_width(width, self.num_heads, self.head_dim)
        if head_dim % 2:
            raise ValueError(
                "Argument `head_dim` must be even, because positions turn "
                f"channels in pairs. Received: {head_dim} (width {width}, "
                f"num_heads={self.num_heads}, head_dim={self.head_dim})."
            )
        self._groups = self.num_key_value_heads or self.num_heads
        inner = self._groups * head_dim
        self.query = self.add_dense(self.num_heads * head_dim, width, "query")
        self.key = self.add_dense(inner, width, "key")
        self.value = self.add_dense(inner, width, "value")
        self.output_projection = self.add_dense(
            width, self.num_heads * head_dim, "output"
        )
        self.build_state(input_shape[0])

    def mix(self, x, state, count):
        query = rotated(split_heads(self.query(x), self.num_heads))
        key = rotated(split_heads(self.key(x), self._groups))
        value = split_heads(self.value(x), self._groups)
        # Not every engine shares one head among all.
        shared = self.num_heads // self._groups
        key, value = (ops.repeat(y, shared, axis=2) for y in (key, value))
        y = causal_attention(query, key, value, self.query_block)
        return self.output_projection(join_heads(y)), None, None

    def state_spec(self, batch_size):
        raise ValueError(
            f"Layer '{self.name}' attends to the whole past and carries no "
            "state of fixed size. Received `initial_state`, or "
            "`return_state=True`, or `stateful=True`; it accepts none of them."
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "query_block": self.query_block,
        }


def causal_attention(query, key, value, block=None):
    """Attention to all tokens up to one's own, `(batch, tokens, heads, width)`.

    Args:
        query, key, value: `(batch, tokens, heads, head_dim)`.
        block: How many queries at a time, where there are more. None: all.

    Returns:
        As `query`.
    """
    length = query.shape[1]
    if block is None or not isinstance(length, int) or length <= block:
        return ops.dot_product_attention(query, key, value, is_causal=True)
    blocks = []
    for start in range(0, length, block):
        end = min(start + block, length)
        seen = np.tri(end - start, end, start, dtype=bool)[None, None]
        blocks.append(
            ops.dot_product_attention(
                query[:, start:end],
                key[:, :end],
                value[:, :end],
                mask=ops.convert_to_tensor(seen),
            )
        )
    return ops.concatenate(blocks, axis=1)


def rotated(x, base=10_000.0):
    """Turn each head's channels, in pairs, by angles that grow with position.

    Args:
        x: `(batch, tokens, heads, head_dim)`.
        base: The longest wavelength, in units of 2 pi tokens.

    Returns:
        As `x`.
    """
    # Not KerasHub's layer: importing it brings TensorFlow along, which a
    # measurement of memory would see.
    half = x.shape[-1] // 2
    speed = base ** -(np.arange(half) / half)
    position = ops.arange(ops.shape(x)[1], dtype="float32")[:, None, None]
    angles = position * ops.convert_to_tensor(speed, "float32")
    cosine, sine = (ops.cast(f(angles), x.dtype) for f in (ops.cos, ops.sin))
    one, other = x[..., :half], x[..., half:]
    return ops.concatenate(
        [one * cosine - other * sine, one * sine + other * cosine], axis=-1
    )
