"""Memory as context (MAC)."""

import keras
from keras import ops
from keras import tree

from keras_titans import backend
from keras_titans.layers.gated_attention_and_memory import (
    GatedAttentionAndMemory,
)
from keras_titans.layers.layer_scan import layer_scan
from keras_titans.layers.stateful_layer import zeros_like_spec
from keras_titans.ops.alignment import is_one_token
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import finite_or_zero
from keras_titans.ops.segments import Segments
from keras_titans.validation import check_bool
from keras_titans.validation import check_positive_integer

# Of the attention in what is written. A tenth of a token's own size leaves
# the token easy to find from the first step on.
INITIAL_SHARE = 0.1


@keras.saving.register_keras_serializable("keras_titans")
class MemoryAsContext(GatedAttentionAndMemory):
    """Titans' memory as context (MAC): attention over what is retrieved.

    The sequence is cut into segments. With learned tokens `p`, and with the
    memory `M_{s-1}` as the segment before has left it, for segment `x_s`:

        h = M_{s-1}(x_s)                       retrieve, write nothing
        y = norm(attention([p, h, x_s]))       causal within the segment
        m_t = M_t(z_t),  z = x_s + c y         write z_t, then read
        o = y * sigmoid(norm(m))

    (equations 21 to 25; `c`: a learned vector). Two things are so that no
    token sees a later one: `x_i` attends to `h_j` only for `j <= i`; and the
    second read is of the memory just after the token itself, where the
    paper's, by the letter, is of the memory after the whole segment. And what
    is written is `z`, with a residual that the equations leave out as they do
    the others, where the paper by the letter writes `y`: a mean over the
    segment at first, by which no token is found again.

    A segment whose length is a multiple of the memory's `chunk_size` is
    fastest.

    A token that holds NaN or infinity is NaN in the outputs and in the
    diagnostics. The memory does not read it, the attention sees zeros in its
    place, so that other tokens and the state stay finite.

    Args:
        num_heads: int. Heads of the attention.
        segment_length: int. Tokens of a segment.
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
        residual: bool. Whether the memory is written with `z`, and not with
            `y`. Defaults to `True`.
        kernel_initializer: str or Keras initializer. For the attention's
            projections. Defaults to `"glorot_uniform"`.
        remat: bool. Whether training recomputes, and does not keep, what the
            backward pass needs within each segment. Defaults to `True`.
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
        dictionary of the attention's and the memory's, the memory at the
        segment's start, and the inputs that its query convolution looks back
        to.

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 32))
    mixer = keras_titans.layers.MemoryAsContext(2, segment_length=16)
    block = keras_titans.layers.TitansBlock(mixer, intermediate_dim=64)
    model = keras.Model(inputs, block(inputs))

    layer = keras_titans.layers.MemoryAsContext(
        2, segment_length=16, return_state=True
    )
    x = keras.random.normal((2, 50, 32))
    first, state = layer(x[:, :20])
    second, state = layer(x[:, 20:], initial_state=state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 4.1
    """

    segmented = True

    def __init__(
        self,
        num_heads,
        segment_length,
        memory=None,
        num_persistent_tokens=4,
        head_dim=None,
        num_key_value_heads=None,
        gate_activation="sigmoid",
        residual=True,
        kernel_initializer="glorot_uniform",
        remat=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        segment_length = check_positive_integer(
            "segment_length", segment_length
        )
        super().__init__(
            num_heads,
            segment_length,
            memory=memory,
            num_persistent_tokens=num_persistent_tokens,
            head_dim=head_dim,
            num_key_value_heads=num_key_value_heads,
            gate_activation=gate_activation,
            kernel_initializer=kernel_initializer,
            return_state=return_state,
            stateful=stateful,
            **kwargs,
        )
        self.segment_length = segment_length
        self.residual = check_bool("residual", residual)
        self.remat = check_bool("remat", remat)

    def build(self, input_shape):
        super().build(input_shape)
        if self.residual:
            self.share = self.add_weight(
                shape=(self.width,),
                initializer=keras.initializers.Constant(INITIAL_SHARE),
                name="share",
            )

    def mix(self, x, state, count, **options):
        rows, length, _ = ops.shape(x)
        if state is not None:
            if is_one_token(length):  # never crosses a segment's border
                return self._piece(x, count, state, options)
            return self._pieces(x, state, count, options)
        # What is behind each row's last token changes nothing before it, and
        # nobody asks for the state: pad, and forget about counts.
        short = isinstance(length, int) and length <= self.segment_length
        if short or self.memory.begins_anew_every(self.segment_length):
            state = self._between_segments(self.get_initial_state(rows))
            if short:
                y, diagnostics, _ = self._piece(x, None, state, options)
            else:
                segments = Segments(length, self.segment_length)
                y, diagnostics, _ = self._scan(
                    segments, x, None, state, options
                )
        else:
            state = self.get_initial_state(rows)
            y, diagnostics, _ = self._pieces(x, state, count, options)
        return y, diagnostics, None

    def _between_segments(self, state):
        """A state for whole segments only, which need no cache."""
        memory = self.memory.between_chunks(state["memory"])
        return {"memory": memory, "query": state["query"]}

    def _pieces(self, x, state, count, options):
        """Any tokens, from any state."""
        rows, length, _ = ops.shape(x)
        if count is None:
            count = ops.full((rows,), length, "int32")
        phase = state["attention"]["seen"]
        segments = Segments(length, self.segment_length, phase, count)
        return self._scan(segments, x, segments.counts(), state, options)

    def _scan(self, segments, x, counts, state, options):
        def step(state, piece):
            x, count = piece if len(piece) == 2 else (*piece, None)
            y, diagnostics, state = self._piece(x, count, state, options)
            return state, (y,) if diagnostics is None else (y, diagnostics)

        xs = [segments.cut(x)]
        if counts is not None:
            xs.append(counts)
        weights = [self.share] if self.residual else []
        for layer in self.parts():
            weights += layer.variables
        state, results = layer_scan(
            step,
            weights,
            state,
            xs,
            self.remat and bool(options["training"]),
        )
        y, *diagnostics = tree.map_structure(segments.joined, results)
        return y, diagnostics[0] if diagnostics else None, state

    def _piece(self, x, count, state, options):
        """A segment, or a part of one: read, attend, write and read again."""
        memory, attention = state["memory"], state.get("attention")
        start = memory["memory"]
        if attention is not None:
            begins = attention["seen"] == 0
            if count is not None:
                begins = ops.logical_and(begins, count > 0)
            start = backend.where_any(begins, start, state["start"])
            if self.memory.begins_anew_every(self.segment_length):
                # It has counted fewer tokens if some were not finite.
                memory = self.memory.begin_chunk(memory, begins)
        h, query = self.memory.retrieve(x, start, state["query"], count)
        y, _, attention = self.attention.mix(
            x, attention, count, prefix=self.prefix, memory_tokens=h
        )
        (x, y), finite = finite_or_zero([x, y])
        y = self.attention_norm(y)
        z = x + ops.cast(self.share, y.dtype) * y if self.residual else y
        z = blank_tokens(z, finite)
        m, diagnostics, memory = self.memory.mix(z, memory, count, **options)
        (m,), finite = finite_or_zero([m], finite)
        y = blank_tokens(self.gated(y, m), finite)
        after = {"memory": memory, "query": query}
        if attention is not None:
            after |= {"attention": attention, "start": start}
        return y, diagnostics, dict(sorted(after.items()))

    def state_spec(self, batch_size):
        memory = self.memory.state_spec(batch_size)
        return {
            "attention": self.attention.state_spec(batch_size),
            "memory": memory,
            "query": self.memory.tail_spec(batch_size),
            "start": self.memory.state_spec(batch_size)["memory"],
        }

    def get_initial_state(self, batch_size):
        memory = self.memory.get_initial_state(batch_size)
        return {
            "attention": self.attention.get_initial_state(batch_size),
            "memory": memory,
            "query": zeros_like_spec(self.memory.tail_spec(None), batch_size),
            "start": memory["memory"],
        }

    def get_config(self):
        config = super().get_config()
        config |= {"residual": self.residual, "remat": self.remat}
        config["segment_length"] = config.pop("window_size")
        return config
