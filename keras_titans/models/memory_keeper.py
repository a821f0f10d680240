"""Models that keep a memory from call to call, when they are asked to."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_titans.models.fingerprint import fingerprint
from keras_titans.models.memory_reader import MemoryReaders
from keras_titans.models.memory_reader import pieces_of
from keras_titans.models.memory_snapshot import MemorySnapshot
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer


class MemoryKeeper:
    """What a model with a `backbone` that streams can do about its memory.

    A kept memory is what `generate` starts from. It is changed by what is
    said here to change it and by nothing else: `fit`, `evaluate`, `predict`
    and calls start every sequence with a fresh memory and keep none, and
    `generate` keeps none unless it is told to.

        memorize        read a text from the kept memory on, and keep it
        get_memory      a copy of it, as a `MemorySnapshot`
        set_memory      keep another
        save_memory     write it to a file
        load_memory     keep what is in a file
        reset_memory    keep none

    A memory may have a row for each sequence that is read, or one for all.
    It is no part of the model's own files.
    """

    backbone: Any
    _kept: Any = None  # a `MemorySnapshot`
    _readers: Any = None
    _overheard: Any = None  # what `generate` puts out, if it is to be kept

    def memorize(self, inputs, update=True, piece_length=512):
        """Read something and keep the memory of it.

        What is read goes on where the kept memory has ended. It is read
        piece by piece, so that its length costs time and no space.

        Args:
            inputs: A string or several, which the preprocessor's tokenizer
                splits and to which nothing is added; or token ids, as an
                array `(length,)` or `(batch, length)` or lists of any
                lengths; or a dictionary of `"token_ids"` and
                `"padding_mask"`, `(batch, length)`. A memory is kept for each
                row. Where the kept memory has one row, all begin with it.
            update: Whether the long-term memory is written. If False it stays
                as it is, and only the attention's window moves on.
            piece_length: How many tokens are read at once.
        """
        check_positive_integer("piece_length", piece_length)
        token_ids, mask = self._rows_of_tokens(inputs)
        mine = fingerprint(self.backbone)
        state, read = None, 0
        if self._kept is not None:
            self._check_weights(mine)
            kept = self._kept_rows(len(token_ids))
            state, read = kept.state, kept.tokens
        reader = self._reader(update)
        for piece, real in pieces_of(token_ids, mask, piece_length):
            state = reader.read(piece, real, state)
        self._kept = MemorySnapshot(state, mine, read + mask.sum(axis=1))

    def get_memory(self):
        """A copy of the kept memory.

        Returns:
            A `MemorySnapshot`. Where no memory is kept, the one that every
            sequence starts with, of one row.
        """
        if self._kept is not None:
            return self._kept.copy()
        nothing: Any = np.zeros((1, 1), "int32")
        state = self._reader(False).read(nothing, nothing.astype(bool), None)
        return MemorySnapshot(state, fingerprint(self.backbone))

    def set_memory(self, memory, strict=True):
        """Keep a copy of a memory.

        Args:
            memory: A `MemorySnapshot`.
            strict: Whether the model's weights must be those that wrote it.
                If False, those of a model with the same settings will do.
        """
        check_instance("memory", memory, MemorySnapshot)
        spec = self.memory_spec()
        mine = fingerprint(self.backbone)
        memory.check_fits(spec, mine, strict)
        state = tree.map_structure(
            keras.ops.convert_to_numpy, memory.to_state(spec)
        )
        self._kept = MemorySnapshot(state, mine, memory.tokens)

    def save_memory(self, path):
        """Write the kept memory to one file, as `MemorySnapshot.save`.

        Args:
            path: The file's name. A file that is there is replaced.
        """
        self.get_memory().save(path)

    def load_memory(self, path, strict=True):
        """Keep the memory in a file.

        Args:
            path: The name of a file that `save_memory` has written, under
                whatever backend.
            strict: As `set_memory`'s.
        """
        self.set_memory(MemorySnapshot.load(path), strict)

    def reset_memory(self):
        """Forget the kept memory."""
        self._kept = None

    def memory_spec(self):
        """The structure, shapes and dtypes of a memory of any rows."""
        return [
            block.mixer.state_spec(None)
            for block in self.backbone.transformer_layers
        ]

    def generate(self, *args, keep_memory=False, **kwargs):
        """As `keras_hub.models.CausalLM.generate`, from the kept memory on.

        Args:
            *args: As `keras_hub.models.CausalLM.generate`.
            keep_memory: Whether the prompts and what followed them are
                memorised afterwards. They are read once more for that.
            **kwargs: As `keras_hub.models.CausalLM.generate`.
        """
        parent: Any = super()
        if not keep_memory:
            return parent.generate(*args, **kwargs)
        self._overheard = []
        try:
            results = parent.generate(*args, **kwargs)
            self._keep_overheard()
            return results
        finally:
            self._overheard = None

    def make_generate_function(self):
        """KerasHub's, with the kept memory among its inputs."""
        parent: Any = super()
        generate = parent.make_generate_function()

        def generate_from_memory(inputs, stop_token_ids=None):
            if self._kept is not None:
                kept = self._kept_rows(len(inputs["token_ids"]))
                inputs = {**inputs, "memory": kept.to_state()}
            outputs = generate(inputs, stop_token_ids=stop_token_ids)
            if self._overheard is not None:
                self._overheard.append(outputs)
            return outputs

        return generate_from_memory

    def _keep_overheard(self):
        if len(self._overheard) != 1:
            raise ValueError(
                "Argument `keep_memory` takes one batch of prompts, whose rows "
                f"the memory's are. Received: {len(self._overheard)} batches."
            )
        outputs = self._overheard[0]
        self.memorize(
            {key: outputs[key] for key in ("token_ids", "padding_mask")}
        )

    def _kept_rows(self, rows):
        kept = self._kept
        if len(kept) == rows:
            return kept
        if len(kept) == 1:
            return kept.rows([0] * rows)
        raise ValueError(
            f"The kept memory has {len(kept)} rows, so inputs must have as "
            f"many. Received: {rows} rows. `get_memory().rows(...)` takes "
            "some; `set_memory` keeps them."
        )

    def _check_weights(self, mine):
        if self._kept.fingerprint != mine:
            raise ValueError(
                "The model's weights have changed since it wrote the memory "
                "that it keeps. Forget it with `reset_memory()`, or go on "
                "with it all the same: "
                "`set_memory(get_memory(), strict=False)`."
            )

    def _reader(self, update):
        if self._readers is None:
            self._readers = MemoryReaders()
        return self._readers.get(self.backbone, bool(update))

    def _rows_of_tokens(self, inputs):
        """`(batch, length)` ids, and which of them are tokens."""
        if isinstance(inputs, dict):
            token_ids = _as_array(inputs["token_ids"]).astype("int32")
            mask = _as_array(inputs["padding_mask"]).astype(bool)
            return token_ids, mask
        if isinstance(inputs, str):
            inputs = [inputs]
        if isinstance(inputs, list | tuple) and inputs:
            if isinstance(inputs[0], str):
                inputs = [self._tokens(text) for text in inputs]
            elif np.ndim(inputs[0]) == 0:
                inputs = [inputs]
        else:
            inputs = _as_array(inputs)
            inputs = inputs[None] if inputs.ndim == 1 else inputs
        return _padded([_as_array(row) for row in inputs])

    def _tokens(self, text):
        preprocessor = getattr(self, "preprocessor", None)
        if preprocessor is None:
            raise ValueError(
                "A text takes a model with a preprocessor, and this one has "
                f"none: pass token ids. Received: inputs={text!r}."
            )
        return preprocessor.tokenizer(text)


def _as_array(x):
    return x if isinstance(x, np.ndarray) else _numpy(x)


def _numpy(x):
    if isinstance(x, list | tuple) or not keras.ops.is_tensor(x):
        return np.asarray(x)
    return keras.ops.convert_to_numpy(x)


def _padded(rows):
    """Rows of any lengths as one array, and where they are."""
    for row in rows:
        if row.ndim != 1 or not (row.size == 0 or row.dtype.kind in "iu"):
            raise ValueError(
                "Argument `inputs` must be texts or rows of token ids. "
                f"Received: {row.dtype} of shape {row.shape}."
            )
    lengths = np.array([len(row) for row in rows])
    if not lengths.size or not lengths.max():
        raise ValueError(
            "Argument `inputs` must hold at least one token. Received: none."
        )
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    token_ids = np.zeros(mask.shape, "int32")
    token_ids[mask] = np.concatenate(rows)
    return token_ids, mask
