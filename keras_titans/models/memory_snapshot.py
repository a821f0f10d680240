"""A memory that is kept: its arrays, and a file of them."""

import os
import pathlib
import uuid

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_titans.models import memory_file
from keras_titans.models.fingerprint import check_fingerprint
from keras_titans.models.memory_merge import merged
from keras_titans.models.memory_merge import shares_of
from keras_titans.validation import check_instance


class MemorySnapshot:
    """What a model remembers at one moment, apart from the model.

    It holds the state of every memory, and of the attentions and convolutions
    beside them, as NumPy arrays: nothing is shared with a model, whatever the
    backend. It can be copied, saved, loaded under another backend, split into
    rows, put together from rows and merged.

    A memory means something only to the weights that wrote it. So a snapshot
    carries the fingerprint of its model, which `check_fits` compares.

    Args:
        state: Nested dictionaries and lists of arrays or tensors with the
            rows on axis 0, as `get_initial_state` returns them.
        fingerprint: `keras_titans.models.fingerprint.Fingerprint`. The
            model's. Defaults to `None`: the memory fits any model of its
            shapes.
        tokens: int, or a sequence of ints with one for each row. How many
            tokens were read. Defaults to `0`.

    Example:

    ```python
    import os
    import tempfile

    import keras
    import keras_titans

    layer = keras_titans.layers.NeuralMemory(2, return_state=True)
    diary = keras.random.normal((1, 50, 16))
    _, state = layer(diary)

    path = os.path.join(tempfile.mkdtemp(), "diary.memory")
    keras_titans.models.MemorySnapshot(state, tokens=50).save(path)
    again = keras_titans.models.MemorySnapshot.load(path)
    outputs, state = layer(diary, initial_state=again.to_state())
    ```
    """

    def __init__(self, state, fingerprint=None, tokens=0):
        self.state = _listed(tree.map_structure(_own, state))
        check_fingerprint(fingerprint)
        self.fingerprint = fingerprint
        rows = {array.shape[:1] for array in tree.flatten(self.state)}
        if len(rows) != 1 or rows == {()}:
            raise ValueError(
                "Argument `state` must hold arrays with the same number of "
                "rows on axis 0. Received: shapes "
                f"{[a.shape for a in tree.flatten(self.state)]}."
            )
        self.num_rows = rows.pop()[0]
        self.tokens = _counts(tokens, self.num_rows)

    def __len__(self):
        return self.num_rows

    def __repr__(self):
        size = sum(array.nbytes for array in tree.flatten(self.state))
        return (
            f"<MemorySnapshot: {self.num_rows} rows, "
            f"{self.tokens.tolist()} tokens read, {size:,} bytes>"
        )

    def copy(self):
        """A snapshot of its own with the same contents."""
        return MemorySnapshot(self.state, self.fingerprint, self.tokens)

    def to_state(self, spec=None):
        """The state as tensors, which share no buffer with this snapshot.

        Args:
            spec: As `check_fits`'s. Its dtypes are the tensors', so that what
                a model wrote in bfloat16 may be read in float32.
        """
        if spec is None:
            spec = self.state
        return tree.map_structure(
            lambda array, like: ops.cast(
                ops.convert_to_tensor(array.copy()),
                keras.backend.standardize_dtype(like.dtype),
            ),
            self.state,
            _listed(spec),
        )

    def rows(self, indices):
        """A snapshot of some rows.

        Args:
            indices: A row's number, a slice, or a sequence of numbers. A row
                may be taken more than once.
        """
        try:
            index = np.arange(self.num_rows)[indices].reshape(-1)
        except (IndexError, TypeError) as error:
            raise ValueError(
                "Argument `indices` must be rows of a memory with "
                f"{self.num_rows} rows. Received: indices={indices!r}."
            ) from error
        return MemorySnapshot(
            tree.map_structure(lambda array: array[index], self.state),
            self.fingerprint,
            self.tokens[index],
        )

    @classmethod
    def join(cls, snapshots):
        """The rows of several snapshots of one model, one after another."""
        snapshots = _alike(snapshots, rows=False)
        joined = tree.map_structure(
            lambda *arrays: np.concatenate(arrays),
            *(snapshot.state for snapshot in snapshots),
        )
        tokens = np.concatenate([snapshot.tokens for snapshot in snapshots])
        return cls(joined, snapshots[0].fingerprint, tokens)

    @classmethod
    def merge(cls, snapshots, weights=None):
        """One memory of several: their weighted average, row by row.

        What is averaged is what the memories hold, and their momentum. What
        belongs to the last tokens that each has read (attention caches, the
        convolutions' inputs, the place in a chunk) is no one's, so a merged
        memory has just read nothing.

        Args:
            snapshots: `MemorySnapshot`s of one model, with as many rows.
            weights: A number of at least 0 for each; they are divided by
                their sum. By default all count the same.
        """
        snapshots = _alike(snapshots)
        shares = shares_of(weights, len(snapshots))
        average = lambda *arrays: sum(
            share * array.astype("float64")
            for share, array in zip(shares, arrays, strict=True)
        ).astype(arrays[0].dtype)
        return cls(
            merged([snapshot.state for snapshot in snapshots], average),
            snapshots[0].fingerprint,
            sum(snapshot.tokens for snapshot in snapshots),
        )

    def save(self, path):
        """Write the memory to one file.

        The file appears whole or not at all: it is written beside the place
        where it belongs, then put there. A save that is interrupted leaves a
        file that was there before as it was.
        """
        path = pathlib.Path(path).resolve()
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            with beside.open("x+b") as file:
                memory_file.write(
                    file, self.state, self.fingerprint, self.tokens
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path):
        """Read a memory that `save` has written.

        Args:
            path: The file's name.

        Returns:
            A `MemorySnapshot`.

        Raises:
            ValueError: The file is no memory, is damaged, or is of a version
                that is not known.
        """
        contents = memory_file.read(path)
        try:
            return cls(*contents)
        except ValueError as error:
            raise ValueError(f"File '{path}' is damaged: {error}") from error

    def check_fits(self, spec, fingerprint=None, strict=True):
        """Raise a ValueError where this is no memory of some model.

        Args:
            spec: The model's state, of any number of rows: anything nested
                with shapes and dtypes.
            fingerprint: The model's.
            strict: Whether the weights must be those that wrote the memory.
                If False it is enough that it has the right shape and is of
                the same architecture.
        """
        spec = _listed(spec)
        want, have = _entries(spec), _entries(self.state)
        if want.keys() != have.keys():
            missing = sorted(want.keys() - have.keys())
            strange = sorted(have.keys() - want.keys())
            raise ValueError(
                "The memory is of another kind of model. Entries that it "
                f"lacks: {missing}; that the model has not: {strange}."
            )
        for name, entry in want.items():
            if tuple(entry.shape[1:]) != have[name].shape[1:]:
                raise ValueError(
                    f"Entry '{name}' of the memory has another shape than "
                    f"the model's: each row must have {entry.shape[1:]}. "
                    f"Received: {have[name].shape[1:]}."
                )
        if fingerprint is None or self.fingerprint is None:
            return
        if self.fingerprint.architecture != fingerprint.architecture:
            raise ValueError(
                "The memory belongs to a model of another architecture: one "
                "with the same shapes, but other settings."
            )
        if strict and self.fingerprint.weights != fingerprint.weights:
            raise ValueError(
                "The memory was written by other weights than the model has "
                "now, to which it means nothing. If they differ little and "
                "you want to try all the same, pass `strict=False` to "
                "`set_memory` or `load_memory`. `get_memory` then returns it "
                "as one of the new weights."
            )


