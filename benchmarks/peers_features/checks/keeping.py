"""What is kept in files, and what is carried from token to token."""

import inspect
import os

import numpy as np

from benchmarks.peers_features.checks.probes import LENGTH
from benchmarks.peers_features.checks.probes import describe
from benchmarks.peers_features.checks.probes import error
from benchmarks.peers_features.checks.probes import has
from benchmarks.peers_features.checks.probes import vectors
from benchmarks.peers_features.checks.probes import words
from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import SAME

PROMPTS = (5, CHUNK, CHUNK + 7, 2 * CHUNK + 9)
NEW_TOKENS = 8


def kept(subject, folder):
    """A state in a file: continued from there as if it had never left."""
    x = vectors(LENGTH)
    _, state = subject.layer(x[:, : 2 * CHUNK])
    if state is None:
        return {"state": False}
    path = os.path.join(folder, "state.memory")
    own = hasattr(subject, "keep")
    if own:
        subject.keep(state, path)
        again = subject.kept(path)
    else:
        subject.torch.save(state, path)
        again = subject.torch.load(path, weights_only=False)
    # The file first: some states are changed by those who use them.
    after, _ = subject.layer(x[:, 2 * CHUNK :], again)
    wanted, _ = subject.layer(x[:, 2 * CHUNK :], state)
    return {"state": True, "own": own, "equal": bool((after == wanted).all())}


def across(subject, _):
    """A memory that another engine has kept, continued on this one."""
    if not hasattr(subject, "across"):
        return None
    return subject.across(subject.shared, vectors(LENGTH), 2 * CHUNK)


def generation(subject, _):
    """Token by token from what is carried, against all of the text at once."""
    names = ("generate", "sample")
    found = {"named": [n for n in names if has(subject.language_model, n)]}
    if not found["named"] or not subject.generating:
        return found
    whole = subject.models[subject.generating]
    found["carried"], found["off by"] = {}, {}
    for length in (4 * CHUNK, 16 * CHUNK):
        text = words(length + NEW_TOKENS, 1)
        cache, _ = subject.carried(text[:, :length], text[:, length:])
        found["carried"][length] = size_of(cache)
    for length in PROMPTS:
        text = words(length + NEW_TOKENS, 1)
        _, logits = subject.carried(text[:, :length], text[:, length:])
        wanted = whole(text)[:, length - 1 :]
        found["off by"][length] = error(logits, wanted)
    return found


def size_of(tree):
    """Bytes of all the arrays in a tree of anything."""
    seen, waiting, total = set(), [tree], 0
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if hasattr(node, "items"):
            waiting.extend(value for _, value in node.items())
        elif hasattr(node, "dtype"):
            shape = [int(size) for size in node.shape]
            width = getattr(node.dtype, "itemsize", None) or node.dtype.size
            total += int(np.prod(shape)) * width
        elif isinstance(node, (list, tuple)):
            waiting.extend(node)
        elif hasattr(node, "__dict__"):
            waiting.extend(vars(node).values())
    return total


def saving(subject, folder):
    """A whole model in a file, by the package's own means."""
    model, ids = subject.language_model, words(LENGTH)
    if hasattr(subject, "copied"):
        means, copy = ".keras", subject.copied
    elif has(model, "save_pretrained"):
        means, copy = "save_pretrained", copied
    else:
        return {"means": None}
    wanted = subject.on_ids(model)(ids)
    try:
        again = copy(model, folder)
    except Exception as problem:
        return {"means": means, "equal": False, "why": describe(problem)}
    return {
        "means": means,
        "equal": error(subject.on_ids(again)(ids), wanted) < SAME,
    }


def copied(model, folder):
    path = os.path.join(folder, "model")
    model.save_pretrained(path)
    load = type(model).from_pretrained
    config = inspect.signature(load).parameters.get("config")
    needed = config is not None and config.default is config.empty
    return load(path, *([model.config] if needed else [])).eval()
