"""What `NeuralMemory` remembers with: weights that each token rewrites."""

import math

import keras
from keras import initializers
from keras import ops

from keras_titans.ops.chunk import Memory
from keras_titans.ops.chunk import Shared
from keras_titans.ops.sequence import fresh_memory
from keras_titans.ops.sequence import memorize


class FastWeights(keras.layers.Layer):
    """The memory between the projections and the output of `NeuralMemory`.

    Owns what is learned slowly: where each head's memory starts and how fast
    its maps learn. What is learned fast is the state, and passes through.

    Args:
        recipe: A `keras_titans.ops.recipe.Recipe`.
        initializer, regularizer, constraint: For the initial memory.
        **kwargs: For `keras.layers.Layer`. The dtype is the state's.
    """

    def __init__(self, recipe, initializer, regularizer, constraint, **kwargs):
        super().__init__(**kwargs)
        recipe.check()
        self.recipe = recipe
        self.initializer = initializer
        self.regularizer = regularizer
        self.constraint = constraint

    def build(self, input_shape):
        """Args: input_shape: `(batch, length, num_heads, head_dim)`."""
        *_, self.num_heads, head_dim = input_shape
        self.shapes = self.recipe.network.map_shapes(head_dim)
        self.initial_memory = [
            self.add_weight(
                shape=(inputs, self.num_heads * outputs),
                initializer=self.initializer.clone(),
                regularizer=self.regularizer,
                constraint=self.constraint,
                autocast=False,
                name=f"initial_memory_{m}",
            )
            for m, (inputs, outputs) in enumerate(self.shapes)
        ]
        if len(self.shapes) > 1:
            start = math.log(self.recipe.rule.hidden_rate)
            self.log_hidden_rates = self.add_weight(
                shape=(len(self.shapes) - 1, self.num_heads),
                initializer=initializers.Constant(start),
                autocast=False,
                name="log_hidden_rates",
            )

    def call(
        self, tokens, state=None, count=None, return_surprise=False, remat=False
    ):
        """Write every token, read at every token.

        Args:
            tokens: A `keras_titans.ops.sequence.Tokens`.
            state: As `get_initial_state` returns it, or None for fresh. One
                without `"phase"` and `"anchor"` starts and ends with a chunk.
            count: `(batch,)`, int32: each row's tokens, or None if all are.
            return_surprise: Whether the surprises' norms are asked for.
            remat: Whether to recompute in the backward pass.

        Returns:
            What was read `(batch, tokens, num_heads, head_dim)`; the norms of
            the surprises `(batch, tokens, num_heads)`, or None; the state, or
            None if none was passed.
        """
        batch_size, length = ops.shape(tokens.query)[:2]
        phase = None if state is None else state.get("phase")
        read, surprise, memory = memorize(
            tokens,
            self._memory(state, batch_size),
            self._shared(),
            self.recipe,
            count=count,
            phase=phase,
            return_surprise=return_surprise,
            remat=remat,
        )
        if state is None:
            return read, surprise, None
        if phase is not None:
            written = length if count is None else count
            phase = ops.cast(
                (phase + written) % self.recipe.chunk_size, "int32"
            )
        return read, surprise, _as_state(memory, phase)

    def read(self, query, memory):
        """What a memory holds for queries, with nothing written.

        Args:
            query: `(batch, tokens, num_heads, head_dim)`.
            memory: The entry `"memory"` of a state.

        Returns:
            `(batch, tokens, num_heads, head_dim)`.
        """
        by_head = ops.transpose(query, (0, 2, 1, 3))
        read = self.recipe.network(
            by_head, lambda m, x: ops.matmul(x, memory[m])
        )
        return ops.transpose(read, (0, 2, 1, 3))

    def state_spec(self, batch_size):
        """The state's structure, as nested `keras.KerasTensor`s."""

        def maps():
            # New tensors for each entry: a functional model tells them apart
            # by identity.
            return [
                keras.KerasTensor(
                    (batch_size, self.num_heads, *shape), self.variable_dtype
                )
                for shape in self.shapes
            ]

        momentum = maps() if self.recipe.rule.momentum else ()
        return _as_state(
            Memory(maps(), momentum, maps()),
            keras.KerasTensor((batch_size,), "int32"),
        )

    def get_initial_state(self, batch_size):
        """The learned start, one copy for each row."""
        memory = fresh_memory(
            self._initial_weights(),
            batch_size,
            momentum=self.recipe.rule.momentum,
            anchor=True,
        )
        return _as_state(memory, ops.zeros((batch_size,), "int32"))

    def _initial_weights(self):
        """The learned initial memory, `(H, i, o)` for each dense map."""
        return [
            ops.transpose(
                ops.reshape(w, (inputs, self.num_heads, outputs)), (1, 0, 2)
            )
            for w, (inputs, outputs) in zip(
                self.initial_memory, self.shapes, strict=True
            )
        ]

    def _memory(self, state, batch_size):
        """What the scan carries, from a state or fresh."""
        if state is None:
            return fresh_memory(
                self._initial_weights(),
                batch_size,
                momentum=self.recipe.rule.momentum,
                anchor=False,
            )
        return Memory(
            state["memory"], state.get("momentum", ()), state.get("anchor", ())
        )

    def _shared(self):
        rates = []
        if len(self.shapes) > 1:
            rates = ops.unstack(ops.exp(self.log_hidden_rates)[..., None, None])
        initial = ()
        if self.recipe.rule.forget_to == "initial":
            initial = self._initial_weights()
        return Shared(rates, initial)


def _as_state(memory, phase):
    """A `Memory` as plain entries, in the order that every tree keeps.

    Without a phase it is a state between chunks, and needs no anchor.
    """
    state = {"memory": memory.memory}
    if phase is not None:
        state |= {"anchor": memory.anchor, "phase": phase}
    if memory.momentum:
        state["momentum"] = memory.momentum
    return dict(sorted(state.items()))