def _counts(tokens, rows):
    """Token counts as an array `(rows,)`, if they are such counts."""
    if ops.is_tensor(tokens):
        tokens = ops.convert_to_numpy(tokens)
    counts = np.asarray(tokens)
    whole = counts.dtype.kind in "iu" and counts.shape in ((), (rows,))
    if not whole or (counts < 0).any():
        raise ValueError(
            "Argument `tokens` must be an integer of at least 0, or one for "
            f"each of the memory's {rows} rows. Received: tokens={tokens!r}."
        )
    return np.array(np.broadcast_to(counts.astype("int64"), (rows,)))


def _own(x):
    """A NumPy array that nobody else holds."""
    if ops.is_tensor(x) or isinstance(x, keras.Variable):
        x = ops.convert_to_numpy(x)
    if not isinstance(x, np.ndarray) or x.dtype.kind in "OSU":
        raise ValueError(
            "Argument `state` must hold arrays or tensors of numbers, as "
            f"`get_initial_state` returns them. Received: {x!r:.60} in it."
        )
    return np.array(x, copy=True, order="C")


def _listed(structure):
    """With lists for tuples and sorted keys, as every backend sees it."""
    if isinstance(structure, dict):
        return {key: _listed(structure[key]) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_listed(entry) for entry in structure]
    return structure


def _entries(structure):
    """Path -> leaf."""
    return {
        "/".join(map(str, path)): leaf
        for path, leaf in tree.flatten_with_path(structure)
    }


def _alike(snapshots, rows=True):
    """The snapshots as a list, if they are of one model."""
    snapshots = list(snapshots)
    if not snapshots:
        raise ValueError(
            "Argument `snapshots` must hold at least one. Received: none."
        )
    for snapshot in snapshots:
        check_instance("snapshots", snapshot, MemorySnapshot)
    first = snapshots[0]
    for other in snapshots[1:]:
        other.check_fits(first.state, first.fingerprint)
        if rows and len(other) != len(first):
            raise ValueError(
                "Argument `snapshots` must hold memories with as many rows. "
                f"Received: {[len(s) for s in snapshots]}."
            )
    return snapshots
