"""What the three ways to join attention and a memory have in common."""

import keras
from keras import initializers
from keras import ops
from keras import tree

from keras_titans.layers.neural_memory import NeuralMemory
from keras_titans.layers.persistent_tokens import PersistentTokens
from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.layers.windowed_attention import WindowedAttention
from keras_titans.validation import check_whole_number


def check_memory(name, memory):
    """A memory; also from its serialised form."""
    if isinstance(memory, dict) and "class_name" in memory:
        memory = keras.saving.deserialize_keras_object(memory)
    if not isinstance(memory, StatefulLayer) or not memory.is_memory:
        raise ValueError(
            f"Argument `{name}` must be a `NeuralMemory` or a `SlotMemory`. "
            f"Received: {name}={memory!r}."
        )
    return memory


class AttentionAndMemory(StatefulLayer):
    """Attention as the short-term memory beside a long-term one.

    Args:
        num_heads: int. Heads of the attention.
        window_size: int. Tokens of the attention's window or segment.
        memory: `NeuralMemory`, `SlotMemory` or another memory layer. Defaults
            to `NeuralMemory()`.
        num_persistent_tokens: int. Learned tokens before the sequence.
            Defaults to `4`.
        head_dim: int. Width of each head of the attention. Defaults to the
            input's width divided by `num_heads`.
        num_key_value_heads: int. Heads of the attention's keys and values, as
            `WindowedAttention`'s. Defaults to `num_heads`.
        kernel_initializer: str or Keras initializer. For the attention's
            projections. Defaults to `"glorot_uniform"`.
        return_state: bool. Whether to return the state after the outputs.
            Defaults to `False`.
        stateful: bool. Whether a call starts where the last one ended.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.
    """

    segmented = False
    # What the state calls the attention's, so that none is taken for another.
    attention_entry = "attention"

    def __init__(
        self,
        num_heads,
        window_size,
        memory=None,
        num_persistent_tokens=4,
        head_dim=None,
        num_key_value_heads=None,
        kernel_initializer="glorot_uniform",
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.num_persistent_tokens = check_whole_number(
            "num_persistent_tokens", num_persistent_tokens
        )
        self.attention = WindowedAttention(
            num_heads,
            window_size,
            head_dim=head_dim,
            num_key_value_heads=num_key_value_heads,
            segmented=self.segmented,
            with_memory_tokens=self.segmented,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
            name="attention",
        )
        for name in (
            "num_heads",
            "window_size",
            "head_dim",
            "num_key_value_heads",
            "kernel_initializer",
        ):
            setattr(self, name, getattr(self.attention, name))
        if memory is None:
            memory = NeuralMemory(dtype=self.dtype_policy, name="memory")
        memory = check_memory("memory", memory)
        if memory.stateful or memory.return_state:
            raise ValueError(
                "The state of argument `memory` is a part of this layer's: "
                "pass `stateful` and `return_state` to this layer. Received: "
                f"memory with stateful={memory.stateful}, "
                f"return_state={memory.return_state}."
            )
        self.memory = memory

    def build(self, input_shape):
        self.width = self.check_width(input_shape)
        self.persistent_tokens = None
        if self.num_persistent_tokens:
            self.persistent_tokens = PersistentTokens(
                self.num_persistent_tokens,
                dtype=self.dtype_policy,
                name="persistent_tokens",
            )
        for layer in self.parts():
            if not layer.built:
                layer.build(input_shape)
        self.build_state(input_shape[0])

    def parts(self):
        """The layers that this one is made of."""
        return self._flatten_layers(include_self=False, recursive=False)

    @property
    def prefix(self):
        """The persistent tokens `(tokens, width)`, or None."""
        if self.persistent_tokens is None:
            return None
        return ops.cast(self.persistent_tokens.tokens, self.compute_dtype)

    def remember(self, x, state, count, training, update, return_diagnostics):
        """The memory over the persistent tokens and `x`; what it gives `x`.

        A state that is passed has read the persistent tokens already.
        """
        options = {
            "training": training,
            "update": update,
            "return_diagnostics": return_diagnostics,
        }
        if self.persistent_tokens is None:
            return self.memory.mix(x, state, count, **options)
        if state is None and not update:
            state = self.memory_after_prefix(ops.shape(x)[0])
        if state is not None:
            return self.memory.mix(x, state, count, **options)
        first = self.num_persistent_tokens
        if count is not None:
            count = count + first
        outputs, diagnostics, _ = self.memory.mix(
            self.persistent_tokens(x), None, count, **options
        )
        if diagnostics is not None:
            diagnostics = {n: x[:, first:] for n, x in diagnostics.items()}
        return outputs[:, first:], diagnostics, None

    def read_prefix(self):
        """The memory's outputs at the persistent tokens, and its state then.

        They are the same for every input, so they are computed for one row.
        """
        outputs, _, state = self.memory.mix(
            self.prefix[None],
            self.memory.get_initial_state(1),
            None,
            training=False,
            update=True,
            return_diagnostics=False,
        )
        return outputs[0], state

    def memory_after_prefix(self, batch_size):
        """The memory's state once it has read the persistent tokens."""
        if self.persistent_tokens is None:
            return self.memory.get_initial_state(batch_size)
        _, state = self.read_prefix()
        return tree.map_structure(
            lambda x: ops.broadcast_to(x, (batch_size, *x.shape[1:])), state
        )

    def state_spec(self, batch_size):
        return {
            self.attention_entry: self.attention.state_spec(batch_size),
            "memory": self.memory.state_spec(batch_size),
        }

    def get_initial_state(self, batch_size):
        """The state before anything was read but the persistent tokens.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary, as a call returns it.
        """
        return {
            self.attention_entry: self.attention.get_initial_state(batch_size),
            "memory": self.memory_after_prefix(batch_size),
        }

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
            self.memory.diagnostics_shapes() if return_diagnostics else None,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "memory": keras.saving.serialize_keras_object(self.memory),
            "num_persistent_tokens": self.num_persistent_tokens,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "kernel_initializer": initializers.serialize(
                self.kernel_initializer
            ),
        }
