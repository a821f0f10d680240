"""Reading for the sake of the memory, piece by piece."""

import threading

import numpy as np

from keras_titans import backend

SHORTEST = 32  # tokens to a piece, padded: few lengths are compiled


class MemoryReaders:
    """A model's compiled readers, which threads may share."""

    def __init__(self):
        self._lock = threading.Lock()
        self._found = {}  # by name

    def get(self, name, read, model):
        """The compiled form of a function that reads tokens.

        Args:
            name: What tells this reader from the model's others.
            read: `read(token_ids, padding_mask, state)`, a function of
                tensors.
            model: The model whose `backbone` it reads with.
        """
        variables = model.backbone.variables
        # What a backend has compiled does not see that weights were added.
        now = [id(variable) for variable in variables], model.jit_compile
        with self._lock:
            found = self._found.get(name)
            if found is None or found[0] != now:
                reader = backend.inference(read, variables, model.jit_compile)
                found = self._found[name] = now, reader
        return found[1]


def pieces_of(token_ids, mask, length):
    """Pieces of one length, but for the last: a power of two, if shorter."""
    for start in range(0, token_ids.shape[1], length):
        piece, real = (x[:, start : start + length] for x in (token_ids, mask))
        size = piece.shape[1]
        padded = max(SHORTEST, 1 << (size - 1).bit_length())
        room = [(0, 0), (0, max(min(padded, length) - size, 0))]
        yield np.pad(piece, room), np.pad(real, room)
