"""The file of a memory: a zip archive of arrays, and a header that names them.

Entry `"header"` is JSON in UTF-8, as bytes: the format's name and version,
the state's structure with a number in place of each array, each array's dtype
and shape, the model's fingerprint. The arrays are entries `"array_0"` and so
on, in NumPy's format; one whose dtype that format does not know is stored as
whole numbers of its width, bit for bit. The archive's comment, the last bytes
of the file, is a checksum of all bytes before it.
"""

import hashlib
import json
import os
import pathlib
import zipfile

import ml_dtypes
import numpy as np
from keras import tree

from keras_titans.models.fingerprint import Fingerprint

FORMAT = "keras_titans.memory"
# 1 kept attention's cache in the order of the tokens, 2 had no checksum.
VERSION = 3
CHECKSUM_SIZE = 32  # bytes, the digits of a blake2b digest of half the size
# dtypes that NumPy has from elsewhere -> what they are stored as
_FOREIGN = {"bfloat16": "uint16"}


def write(file, state, fingerprint, tokens):
    """Write a state of NumPy arrays to a file that is open for it."""
    arrays = tree.flatten(state)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "structure": tree.pack_sequence_as(state, list(range(len(arrays)))),
        "arrays": [
            {"dtype": array.dtype.name, "shape": array.shape}
            for array in arrays
        ],
        "fingerprint": fingerprint and fingerprint._asdict(),
        "tokens": tokens.tolist(),
    }
    entries = {f"array_{i}": _plain(array) for i, array in enumerate(arrays)}
    text = json.dumps(header).encode()
    np.savez(file, header=np.frombuffer(text, np.uint8), **entries)
    seal(file)


def seal(file):
    """Write the checksum to a file that is open for reading and writing."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"0" * CHECKSUM_SIZE
    checksum = _checksum(file)
    file.seek(-CHECKSUM_SIZE, os.SEEK_END)
    file.write(checksum)


def _checksum(file):
    """Of all bytes but the last, where the checksum itself belongs."""
    digest = hashlib.blake2b(digest_size=CHECKSUM_SIZE // 2)
    left = max(file.seek(0, os.SEEK_END) - CHECKSUM_SIZE, 0)
    file.seek(0)
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def read(path):
    """What `write` has written: a state, a fingerprint, tokens."""
    path = pathlib.Path(path)
    with path.open("rb") as file:
        whole = _checksum(file) == file.read()
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"File '{path}' is no memory, or is damaged: it must be one "
                "that `save_memory` has written."
            )
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                header = _header(archive, path)
                if whole:
                    return _read(archive, header)
        except WrongFile:
            raise
        except Exception as error:  # damage shows in many ways
            if whole:
                raise ValueError(
                    f"File '{path}' is damaged: "
                    f"{error or type(error).__name__}."
                ) from error
        raise ValueError(
            f"File '{path}' is damaged: its checksum is not that of its "
            "contents."
        )


class WrongFile(ValueError):
    """A file that may be whole but is not what is read here."""


def _read(archive, header):
    arrays = [
        _checked(archive[f"array_{i}"], entry, f"array_{i}")
        for i, entry in enumerate(header["arrays"])
    ]
    found = sorted(tree.flatten(header["structure"]))
    if found != list(range(len(arrays))):
        raise ValueError("its header names other arrays than it holds")
    state = tree.map_structure(lambda i: arrays[i], header["structure"])
    fingerprint = header["fingerprint"]
    if fingerprint is not None:
        fingerprint = Fingerprint(**fingerprint)
    rows = len(arrays[0]) if arrays else 0
    if len(header["tokens"]) != rows:
        raise ValueError("its header counts other rows than it holds")
    return state, fingerprint, header["tokens"]


def _header(archive, path):
    header = None
    if "header" in archive.files:
        header = json.loads(archive["header"].tobytes().decode())
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise WrongFile(
            f"File '{path}' is no memory, or is damaged: it must be one that "
            "`save_memory` has written."
        )
    version = header["version"]
    if isinstance(version, float) and version.is_integer():
        version = int(version)
    if version != VERSION:
        raise WrongFile(
            f"File '{path}' is a memory of version {version}. "
            f"This release of keras_titans reads version {VERSION}."
        )
    return header


def _plain(array):
    stored = _FOREIGN.get(array.dtype.name)
    return array if stored is None else array.view(stored)


def _checked(array, entry, name):
    dtype = entry["dtype"]
    stored = _FOREIGN.get(dtype, dtype)
    if array.dtype.name != stored or list(array.shape) != entry["shape"]:
        raise ValueError(
            f"'{name}' should be {stored} of shape {tuple(entry['shape'])}, "
            f"and is {array.dtype.name} of shape {array.shape}"
        )
    if dtype in _FOREIGN:
        array = array.view(getattr(ml_dtypes, dtype))
    return array
