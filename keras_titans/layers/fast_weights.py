"""What `NeuralMemory` remembers with: weights that each token rewrites."""

import math

import keras
import numpy as np
from keras import initializers
from keras import ops
from keras import tree

from keras_titans.memory.probe import check_linear
from keras_titans.memory.probe import check_network
from keras_titans.ops.finite import finite_first
from keras_titans.ops.recipe import Memory
from keras_titans.ops.recipe import Shared
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
        check_network(self.recipe.network, head_dim, self.recipe.anchor)
        if self.recipe.objective.linear:
            check_linear(self.recipe.objective)
        self.shapes = self.recipe.network.map_shapes(head_dim)
        # The names of what the update rule carries.
        weights = [np.zeros(shape, "float32") for shape in self.shapes]
        self.entries = sorted(self.recipe.rule.initial_state(weights))
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
            start = math.log(self.recipe.network.hidden_rate)
            self.log_hidden_rates = self.add_weight(
                shape=(len(self.shapes) - 1, self.num_heads),
                initializer=initializers.Constant(start),
                autocast=False,
                name="log_hidden_rates",
            )

    @property
    def has_chunks(self):
        """Whether it matters where a chunk begins.

        The gradients of a matrix at each token's own memory do not tell.
        """
        recipe = self.recipe
        exact = recipe.anchor == "token" and len(self.shapes) == 1
        return not exact or recipe.rule.acts_at_chunk_end

    # Not `call`: Keras takes no tuples of tensors and others.
    def write_and_read(
        self,
        tokens,
        finite,
        state=None,
        count=None,
        return_norms=False,
        remat=False,
    ):
        """Write every token, read at every token.

        Args:
            tokens: A `keras_titans.ops.recipe.Tokens`.
            finite: The `Finite` tokens. Others are not written.
            state: As `get_initial_state` returns it, or None for fresh. One
                without `"phase"` and `"anchor"` starts and ends with a chunk.
            count: `(batch,)`, int32: each row's tokens, or None if all are.
            return_norms: Whether the gradients' norms are asked for.
            remat: Whether to recompute in the backward pass.

        Returns:
            What was read `(batch, tokens, num_heads, head_dim)`; the norms of
            the gradients `(batch, tokens, num_heads)`, or None; the state, or
            None if none was passed.
        """
        batch_size, length = ops.shape(tokens.query)[:2]
        memory, phase = self._memory(state, batch_size)
        keep, back = None, lambda x: x
        if not self.has_chunks:
            keep = None if finite.missing is False else finite.tokens
        else:
            # What is left out has no place in a chunk.
            flat = tree.flatten(tokens)
            flat, count, back = finite_first(flat, finite, count)
            tokens = tree.pack_sequence_as(tokens, flat)
        read, norms, memory = memorize(
            tokens,
            memory,
            self._shared(),
            self.recipe,
            count=count,
            phase=phase,
            keep=keep,
            return_norms=return_norms,
            remat=remat,
        )
        read = back(read)
        if norms is not None:
            norms = back(norms)
        if state is None:
            return read, norms, None
        after = dict(memory.state)
        if phase is not None:
            written = length if count is None else count
            phase = (phase + written) % self.recipe.chunk_size
            after["anchor"] = memory.anchor
            after["phase"] = ops.cast(phase, "int32")
        return read, norms, dict(sorted(after.items()))

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

        def weights():
            # New tensors for each entry: a functional model tells them apart
            # by identity.
            return [
                keras.KerasTensor(
                    (batch_size, self.num_heads, *shape), self.variable_dtype
                )
                for shape in self.shapes
            ]

        spec = {name: weights() for name in self.entries}
        if self.has_chunks:
            spec["anchor"] = weights()
            spec["phase"] = keras.KerasTensor((batch_size,), "int32")
        return dict(sorted(spec.items()))

    def get_initial_state(self, batch_size):
        """The learned start, one copy for each row."""
        memory = fresh_memory(
            self._initial_weights(),
            batch_size,
            self.recipe.rule,
            anchor=self.has_chunks,
        )
        state = dict(memory.state)
        if self.has_chunks:
            state["anchor"] = memory.anchor
            state["phase"] = ops.zeros((batch_size,), "int32")
        return dict(sorted(state.items()))

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
        """What the loop carries, and the phase, from a state or fresh."""
        if state is None:
            weights = self._initial_weights()
            rule = self.recipe.rule
            return fresh_memory(weights, batch_size, rule, anchor=False), None
        entries = {name: state[name] for name in self.entries}
        return Memory(entries, state.get("anchor", ())), state.get("phase")

    def _shared(self):
        rates = []
        if len(self.shapes) > 1:
            rates = ops.unstack(ops.exp(self.log_hidden_rates)[..., None, None])
        return Shared(rates, self._initial_weights())
