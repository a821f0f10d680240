"""Models that keep a memory from call to call, when they are asked to."""

import contextlib
import threading
from typing import Any

from keras import ops

from keras_titans.models.fingerprint import fingerprint
from keras_titans.models.memory_calls import Generation
from keras_titans.models.memory_calls import MemoryRows
from keras_titans.models.memory_calls import PredictedBatches
from keras_titans.models.memory_calls import Predictor
from keras_titans.models.memory_calls import check_memory
from keras_titans.models.memory_calls import current_generation
from keras_titans.models.memory_calls import generating
from keras_titans.models.memory_reader import MemoryReaders
from keras_titans.models.memory_reader import pieces_of
from keras_titans.models.memory_snapshot import MemorySnapshot
from keras_titans.models.token_rows import rows_of_tokens
from keras_titans.validation import check_positive_integer


class KeptMemory:
    """What one model keeps, and the locks that it is changed under.

    Keras looks into no such object: it is not tracked, saved or cloned.
    """

    def __init__(self):
        self.snapshot: MemorySnapshot | None = None  # replaced, never changed
        self.readers = MemoryReaders()
        self.lock = threading.RLock()  # held from reading to replacing it
        # A lock of its own: whoever only generates waits for no memory.
        self.building = threading.Lock()


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

    One model may serve many users, each with a memory of their own, in as
    many threads: pass the user's memory as `memory`, and get the next one
    back. Such a call neither reads nor changes the kept memory. Calls that
    change the kept memory wait for each other. `fit`, `evaluate`, `compile`
    and a `predict` without a memory are Keras' own: no other thread may use
    the model while they run.

    A model that also derives from a KerasHub task names the task first.
    KerasHub writes the first base class into its presets.
    """

    backbone: Any
    jit_compile: Any

    def memorize(self, inputs, update=True, piece_length=512, memory=None):
        """Read something and keep the memory of it.

        What is read goes on where the memory has ended. It is read piece by
        piece, so that its length costs time and no space.

        Args:
            inputs: A string or several, which the preprocessor's tokenizer
                splits and to which nothing is added; or token ids, as an
                array `(length,)` or `(batch, length)` or lists of any
                lengths; or a dictionary of `"token_ids"` and
                `"padding_mask"`, `(batch, length)`. A memory is kept for each
                row. Where the memory has one row, all begin with it.
            update: bool. Whether the long-term memory is written. If False it
                stays as it is, and only the attention's window moves on.
                Defaults to `True`.
            piece_length: int. How many tokens are read at once. Defaults to
                `512`.
            memory: `MemorySnapshot`. The memory to go on from. The model then
                keeps nothing. Defaults to `None`, for the kept memory.

        Returns:
            The `MemorySnapshot` after the inputs if `memory` was passed, or
            else None.
        """
        check_positive_integer("piece_length", piece_length)
        if memory is not None:
            check_memory(memory)
        token_ids, mask = rows_of_tokens(
            inputs, getattr(self, "preprocessor", None)
        )
        mine = fingerprint(self.backbone)
        if memory is not None:
            self._check_fits(memory, mine)
            return self._memory_after(
                memory, token_ids, mask, mine, update, piece_length
            )
        kept = self._kept_memory()
        with kept.lock:
            before = self._checked_snapshot(mine) or self._fresh_memory(mine)
            kept.snapshot = self._memory_after(
                before, token_ids, mask, mine, update, piece_length
            )

    def get_memory(self):
        """A copy of the kept memory.

        Returns:
            A `MemorySnapshot`. Where no memory is kept, the one that every
            sequence starts with, of one row.
        """
        snapshot = self._kept_memory().snapshot
        if snapshot is not None:
            return snapshot.copy()
        return self._fresh_memory(fingerprint(self.backbone))

    def set_memory(self, memory, strict=True):
        """Keep a copy of a memory.

        Args:
            memory: A `MemorySnapshot`.
            strict: bool. Whether the model's weights must be those that wrote
                it. If False, those of a model with the same settings will do.
                Defaults to `True`.
        """
        check_memory(memory)
        mine = fingerprint(self.backbone)
        self._check_fits(memory, mine, strict)
        state = memory.to_state(self.memory_spec())
        self._keep(MemorySnapshot(state, mine, memory.tokens))

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
        self._keep(None)

    def memory_spec(self):
        """The structure, shapes and dtypes of a memory of any rows."""
        return [
            block.mixer.state_spec(None)
            for block in self.backbone.transformer_layers
        ]

    def _kept_memory(self):
        # Past Keras, which would track an attribute. And at once, so that two
        # threads that come first get the same one.
        return vars(self).setdefault("_kept_memory_of_model", KeptMemory())

    def _keep(self, snapshot):
        kept = self._kept_memory()
        with kept.lock:
            kept.snapshot = snapshot

    def _fresh_memory(self, mine):
        """The memory that every sequence starts with, of one row."""
        return MemorySnapshot(self.backbone.get_initial_state(1), mine)

    def _checked_snapshot(self, mine):
        """The kept memory if the weights still are its own; None if none."""
        snapshot = self._kept_memory().snapshot
        if snapshot is not None and snapshot.fingerprint != mine:
            raise ValueError(
                "The model's weights have changed since it wrote the memory "
                "that it keeps. Forget it with `reset_memory()`, or go on "
                "with it all the same: "
                "`set_memory(get_memory(), strict=False)`."
            )
        return snapshot

    def _check_fits(self, memory, mine, strict=True):
        memory.check_fits(self.memory_spec(), mine, strict)

    def _memory_after(
        self, memory, token_ids, mask, mine, update=True, piece_length=512
    ):
        """The `MemorySnapshot` after rows of tokens, read from one on."""
        backbone, update = self.backbone, bool(update)

        def read(token_ids, real, state):
            return backbone.stream(
                token_ids, state, real, training=False, update=update
            )[-1]

        reader = self._reader(f"memory, update={update}", read)
        memory = MemoryRows(memory).take_all(len(token_ids))
        state = memory.to_state(self.memory_spec())
        for piece, real in pieces_of(token_ids, mask, piece_length):
            state = reader(
                ops.convert_to_tensor(piece), ops.convert_to_tensor(real), state
            )
        return MemorySnapshot(state, mine, memory.tokens + mask.sum(axis=1))

    def _memory_before(self, memory, mine):
        """A caller's memory if it fits; a fresh one for None."""
        if memory is None:
            return self._fresh_memory(mine)
        check_memory(memory)
        self._check_fits(memory, mine)
        return memory

    def _reader(self, name, read):
        return self._kept_memory().readers.get(name, read, self)

    def _generate(self, generate, memory, return_memory, keep_memory):
        """What a model's `generate` returns.

        Args:
            generate: KerasHub's `generate` with its arguments, without its
                model's memory.
            memory, return_memory, keep_memory: As the model's `generate`'s.
        """
        if memory is not None:
            check_memory(memory)
            if keep_memory:
                raise ValueError(
                    "Argument `keep_memory` must be False where `memory` is "
                    "given: the model keeps what goes on from the kept memory "
                    "alone. `return_memory=True` returns the memory after "
                    "the call. Received: keep_memory=True and a `memory`."
                )
        mine = None
        if memory is not None or return_memory or keep_memory:
            mine = fingerprint(self.backbone)
        if memory is not None:
            self._check_fits(memory, mine)
        kept = self._kept_memory()
        with kept.lock if keep_memory else contextlib.nullcontext():
            if memory is None:
                memory = (
                    kept.snapshot
                    if mine is None
                    else (self._checked_snapshot(mine))
                )
            with generating(Generation(memory)) as generation:
                results = generate()
            if not return_memory and not keep_memory:
                return results
            after = self._memory_after_generation(generation, mine)
            if keep_memory:
                kept.snapshot = after
        return (results, after.copy()) if return_memory else results

    def _memory_after_generation(self, generation, mine):
        after = []
        for before, outputs in generation.written:
            if before is None:
                before = self._fresh_memory(mine)
            token_ids, mask = rows_of_tokens(outputs)
            after.append(self._memory_after(before, token_ids, mask, mine))
        return MemorySnapshot.join(after)

    def _generate_function(self, make):
        """The function that KerasHub's `generate` calls with each batch.

        Args:
            make: KerasHub's `make_generate_function`.
        """
        # KerasHub makes it in several steps, and no thread may see one of
        # them.
        kept = self._kept_memory()
        with kept.building:
            generate = make()
        current = current_generation()

        def generate_from_memory(inputs, stop_token_ids=None):
            generation = current or Generation(kept.snapshot)
            return generation.run(
                generate, inputs, stop_token_ids, self.memory_spec()
            )

        return generate_from_memory

    def _predict(self, read, x, memory, return_memory, **options):
        """What a model's `predict` with a memory returns.

        Args:
            read: `read(token_ids, padding_mask, state)`, a function of
                tensors, which returns the outputs and the state.
            x: Token ids and their padding masks, as `keras.Model.predict`
                takes them.
            memory, return_memory: As the model's `predict`'s.
            **options: As `keras.Model.predict`'s.
        """
        mine = fingerprint(self.backbone)
        batches = PredictedBatches(
            self._reader("outputs", read),
            self._memory_before(memory, mine),
            self.memory_spec(),
            mine,
        )
        if isinstance(x, dict):
            batches.rows.check(len(x["token_ids"]))
        results = Predictor(batches.read).predict(x, **options)
        batches.rows.check_all_taken()
        if not return_memory:
            return results
        return results, MemorySnapshot.join(batches.after)
