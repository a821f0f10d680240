"""Whether the memory can be trained by those around it."""

import numpy as np

from benchmarks.peers_features.checks.probes import LENGTH
from benchmarks.peers_features.checks.probes import describe
from benchmarks.peers_features.checks.probes import vectors


def gradients(subject, _):
    """Weights of the memory that the outer gradient reaches."""
    reached = subject.gradients(vectors(LENGTH))
    if reached is None:
        return None
    missed = sorted(name for name, hit in reached.items() if not hit)
    return {"weights": len(reached), "missed": missed}


def trained(subject, _):
    """Whether a step of Adam on the memory works, and if not, with what."""
    x, found = vectors(LENGTH), {}
    for name, option in {"as usual": {}, **subject.ways_round}.items():
        try:
            found[name] = bool(np.isfinite(subject.trained(x, **option)).all())
        except Exception as problem:
            found[name] = describe(problem)
    return found
