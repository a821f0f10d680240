"""What surrounds every memory: projections, convolutions, a gated output."""

import keras
from keras import constraints
from keras import initializers
from keras import ops
from keras import regularizers

from keras_titans.layers.short_convolution import ShortConvolution
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.stateful_layer import zeros_like_spec
from keras_titans.ops.finite import blank_tokens
from keras_titans.ops.finite import finite_or_zero
from keras_titans.ops.finite import may_overflow
from keras_titans.ops.unit import unit
from keras_titans.validation import check_bool
from keras_titans.validation import check_constraint
from keras_titans.validation import check_initializer
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_regularizer
from keras_titans.validation import if_given

# Keys of this width are far apart, so one write disturbs few others.
HEAD_DIM = 64


class ProjectedMemory(StatefulLayer):
    """A memory between projections of its input and of its output.

    A subclass makes `core`, a layer that holds what is remembered, is built
    with `(batch, length, num_heads, head_dim)`, and has `read(query, memory)`,
    `state_spec` and `get_initial_state`. And it says how tokens are written
    and read (`remember`). What it remembers is its state's entry `"memory"`.

    Args:
        num_heads: int. Number of memories. Defaults to one for each
            `HEAD_DIM` channels of the input, and at least one. Known once
            built.
        head_dim: int. Width of each head's queries, keys and values. Defaults
            to `HEAD_DIM`.
        kernel_size: Taps of the short causal convolutions.
        use_bias: Whether the projections have biases.
        kernel_initializer, bias_initializer, kernel_regularizer,
            bias_regularizer, kernel_constraint, bias_constraint: For the
            projections.
        remat: Whether training recomputes what the backward pass needs.
        return_state, stateful, **kwargs: As `StatefulLayer`'s.
    """

    is_memory = True
    core: keras.layers.Layer

    def __init__(
        self,
        num_heads=None,
        head_dim=None,
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
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.num_heads = if_given(
            check_positive_integer, "num_heads", num_heads
        )
        if head_dim is None:
            head_dim = HEAD_DIM
        self.head_dim = check_positive_integer("head_dim", head_dim)
        self.kernel_size = check_positive_integer("kernel_size", kernel_size)
        self.use_bias = check_bool("use_bias", use_bias)
        self.kernel_initializer = check_initializer(
            "kernel_initializer", kernel_initializer
        )
        self.bias_initializer = check_initializer(
            "bias_initializer", bias_initializer
        )
        self.kernel_regularizer = check_regularizer(
            "kernel_regularizer", kernel_regularizer
        )
        self.bias_regularizer = check_regularizer(
            "bias_regularizer", bias_regularizer
        )
        self.kernel_constraint = check_constraint(
            "kernel_constraint", kernel_constraint
        )
        self.bias_constraint = check_constraint(
            "bias_constraint", bias_constraint
        )
        self.remat = check_bool("remat", remat)

    def build(self, input_shape):
        width = self.width = self.check_width(input_shape)
        if self.num_heads is None:
            self.num_heads = max(1, width // HEAD_DIM)
        inner = self.num_heads * self.head_dim
        # Queries and keys start from the same draw, so that a token finds
        # what was written at its like from the first step on.
        alike = self.kernel_initializer.clone()
        self.query = self._projection(inner, "query", alike)
        self.key = self._projection(inner, "key", alike)
        self.value = self._projection(inner, "value")
        self.output_gate = self._projection(inner, "output_gate")
        for layer in (
            self.query,
            self.key,
            self.value,
            self.output_gate,
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
        heads = (*tokens, self.num_heads, self.head_dim)
        self.output_norm.build(heads)
        self.core.build(heads)
        self.output_projection = self._projection(width, "output")
        self.output_projection.build((*tokens, inner))
        self.build_gates(input_shape)
        self.build_state(input_shape[0])

    def build_gates(self, input_shape):
        """Build the layers of a token's rates, if there are any."""

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
        return_diagnostics=False,
        return_state=None,
    ):
        return self.run(
            inputs,
            mask,
            initial_state,
            return_state,
            training=training,
            update=update,
            return_diagnostics=return_diagnostics,
        )

    def mix(self, x, state, count, training, update, return_diagnostics):
        (x,), finite = finite_or_zero([x])
        projected, tails, finite = self._project(x, state, count, finite)
        query, _, value = projected
        diagnostics = None
        if not update and not return_diagnostics:
            held = state or self.core.get_initial_state(ops.shape(x)[0])
            read = self.core.read(query, held["memory"])
            after = state
        else:
            if not update:
                count = ops.zeros(ops.shape(x)[:1], "int32")
            read, diagnostics, after = self.remember(
                x,
                projected,
                state,
                count,
                finite,
                return_diagnostics,
                self.remat and bool(training),
            )
            if diagnostics is not None:
                diagnostics |= {"read": read, "value": value}
                diagnostics = {
                    name: blank_tokens(diagnostics[name], finite)
                    for name in sorted(diagnostics)
                }
        if state is not None:
            after = _with_convolution(after, tails)
        return blank_tokens(self._put_out(x, read), finite), diagnostics, after

    def remember(
        self, x, projected, state, count, finite, return_diagnostics, remat
    ):
        """Write each token and read at each token.

        Args:
            x: `(batch, tokens, width)`, each row's real tokens first.
            projected: Queries, keys and values, `(batch, tokens, num_heads,
                head_dim)`; the first two of unit norm.
            state: The state to start from, or None.
            count: `(batch,)`, int32: each row's tokens to write, or None for
                all.
            finite: The `Finite` tokens. No others are written.
            return_diagnostics: Whether the diagnostics are asked for.
            remat: Whether to recompute in the backward pass.

        Returns:
            What was read, as the queries; the surprise and the gates by name,
            each `(batch, tokens, num_heads)`, or None; the state without
            convolutions, or None where none was passed.
        """
        raise NotImplementedError

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
        (x,), finite = finite_or_zero([x])
        (query,), finite = self._projected(x, [self.query], finite)
        if self.convolutions:
            query, after = self.convolutions[0](query, *tail, count)
            tail = [ops.cast(after, self.state_dtype)]
            if may_overflow(self.compute_dtype):
                (query,), finite = finite_or_zero([query], finite)
        read = self.core.read(unit(self._heads(query)), memory)
        return blank_tokens(self._put_out(x, read), finite), tail

    def _project(self, x, state, count, finite):
        """Queries, keys, values `(B, N, H, d)`, the convolutions' tails.

        And which tokens are finite, of those that were.
        """
        layers = [self.query, self.key, self.value]
        mixed, finite = self._projected(x, layers, finite)
        tails = []
        for i, convolution in enumerate(self.convolutions):
            earlier = None if state is None else state["convolution"][i]
            mixed[i], tail = convolution(mixed[i], earlier, count)
            if state is not None:
                tails.append(ops.cast(tail, self.state_dtype))
        if self.convolutions and may_overflow(self.compute_dtype):
            mixed, finite = finite_or_zero(mixed, finite)
        query, key, value = (self._heads(x) for x in mixed)
        return (unit(query), unit(key), value), tails, finite

    def _projected(self, x, layers, finite):
        """By each of the layers; and which tokens are finite still."""
        mixed = [layer(x) for layer in layers]
        if self.use_bias or may_overflow(self.compute_dtype):
            return finite_or_zero(mixed, finite)
        return mixed, finite

    def _heads(self, x):
        """`(B, N, H d)`, activated, to `(B, N, H, d)`."""
        rows, length, _ = ops.shape(x)
        x = ops.reshape(
            ops.silu(x), (rows, length, self.num_heads, self.head_dim)
        )
        return ops.cast(x, self.state_dtype)

    def _flat(self, x):
        """`(B, N, H, d)` to `(B, N, H d)`."""
        rows, length = ops.shape(x)[:2]
        return ops.reshape(x, (rows, length, self.num_heads * self.head_dim))

    def _put_out(self, inputs, read):
        """Normalised, gated by the input, projected."""
        read = self.output_norm(ops.cast(read, self.compute_dtype))
        gate = ops.silu(self.output_gate(inputs))
        return self.output_projection(self._flat(read) * gate)

    def get_initial_state(self, batch_size):
        """The state before anything was read.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary, as a call returns it.
        """
        tails = zeros_like_spec(self._tail_specs(None), batch_size)
        state = self.core.get_initial_state(batch_size)
        return _with_convolution(state, tails)

    def state_spec(self, batch_size):
        return _with_convolution(
            self.core.state_spec(batch_size), self._tail_specs(batch_size)
        )

    def _tail_specs(self, batch_size):
        self.check_built()
        return [self._tail_spec(batch_size) for _ in self.convolutions]

    def _tail_spec(self, batch_size):
        inner = self.num_heads * self.head_dim
        return keras.KerasTensor(
            (batch_size, self.kernel_size - 1, inner), self.state_dtype
        )

    def tail_spec(self, batch_size):
        """What `retrieve` carries on: a list of one tensor or none."""
        return [self._tail_spec(batch_size)] if self.convolutions else []

    def compute_output_spec(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_diagnostics=False,
        return_state=None,
    ):
        return self.run_spec(
            inputs,
            mask,
            initial_state,
            return_state,
            self.diagnostics_shapes() if return_diagnostics else None,
        )

    @property
    def has_write_cost(self):
        """Whether writing adds to the loss in training."""
        return False

    @property
    def gate_names(self):
        """The gates among the diagnostics."""
        return []

    def diagnostics_shapes(self):
        """The shapes of one token's diagnostics, by name."""
        scalars = ("surprise", *self.gate_names)
        shapes = dict.fromkeys(scalars, (self.num_heads,))
        width = (self.num_heads, self.head_dim)
        vectors = dict.fromkeys(("read", "value"), width)
        return dict(sorted((shapes | vectors).items()))

    def begins_anew_every(self, length):
        """Whether nothing is left unfinished between segments of `length`."""
        return True

    def between_chunks(self, state):
        """The state, for calls that begin and end with a chunk."""
        return state

    def begin_chunk(self, state, rows):
        """The state, with a new chunk begun in some rows, `(batch,)`."""
        return state

    def get_config(self):
        config = super().get_config()
        for kind, module in (
            ("initializer", initializers),
            ("regularizer", regularizers),
            ("constraint", constraints),
        ):
            for what in ("kernel", "bias"):
                name = f"{what}_{kind}"
                config[name] = module.serialize(getattr(self, name))
        for name in (
            "num_heads",
            "head_dim",
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
