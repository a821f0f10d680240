"""What outputs depend on: later tokens, neighbours, padding, pieces."""

import numpy as np

from benchmarks.peers_features.checks.probes import LENGTH
from benchmarks.peers_features.checks.probes import argument
from benchmarks.peers_features.checks.probes import describe
from benchmarks.peers_features.checks.probes import error
from benchmarks.peers_features.checks.probes import vectors
from benchmarks.peers_features.checks.probes import words
from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import SAME
from benchmarks.peers_features.sizes import TOKENS

UNTOUCHED = 1e-6  # the same sums
PIECES = {
    "whole chunks": (CHUNK, CHUNK, CHUNK),
    "any length": (CHUNK + 4, 1, 1, LENGTH - CHUNK - 6),
}


def calls_of(subject):
    """Each variant and the memory alone: a function, and inputs for it."""
    calls = {
        name: (model, words(LENGTH)) for name, model in subject.models.items()
    }
    calls["memory"] = (lambda x: subject.layer(x)[0], vectors(LENGTH))
    return calls


def causality(subject, _):
    """The worst that a later token does to an earlier output."""
    found = {}
    for name, (model, inputs) in calls_of(subject).items():
        before, worst = model(inputs), {"error": 0.0}
        for at in (1, 13, CHUNK, CHUNK + 5, LENGTH - 1):
            other = inputs.copy()
            other[:, at:] = other[:, at:][:, ::-1] + 1
            other = other % TOKENS if other.dtype.kind == "i" else other
            after = model(other)
            seen = error(after[:, :at], before[:, :at])
            if seen > worst["error"]:
                changed = np.abs(after[:, :at] - before[:, :at]).max((0, 2))
                worst = {
                    "error": seen,
                    "output": int(changed.argmax()),
                    "token": at,
                }
        found[name] = {**worst, "causal": worst["error"] < UNTOUCHED}
    return found


def rows_apart(subject, _):
    """What another neighbour does to a row."""
    found = {}
    for name, (model, inputs) in calls_of(subject).items():
        other = np.stack([inputs[0], inputs[1, ::-1]])
        seen = error(model(other)[0], model(inputs)[0])
        found[name] = {"error": seen, "apart": seen < UNTOUCHED}
    return found


def padding(subject, _):
    """Tokens among others that a mask leaves out, against without them."""
    name = argument(subject, "mask")
    if not name:
        return {"argument": None}
    x, found = vectors(LENGTH), {"argument": name}
    wanted, _ = subject.layer(x)
    for where, at in (("in front", 0), ("amid", CHUNK + 5), ("behind", LENGTH)):
        padded = np.insert(x, [at] * CHUNK, 3.0, axis=1)
        mask = np.insert(np.ones((2, LENGTH), bool), [at] * CHUNK, False, 1)
        outputs, _ = subject.layer(padded, mask=mask)
        found[where] = error(outputs[mask].reshape(wanted.shape), wanted) < SAME
    return found


def pieces(subject, _):
    """Read in pieces, the state carried on, against in one go."""
    x = vectors(LENGTH)
    wanted, state = subject.layer(x)
    found = {"state": state is not None}
    for name, lengths in PIECES.items() if found["state"] else ():
        try:
            outputs, state, start = [], None, 0
            for length in lengths:
                y, state = subject.layer(x[:, start : start + length], state)
                outputs.append(y)
                start += length
            seen = error(np.concatenate(outputs, axis=1), wanted)
            found[name] = seen < SAME or f"off by {seen:.2g}"
        except Exception as problem:
            found[name] = describe(problem)
    return found


def bounded(subject, _):
    """The last outputs' size over the first's: random weights and inputs."""
    found = {}
    for scale in (1, 10):
        y, _ = subject.layer(vectors(2048, scale, rows=1))
        first, last = (
            float(np.sqrt(np.square(part).mean()))
            for part in (y[:, :CHUNK], y[:, -CHUNK:])
        )
        finite = bool(np.isfinite(y).all())
        found[scale] = last / first if finite else "NaN"
    return found
