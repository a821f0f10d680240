"""Reading for the sake of the memory, piece by piece."""

from typing import Any

import keras
import numpy as np

SHORTEST = 32  # tokens to a piece, padded: few lengths are compiled


class MemoryReader(keras.Model):
    """From tokens and a state to the state after them."""

    def __init__(self, backbone, update):
        super().__init__(autocast=False, dtype="float32", name="reader")
        self.backbone = backbone
        self.update = update
        self.built = True

    def call(self, inputs, training=False):
        tokens, real, state = (
            inputs.get(key) for key in ("token_ids", "padding_mask", "state")
        )
        if state is None:
            state = self.backbone.get_initial_state(keras.ops.shape(tokens)[0])
        return self.backbone.stream(
            tokens, state, real, training=training, update=self.update
        )[-1]

    def read(self, tokens, real, state):
        """NumPy in and out; `state=None` for the one of the start."""
        inputs = {"token_ids": tokens, "padding_mask": real}
        if state is not None:
            inputs["state"] = state
        return self.predict_on_batch(inputs)


class MemoryReaders:
    """Compiled readers, where Keras does not take them for layers."""

    def __init__(self):
        self._found: dict[bool, Any] = {}  # by `update`

    def get(self, backbone, update):
        # What a backend has compiled does not see that weights were added.
        now = [id(variable) for variable in backbone.variables]
        found = self._found.get(update)
        if found is None or found[0] != now:
            found = self._found[update] = now, MemoryReader(backbone, update)
        return found[1]


def pieces_of(token_ids, mask, length):
    """Pieces of one length, but for the last: a power of two, if shorter."""
    for start in range(0, token_ids.shape[1], length):
        piece, real = (x[:, start : start + length] for x in (token_ids, mask))
        size = piece.shape[1]
        padded = max(SHORTEST, 1 << (size - 1).bit_length())
        room = [(0, 0), (0, max(min(padded, length) - size, 0))]
        yield np.pad(piece, room), np.pad(real, room)
