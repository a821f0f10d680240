"""What one package does, found out by trying it.

    python -m benchmarks.peers_features.worker titans-pytorch FOLDER

Run by an interpreter that has the package. Prints one line of JSON: for each
check what was seen, or why nothing was. Workers of several engines share the
folder.
"""

import importlib.metadata
import json
import sys
import tempfile
import traceback
import warnings

from benchmarks.peers_features.checks import CHECKS
from benchmarks.peers_features.checks.probes import describe
from benchmarks.peers_features.subjects import SUBJECTS


def metadata(distribution):
    about = importlib.metadata.metadata(distribution)
    licence = about["License-Expression"] or about["License"] or ""
    return {
        "version": about["Version"],
        "licence": licence.strip().splitlines()[0],
        "needs python": about["Requires-Python"],
        "python": ".".join(map(str, sys.version_info[:3])),
        "with": {
            name: importlib.metadata.version(name)
            for name in ("torch", "triton", "keras", "jax", "tensorflow")
            if name in sys.modules
        },
    }


def look(distribution, shared):
    subject, found = SUBJECTS[distribution](), {}
    subject.shared = shared
    for check in CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[check.__name__] = check(subject, folder)
            except Exception as problem:
                traceback.print_exc()
                found[check.__name__] = {"failed": describe(problem)}
    return {**metadata(distribution), **found}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answer, sys.stdout = sys.stdout, sys.stderr  # packages talk
    print(json.dumps(look(*sys.argv[1:])), file=answer)
