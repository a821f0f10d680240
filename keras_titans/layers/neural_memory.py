"""The neural long-term memory as a Keras layer."""

import keras
from keras import constraints
from keras import initializers
from keras import ops
from keras import regularizers

from keras_titans.layers.fast_weights import FastWeights
from keras_titans.layers.memory_gates import MemoryGates
from keras_titans.layers.short_convolution import ShortConvolution
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import zeros_like_spec
from keras_titans.memory.memory_network import MemoryNetwork
from keras_titans.memory.mlp_memory import MLPMemory
from keras_titans.memory.objective import Objective
from keras_titans.memory.objective import SquaredError
from keras_titans.memory.update_rule import UpdateRule
from keras_titans.ops.sequence import Tokens
from keras_titans.ops.unit import unit
from keras_titans.validation import check_choice
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer
from keras_titans.validation import head_width


@keras.saving.register_keras_serializable("keras_titans")
class NeuralMemory(StatefulLayer):
    """Titans' neural long-term memory.

    A small network in each head whose weights are updated by gradient descent
    on every token, in training and at test time. At token `t`, with the
    key `k_t`, the value `v_t` and the query `q_t`:

        surprise    g_t = grad_W |M(k_t; W') - v_t|^2
        momentum    S_t = eta_t S_{t-1} - theta_t g_t
        memory      W_t = (1 - alpha_t) W_{t-1} + S_t
        read        y_t = M(q_t; W_t)

    `W'` is the anchor. With `anchor="chunk"` it is the memory at the start of
    the token's chunk, as in the paper (section 3.2). With `anchor="token"` it
    is the memory just before the token: exactly so for a memory of depth 1
    and for the last map of a deeper one, whose lower maps stay at the chunk's
    start. The first diverges where keys of one chunk resemble each other, the
    second does not. Either is computed a chunk at a time, in matrix products.

    Each call starts from the learned initial memory, unless a state is
    passed or the layer is stateful. A state that is returned may be
    continued at any token: pieces of any length equal the whole.

    Args:
        num_heads: Number of memories, each with its own share of the width.
        head_dim: Width of each head's queries, keys and values. By default
            the input's width divided by `num_heads`.
        network: What is memorised into, a `keras_titans.memory.MemoryNetwork`.
            By default an `MLPMemory` of `memory_depth` maps.
        memory_depth: Number of dense maps of the default network (L_M). 1 is
            a matrix, the associative memory of linear attention.
        chunk_size: Tokens to a chunk. Part of the model's meaning, not only
            of its speed, except for depth 1 with `anchor="token"`.
        anchor: `"token"` or `"chunk"`: see above.
        update_rule: A `keras_titans.memory.UpdateRule`: the gates.
        objective: A `keras_titans.memory.Objective`, by default the squared
            error.
        kernel_size: Taps of the short causal convolutions after the query,
            key and value projections. 1 for none.
        use_bias: Whether the projections have biases. The gates always do.
        kernel_initializer, bias_initializer: For the projections.
        memory_initializer: For the initial memory, one matrix
            `(inputs, heads * outputs)` for each dense map.
        kernel_regularizer, bias_regularizer, memory_regularizer: Likewise.
        kernel_constraint, bias_constraint, memory_constraint: Likewise.
        remat: Whether training recomputes, and does not keep, what the
            backward pass needs within each chunk.
        return_state: Whether to return the state after the outputs.
        stateful: Whether a call starts where the last one ended.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask: Boolean, `(batch, length)`. A token that is masked changes
            nothing, wherever it stands.
        initial_state: A state as returned by an earlier call or by
            `get_initial_state`.
        training: Whether the call is one of training. The memory is updated
            either way.
        update: Whether the memory is written. If False it is only read.
        return_surprise: Whether to return, after the outputs, the norm of
            each token's surprise, `(batch, length, num_heads)`.

    Returns:
        The outputs `(batch, length, width)` in the compute dtype; where asked
        for, the surprises; where `return_state`, the state: a dictionary of
        tensors with the batch on axis 0, float32 (`"phase"`: int32).

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 64))
    outputs = keras_titans.layers.NeuralMemory(num_heads=4)(inputs)
    model = keras.Model(inputs, outputs)

    layer = keras_titans.layers.NeuralMemory(num_heads=4, return_state=True)
    x = keras.random.normal((2, 100, 64))
    first, state = layer(x[:, :70])
    second, state = layer(x[:, 70:], initial_state=state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 3
    """

    is_memory = True

    def __init__(
        self,
        num_heads,
        head_dim=None,
        network=None,
        memory_depth=2,
        chunk_size=64,
        anchor="token",
        update_rule=None,
        objective=None,
        kernel_size=4,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        memory_initializer="lecun_normal",
        kernel_regularizer=None,
        bias_regularizer=None,
        memory_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        memory_constraint=None,
        remat=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        check_positive_integer("num_heads", num_heads)
        if head_dim is not None:
            check_positive_integer("head_dim", head_dim)
        check_positive_integer("memory_depth", memory_depth)
        check_positive_integer("chunk_size", chunk_size)
        check_positive_integer("kernel_size", kernel_size)
        check_choice("anchor", anchor, ("token", "chunk"))
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.network = _revived(network) or MLPMemory(depth=memory_depth)
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.anchor = anchor
        self.update_rule = _revived(update_rule) or UpdateRule()
        self.objective = _revived(objective) or SquaredError()
        self.kernel_size = kernel_size
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.memory_initializer = initializers.get(memory_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.memory_regularizer = regularizers.get(memory_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.memory_constraint = constraints.get(memory_constraint)
        self.remat = remat
        check_instance("network", self.network, MemoryNetwork)
        check_instance("update_rule", self.update_rule, UpdateRule)
        check_instance("objective", self.objective, Objective)
        self.fast_weights = FastWeights(
            self.network,
            self.objective,
            self.update_rule,
            anchor,
            chunk_size,
            self.memory_initializer,
            self.memory_regularizer,
            self.memory_constraint,
            dtype=self.state_dtype,
            name="fast_weights",
        )

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        self._head_dim = head_width(width, self.num_heads, self.head_dim)
        inner = self.num_heads * self._head_dim
        # Queries and keys start from the same draw, so that a token finds
        # what was written at its like from the first step on.
        alike = self.kernel_initializer.clone()
        self.query = self._projection(inner, "query", alike)
        self.key = self._projection(inner, "key", alike)
        self.value = self._projection(inner, "value")
        self.output_gate = self._projection(inner, "output_gate")
        self.gates = MemoryGates(
            self.num_heads,
            self.update_rule,
            self.objective.slope,
            dtype=self.state_dtype,
            name="gates",
        )
        for layer in (
            self.query,
            self.key,
            self.value,
            self.output_gate,
            self.gates,
        ):
            layer.build(input_shape)
        tokens = tuple(input_shape[:2])
        self.convolutions = []
        if self.kernel_size > 1:
            for name in ("query", "key", "value"):
                convolution = ShortConvolution(
                    self.kernel_size,
                    dtype=self.dtype_policy,
                    name=f"{name}_convolution",
                )
                convolution.build((*tokens, inner))
                self.convolutions.append(convolution)
        self.output_norm = keras.layers.RMSNormalization(
            dtype=self.dtype_policy, name="output_norm"
        )
        heads = (*tokens, self.num_heads, self._head_dim)
        self.output_norm.build(heads)
        self.fast_weights.build(heads)
        self.output_projection = self._projection(width, "output")
        self.output_projection.build((*tokens, inner))
        self.build_state(input_shape[0])

    def _projection(self, units, name, kernel_initializer=None):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=(
                kernel_initializer or self.kernel_initializer.clone()
            ),
            bias_initializer=self.bias_initializer.clone(),
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint,
            dtype=self.dtype_policy,
            name=name,
        )

    def call(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_surprise=False,
    ):
        return self.run(
            inputs,
            mask,
            initial_state,
            training=training,
            update=update,
            return_surprise=return_surprise,
        )

    def mix(self, x, state, count, training, update, return_surprise):
        query, key, value, tails = self._project(x, state, count)
        if not update and not return_surprise:
            if state is None:
                state = self.get_initial_state(ops.shape(x)[0])
            read = self.fast_weights.read(query, state["memory"])
            after, surprise = state, None
        else:
            read, surprise, after = self.fast_weights(
                Tokens(query, key, value, *self.gates(x)),
                state,
                count if update else ops.zeros(ops.shape(x)[:1], "int32"),
                return_surprise=return_surprise,
                remat=self.remat and bool(training),
            )
        if state is not None:
            after = _with_convolution(after, tails)
        return self._put_out(x, read), surprise, after

    def retrieve(self, x, memory, tail, count):
        """Read what a memory holds for each token, and write nothing.

        Args:
            x: `(batch, tokens, width)`, each row's real tokens first.
            memory: The entry `"memory"` of a state.
            tail: What the last call returned; zeros of `tail_spec` at a
                sequence's start.
            count: `(batch,)`, int32: each row's real tokens, or None if all
                are.

        Returns:
            `(batch, tokens, width)`; and the next call's `tail`.
        """
        query = self.query(x)
        if self.convolutions:
            query, after = self.convolutions[0](query, *tail, count)
            tail = [ops.cast(after, self.state_dtype)]
        read = self.fast_weights.read(unit(self._heads(query)), memory)
        return self._put_out(x, read), tail

    def _project(self, x, state, count):
        """Queries, keys, values `(B, N, H, d)`, the convolutions' tails."""
        mixed = [self.query(x), self.key(x), self.value(x)]
        tails = []
        for i, convolution in enumerate(self.convolutions):
            earlier = None if state is None else state["convolution"][i]
            mixed[i], tail = convolution(mixed[i], earlier, count)
            if state is not None:
                tails.append(ops.cast(tail, self.state_dtype))
        query, key, value = (self._heads(x) for x in mixed)
        return unit(query), unit(key), value, tails

    def _heads(self, x):
        """`(B, N, H d)`, activated, to `(B, N, H, d)`."""
        rows, length, _ = ops.shape(x)
        x = ops.reshape(
            ops.silu(x), (rows, length, self.num_heads, self._head_dim)
        )
        return ops.cast(x, self.state_dtype)

    def _put_out(self, inputs, read):
        """Normalised, gated by the input, projected."""
        read = self.output_norm(ops.cast(read, self.compute_dtype))
        rows, length = ops.shape(inputs)[:2]
        read = ops.reshape(
            read, (rows, length, self.num_heads * self._head_dim)
        )
        return self.output_projection(read * ops.silu(self.output_gate(inputs)))

    def get_initial_state(self, batch_size):
        """The state before anything was read: the learned initial memory.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary: `"memory"` and `"anchor"`, and `"momentum"` where
            the update rule has it, each a list with a `(batch, num_heads,
            inputs, outputs)` tensor for every dense map of the network;
            `"phase"`, `(batch,)`, int32, the tokens already seen of the
            current chunk; `"convolution"`, where there is one, the last
            inputs `(batch, kernel_size - 1, num_heads * head_dim)` of the
            query's, the key's and the value's.
        """
        tails = zeros_like_spec(self._tail_specs(None), batch_size)
        state = self.fast_weights.get_initial_state(batch_size)
        return _with_convolution(state, tails)

    def state_spec(self, batch_size):
        return _with_convolution(
            self.fast_weights.state_spec(batch_size),
            self._tail_specs(batch_size),
        )

    def _tail_specs(self, batch_size):
        return [self._tail_spec(batch_size) for _ in self.convolutions]

    def _tail_spec(self, batch_size):
        inner = self.num_heads * self._head_dim
        return keras.KerasTensor(
            (batch_size, self.kernel_size - 1, inner), self.state_dtype
        )

    def tail_spec(self, batch_size):
        """What `retrieve` carries on: a list of one tensor or none."""
        return [self._tail_spec(batch_size)] if self.convolutions else []

    def begins_anew_every(self, length):
        """Whether a chunk begins wherever a segment of `length` does."""
        return length % self.chunk_size == 0

    def between_chunks(self, state):
        """The state, for calls that begin and end with a chunk.

        It is smaller and such calls are faster, as nothing must be shifted.
        """
        return {
            name: entry
            for name, entry in state.items()
            if name not in ("anchor", "phase")
        }

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_surprise=False,
    ):
        surprises = self.num_heads if return_surprise else 0
        return self.run_spec(inputs, mask, initial_state, surprises)

    def get_config(self):
        config = super().get_config()
        for name in ("network", "update_rule", "objective"):
            config[name] = keras.saving.serialize_keras_object(
                getattr(self, name)
            )
        for kind, module in (
            ("initializer", initializers),
            ("regularizer", regularizers),
            ("constraint", constraints),
        ):
            for what in ("kernel", "bias", "memory"):
                name = f"{what}_{kind}"
                config[name] = module.serialize(getattr(self, name))
        for name in (
            "num_heads",
            "head_dim",
            "memory_depth",
            "chunk_size",
            "anchor",
            "kernel_size",
            "use_bias",
            "remat",
        ):
            config[name] = getattr(self, name)
        return config


def _with_convolution(state, tails):
    """The state of the fast weights and, if any, the convolutions' tails.

    In the keys' order, because not every tree sorts them itself.
    """
    if tails:
        state = {**state, "convolution": tails}
    return dict(sorted(state.items()))


def _revived(value):
    """An object from its serialised form; anything else as it is."""
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return value
