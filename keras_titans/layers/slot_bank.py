"""What `SlotMemory` remembers with: slots with learned keys."""

import math

import keras
from keras import initializers
from keras import ops

from keras_titans.ops import slots
from keras_titans.ops.unit import unit


class SlotBank(keras.layers.Layer):
    """The slots between the projections and the output of `SlotMemory`.

    Owns the slots' keys and where their values start. The values are the
    state, and pass through.

    Args:
        num_slots, top_k: As `SlotMemory`'s.
        initializer: Of the slots' first values.
        **kwargs: For `keras.layers.Layer`. The dtype is the state's.
    """

    # Unit queries meet unit keys at products of about 1 / sqrt(head_dim).
    # Scaled up by this, a query attends to a handful of 1,024 slots.
    SHARPNESS = 32.0

    def __init__(self, num_slots, top_k, initializer, **kwargs):
        super().__init__(**kwargs)
        self.num_slots = num_slots
        self.top_k = top_k
        self.initializer = initializer

    def build(self, input_shape):
        """Args: input_shape: `(batch, length, num_heads, head_dim)`."""
        *_, self.num_heads, self.head_dim = input_shape
        shape = (self.num_slots, self.num_heads * self.head_dim)
        self.slot_keys = self.add_weight(
            shape=shape,
            initializer="random_normal",
            autocast=False,
            name="slot_keys",
        )
        self.initial_values = self.add_weight(
            shape=shape,
            initializer=self.initializer.clone(),
            autocast=False,
            name="initial_values",
        )
        self.log_sharpness = self.add_weight(
            shape=(self.num_heads,),
            initializer=initializers.Constant(math.log(self.SHARPNESS)),
            autocast=False,
            name="log_sharpness",
        )

    def call(
        self,
        query,
        key,
        value,
        rate,
        state=None,
        count=None,
        return_surprise=False,
        remat=False,
    ):
        """Write every token, read at every token.

        Args:
            query, key, value: `(batch, tokens, num_heads, head_dim)`.
            rate: `(batch, tokens, num_heads)`.
            state: As `get_initial_state` returns it, or None for fresh.
            count: `(batch,)`, int32: each row's tokens, or None if all are.
            return_surprise: Whether the surprises are asked for.
            remat: Whether to recompute in the backward pass.

        Returns:
            What was read, as `query`; the surprises, as `rate`, or None; the
            state, or None if none was passed.
        """
        rows, length = ops.shape(query)[:2]
        if count is not None:
            here = ops.arange(length, dtype="int32")[None, :] < count[:, None]
            rate = ops.where(here[..., None], rate, 0.0)
        start = self.get_initial_state(rows) if state is None else state
        read, surprise, values = slots.recall_and_store(
            query,
            key,
            value,
            rate,
            self._keys(),
            start["memory"],
            self.top_k,
            return_surprise,
            remat,
        )
        return read, surprise, None if state is None else {"memory": values}

    def read(self, query, memory):
        """What the slots hold for queries, with nothing written."""
        return slots.recall(query, self._keys(), memory, self.top_k)

    def state_spec(self, batch_size):
        """The state's structure, as nested `keras.KerasTensor`s."""
        shape = (batch_size, self.num_heads, self.num_slots, self.head_dim)
        return {"memory": keras.KerasTensor(shape, self.variable_dtype)}

    def get_initial_state(self, batch_size):
        """The learned start, one copy for each row."""
        values = self._by_head(self.initial_values)
        shape = (batch_size, *values.shape)
        return {"memory": ops.broadcast_to(values[None], shape)}

    def _keys(self):
        """`(num_heads, num_slots, head_dim)`, as long as they are sharp."""
        sharpness = ops.exp(self.log_sharpness)[:, None, None]
        return sharpness * unit(self._by_head(self.slot_keys))

    def _by_head(self, weight):
        shape = (self.num_slots, self.num_heads, self.head_dim)
        return ops.transpose(ops.reshape(weight, shape), (1, 0, 2))
