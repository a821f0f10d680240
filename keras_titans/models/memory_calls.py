"""Calls that start from a memory of their own, and return the one after.

Nothing of such a call is kept in the model, so threads may make several at
once.
"""

import contextlib
import contextvars

import keras
from keras import ops

from keras_titans.models.memory_snapshot import MemorySnapshot


def check_memory(memory):
    """Raise a ValueError for what is no memory, such as a layer."""
    if not isinstance(memory, MemorySnapshot):
        raise ValueError(
            "Argument `memory` must be a MemorySnapshot, as `get_memory`, "
            "`memorize` and `MemorySnapshot.load` return it. Received: "
            f"{type(memory).__name__}; a layer belongs to the constructor."
        )


class MemoryRows:
    """Gives each batch its rows of a memory, in the order of the data.

    Args:
        memory: A `MemorySnapshot` with a row for each row of the data, or
            with one row that all start from.
    """

    def __init__(self, memory):
        self._memory = memory
        self._taken = 0

    def check(self, rows):
        """Raise a ValueError unless the data may have so many rows."""
        have = len(self._memory)
        if have not in (1, rows):
            raise ValueError(
                f"The memory has {have} rows, so the inputs must have {have} "
                f"too, or the memory one row. Received: {rows} rows of "
                "inputs. `rows(...)` of a MemorySnapshot takes some of its "
                "rows."
            )

    def take_all(self, rows):
        """The memory of data that is one batch, a `MemorySnapshot`."""
        self.check(rows)
        return self.take(rows)

    def take(self, rows):
        """The memory of the next rows of the data, a `MemorySnapshot`."""
        have, first = len(self._memory), self._taken
        self._taken += rows
        if have == rows and not first:
            return self._memory
        if have == 1:
            return self._memory.rows([0] * rows)
        if self._taken > have:
            self.check(self._taken)
        return self._memory.rows(slice(first, self._taken))

    def check_all_taken(self):
        """Raise a ValueError if the data ended before the memory's rows."""
        self.check(self._taken)


class Generation:
    """One call of `generate`: what it starts from, and what it has written.

    Args:
        memory: A `MemorySnapshot`, or None for a fresh one.
    """

    def __init__(self, memory):
        self._rows = None if memory is None else MemoryRows(memory)
        self.written = []  # for each batch: its memory before, its tokens

    def check(self, batches):
        """Raise a ValueError unless the memory has the batches' rows."""
        if self._rows is not None:
            self._rows.check(sum(map(_count_rows, batches)))

    def run(self, generate, inputs, stop_token_ids, spec):
        """Generate from one batch of prompts.

        Args:
            generate: KerasHub's compiled function.
            inputs, stop_token_ids: What it takes.
            spec: The structure, shapes and dtypes of the model's memory.
        """
        memory = None
        if self._rows is not None:
            memory = self._rows.take(len(inputs["token_ids"]))
            inputs = {**inputs, "memory": memory.to_state(spec)}
        outputs = generate(inputs, stop_token_ids=stop_token_ids)
        self.written.append((memory, outputs))
        return outputs


_GENERATION: contextvars.ContextVar[Generation | None] = contextvars.ContextVar(
    "generation", default=None
)


@contextlib.contextmanager
def generating(generation):
    """A scope for one call of KerasHub's `generate`, in one thread.

    That method has no argument by which a memory could reach the functions
    that it calls.
    """
    token = _GENERATION.set(generation)
    try:
        yield generation
    finally:
        _GENERATION.reset(token)


def current_generation():
    """The open scope's `Generation`, or None."""
    return _GENERATION.get()


def _count_rows(batch):
    """How many rows a batch has: texts, arrays, or a dictionary of them."""
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch)


class PredictedBatches:
    """Reads batch after batch for `predict`, each from its rows of a memory.

    Args:
        reader: `reader(token_ids, padding_mask, state)`, which returns the
            outputs and the state.
        memory: The `MemorySnapshot` to start from.
        spec: The structure, shapes and dtypes of the model's memory.
        fingerprint: The model's.
    """

    def __init__(self, reader, memory, spec, fingerprint):
        self.reader, self.spec = reader, spec
        self.fingerprint = fingerprint
        self.rows = MemoryRows(memory)
        self.after = []  # the memory after each batch

    def read(self, inputs):
        """The outputs for a batch of token ids and their padding mask."""
        token_ids = ops.cast(inputs["token_ids"], "int32")
        real = ops.cast(inputs["padding_mask"], "bool")
        memory = self.rows.take(len(token_ids))
        outputs, state = self.reader(
            token_ids, real, memory.to_state(self.spec)
        )
        tokens = memory.tokens + ops.convert_to_numpy(real).sum(axis=1)
        self.after.append(MemorySnapshot(state, self.fingerprint, tokens))
        return outputs


class Predictor(keras.Model):
    """Keras' `predict` around a function of one batch.

    It has no weights, so Keras does not move any while it predicts. On JAX it
    would take them out of the model, where other threads need them. It runs
    eagerly, because its function is compiled.

    Args:
        function: From one batch of inputs to its outputs.
    """

    def __init__(self, function):
        super().__init__(autocast=False, dtype="float32", name="predictor")
        self.run_eagerly, self.jit_compile = True, False
        self.function = function
        self.built = True

    def call(self, inputs, training=False):
        return self.function(inputs)
