"""Causal attention over a window or over segments, with a rolling cache."""

import keras
from keras import initializers
from keras import ops

from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import zeros_like_spec
from keras_titans.ops import ring
from keras_titans.ops.alignment import is_one_token
from keras_titans.ops.alignment import last_tokens
from keras_titans.ops.attention import Pairs
from keras_titans.ops.attention import windowed_attention
from keras_titans.ops.attention_step import attention_step
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import finite_or_zero
from keras_titans.ops.finite import may_overflow
from keras_titans.validation import check_bool
from keras_titans.validation import check_initializer
from keras_titans.validation import check_key_value_heads
from keras_titans.validation import check_positive_integer
from keras_titans.validation import head_width
from keras_titans.validation import if_given
from keras_titans.validation import same_shape


@keras.saving.register_keras_serializable("keras_titans")
class WindowedAttention(StatefulLayer):
    """Causal attention over the last tokens, at linear cost.

    Token `t` attends to itself and

        - to the `window_size - 1` tokens before it, or, with
          `segmented=True`, to those before it in its own segment of
          `window_size` tokens;
        - to every token of `prefix`, if there is one;
        - to the token of `memory_tokens`, if there are any, at its own and
          at each of those places.

    Positions are rotary, on half of each head's channels, and count from the
    window's edge: an attention that has read millions of tokens turns by the
    same angles as one that has read ten. The prefix carries no position.

    A token that holds NaN or infinity is NaN in the outputs. Others see a key
    and a value of zeros in its place, and stay finite.

    Args:
        num_heads: Heads of the queries.
        window_size: Tokens of a window or segment.
        head_dim: Width of each head. By default the input's width divided by
            `num_heads`.
        num_key_value_heads: Heads of the keys and values, each shared by
            `num_heads / num_key_value_heads` heads of the queries
            (grouped-query attention). By default `num_heads`.
        segmented: Whether windows are segments, which don't overlap.
        with_memory_tokens: Whether calls pass `memory_tokens`.
        use_bias: Whether the projections have biases.
        kernel_initializer: For the projections.
        return_state: Whether to return the state after the outputs.
        stateful: Whether a call starts where the last one ended.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask: Boolean, `(batch, length)`. Tokens that are masked are as if
            they were not there: they are not seen and do not count.
        initial_state: A state as returned by an earlier call or by
            `get_initial_state`.
        training: Not used.
        prefix: `(tokens, width)`: what every token sees, or None.
        memory_tokens: `(batch, length, width)`: for each token a second one
            at its place, which is seen but does not look.
        return_state: Whether to return the state, if not as constructed.

    Returns:
        `(batch, length, width)` and, where `return_state`, the state: a
        dictionary of `"key"` and `"value"`, `(batch, window_size, tokens at
        each place, num_key_value_heads, head_dim)` in the compute dtype, and
        `"seen"`, `(batch,)`, int32: how many tokens were read, of a segment
        or, once a window is full, in turns: `window_size` to `2 * window_size
        - 1`. The next one goes to the place `seen % window_size`.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 64))
    layer = keras_titans.layers.WindowedAttention(4, window_size=32)
    model = keras.Model(inputs, layer(inputs))
    ```

    References:
        - [Longformer](https://arxiv.org/abs/2004.05150), section 3
        - [RoFormer](https://arxiv.org/abs/2104.09864), equation 14
    """

    has_memory = False

    def __init__(
        self,
        num_heads,
        window_size,
        head_dim=None,
        num_key_value_heads=None,
        segmented=False,
        with_memory_tokens=False,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.num_heads = check_positive_integer("num_heads", num_heads)
        self.window_size = check_positive_integer("window_size", window_size)
        self.head_dim = if_given(check_positive_integer, "head_dim", head_dim)
        self.num_key_value_heads = check_key_value_heads(
            num_key_value_heads, self.num_heads
        )
        self.segmented = check_bool("segmented", segmented)
        self.with_memory_tokens = check_bool(
            "with_memory_tokens", with_memory_tokens
        )
        self.use_bias = check_bool("use_bias", use_bias)
        self.kernel_initializer = check_initializer(
            "kernel_initializer", kernel_initializer
        )

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        self._head_dim = head_width(width, self.num_heads, self.head_dim)
        self._groups = self.num_key_value_heads or self.num_heads
        for name, heads in (
            ("query", self.num_heads),
            ("key", self._groups),
            ("value", self._groups),
        ):
            dense = self._projection(heads * self._head_dim, name)
            dense.build(input_shape)
            setattr(self, name, dense)
        self.output_projection = self._projection(width, "output")
        inner = self.num_heads * self._head_dim
        self.output_projection.build((*input_shape[:2], inner))
        self.build_state(input_shape[0])

    def _projection(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        prefix=None,
        memory_tokens=None,
        return_state=None,
    ):
        self._check_sides(inputs, prefix, memory_tokens)
        aligned = {}
        if memory_tokens is not None:
            aligned["memory_tokens"] = ops.cast(
                memory_tokens, self.compute_dtype
            )
        return self.run(
            inputs, mask, initial_state, return_state, aligned, prefix=prefix
        )

    def mix(self, x, state, count, prefix=None, memory_tokens=None):
        sources = [x] if memory_tokens is None else [memory_tokens, x]
        sources, finite = finite_or_zero(sources)
        query = _split(self.query(sources[-1]), self.num_heads)
        pairs = self._pairs(sources)
        if self.use_bias or may_overflow(self.compute_dtype):
            # Later tokens see zeros where a token is not finite.
            (query, *pairs), finite = finite_or_zero([query, *pairs], finite)
            pairs = Pairs(*pairs)
        if prefix is not None:
            prefix = ops.cast(prefix, x.dtype)
            each = prefix if len(prefix.shape) == 3 else prefix[None]
            prefix = self._pairs([each])
        rows, length = ops.shape(x)[:2]
        seen = 0 if state is None else state["seen"][:, None]
        place = seen + ops.arange(length, dtype="int32")[None, :]
        if self.segmented:
            reach = place % self.window_size
        else:
            reach = ops.minimum(place, self.window_size - 1)
        reach = ops.broadcast_to(reach, (rows, length))
        after = None
        if state is None:
            y = windowed_attention(
                query, pairs, reach, self.window_size, prefix=prefix
            )
        else:
            go_on = self._step if is_one_token(length) else self._piece
            y, after = go_on(query, pairs, reach, state, count, prefix)
        y = ops.reshape(y, (rows, length, self.num_heads * self._head_dim))
        return blank_tokens(self.output_projection(y), finite), None, after

    def _step(self, query, pairs, reach, state, count, prefix):
        """One token: it is put into the cache, then the cache is seen."""
        slot = state["seen"] % self.window_size
        cache = Pairs(
            *(
                ring.put(state[name], x, slot, count)
                for name, x in zip(("key", "value"), pairs, strict=True)
            )
        )
        y = attention_step(query, cache, slot[:, None], reach, prefix)
        return y, _as_state(cache, self._seen(state["seen"], 1, count))

    def _piece(self, query, pairs, reach, state, count, prefix):
        """Any tokens: the cache is seen, then they are put into it."""
        window, seen = self.window_size, state["seen"]
        earlier = Pairs(
            *(
                ring.oldest_first(state[name], seen % window)
                for name in ("key", "value")
            )
        )
        y = windowed_attention(query, pairs, reach, window, earlier, prefix)
        seen = self._seen(seen, ops.shape(query)[1], count)
        cache = Pairs(
            *(
                ring.in_slots(
                    last_tokens(x, before, count), seen % window, window
                )
                for x, before in zip(pairs, earlier, strict=True)
            )
        )
        return y, _as_state(cache, seen)

    def _pairs(self, sources):
        """`Pairs` of one or two sequences that stand at the same places."""
        return Pairs(
            *(
                ops.stack(
                    [_split(dense(x), self._groups) for x in sources], axis=2
                )
                for dense in (self.key, self.value)
            )
        )

    def _seen(self, seen, length, count):
        """The counter after `length` tokens, or `count` of them.

        A segment's begin at 0. A window's are counted until it is full, and
        from there on in turns of as many.
        """
        seen = seen + (length if count is None else count)
        turn = seen % self.window_size
        if not self.segmented:
            full = seen >= self.window_size
            turn = ops.where(full, self.window_size + turn, seen)
        return ops.cast(turn, "int32")

    def state_spec(self, batch_size):
        self.check_built()
        each = 2 if self.with_memory_tokens else 1
        shape = (self.window_size, each, self._groups, self._head_dim)
        pair = lambda: keras.KerasTensor(
            (batch_size, *shape), self.compute_dtype
        )
        return {
            "key": pair(),
            "seen": keras.KerasTensor((batch_size,), "int32"),
            "value": pair(),
        }

    def get_initial_state(self, batch_size):
        """The state before anything was read: an empty cache.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary, as a call returns it.
        """
        return zeros_like_spec(self.state_spec(None), batch_size)

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        prefix=None,
        memory_tokens=None,
        return_state=None,
    ):
        self._check_sides(inputs, prefix, memory_tokens)
        return self.run_spec(inputs, mask, initial_state, return_state)

    def _check_sides(self, inputs, prefix, memory_tokens):
        if prefix is not None and (
            len(prefix.shape) != 2 or prefix.shape[-1] != inputs.shape[-1]
        ):
            raise ValueError(
                f"Argument `prefix` of layer '{self.name}' must have the shape "
                f"(tokens, {inputs.shape[-1]}). "
                f"Received: shape {tuple(prefix.shape)}."
            )
        if (memory_tokens is not None) != self.with_memory_tokens:
            raise ValueError(
                f"Argument `memory_tokens` of layer '{self.name}' goes with "
                "`with_memory_tokens=True`. Received: with_memory_tokens="
                f"{self.with_memory_tokens}, memory_tokens="
                f"{'None' if memory_tokens is None else 'a tensor'}."
            )
        if memory_tokens is not None and not same_shape(
            tuple(memory_tokens.shape), tuple(inputs.shape)
        ):
            raise ValueError(
                f"Argument `memory_tokens` of layer '{self.name}' must have "
                f"the inputs' shape {tuple(inputs.shape)}. "
                f"Received: shape {tuple(memory_tokens.shape)}."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "segmented": self.segmented,
            "with_memory_tokens": self.with_memory_tokens,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(
                self.kernel_initializer
            ),
        }


def _split(x, heads):
    """`(B, N, H d)` to `(B, N, H, d)`."""
    rows, length, width = ops.shape(x)
    return ops.reshape(x, (rows, length, heads, width // heads))


def _as_state(cache, seen):
    return {"key": cache.key, "seen": seen, "value": cache.value}
