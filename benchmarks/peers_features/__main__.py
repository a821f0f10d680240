"""What this package and others for the same do, tried out.

    python -m benchmarks.peers_features
    python -m benchmarks.peers_features --only titans-trainer

Each package gets an environment of its own (`benchmarks/.peers`) and a process
that tries it (`worker.py`): `checks` has what is tried, `subjects` says how
each package is called. A cell of the table (`rows.py`) says what was seen, or
what the package's metadata, signatures and names say. Writes the table and the
raw lines to `benchmarks/results/`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import benchmarks
from benchmarks import measure
from benchmarks import peers
from benchmarks.peers_features.report import report
from benchmarks.peers_features.rows import ENGINES

BENCHMARKS = os.path.dirname(os.path.abspath(benchmarks.__file__))
ROOT = os.path.dirname(BENCHMARKS)
OURS = "keras-titans"
# What is compared with, and when that version was released.
PEERS = {
    "titans-pytorch": ("titans-pytorch==0.5.5", "2026-07-13"),
    "titans-unofficial": ("titans-unofficial==2.0.0", "2026-10-12"),
    "open-titans": ("open-titans==1.1.0", "2026-04-25"),
    "titans-trainer": ("titans-trainer==0.1.1", "2026-03-26"),
    "flash-linear-attention": (
        "flash-linear-attention[cpu]==0.6.0",
        "2026-10-23",
    ),
}
# Without a GPU, Triton's kernels are interpreted.
SETTINGS = {"flash-linear-attention": {"TRITON_INTERPRET": "1"}}


def parse():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers_features",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    packages = [OURS, *PEERS]
    add("--only", nargs="+", default=packages, help="the others as they were")
    add(
        "--python",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="interpreters that have a package and NumPy already",
    )
    add("--output", default=os.path.join(BENCHMARKS, "results/peers_features"))
    add("--report-only", action="store_true", help="the table again")
    return parser.parse_args()


def look(name, python, engine, folder):
    """What the worker says of a package, in a process of its own."""
    settings = {"KERAS_BACKEND": engine, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-m", "benchmarks.peers_features.worker", name, folder],
        cwd=ROOT,
        env={**os.environ, **settings, **SETTINGS.get(name, {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    _, day = PEERS.get(name, (None, None))
    line = {"kind": "package", "name": name, "engine": engine}
    if done.returncode:
        return {**line, "not tried": f"exit status {done.returncode}"}
    seen = json.loads(done.stdout.splitlines()[-1])
    return {**line, "released": day, **seen}


def lines_of(name, given):
    with tempfile.TemporaryDirectory() as folder:
        if name == OURS:
            return [look(name, sys.executable, e, folder) for e in ENGINES]
        requirement, _ = PEERS[name]
        try:
            python = peers.peer_python(
                requirement, given.get(name), beside=["numpy"]
            )
        except subprocess.CalledProcessError:
            version = ".".join(map(str, sys.version_info[:2]))
            why = f"{requirement} cannot be installed on Python {version}"
            return [{"kind": "package", "name": name, "not tried": why}]
        return [look(name, python, "torch", folder)]


def run(options):
    given = dict(pair.split("=", 1) for pair in options.python)
    path, before = options.output + ".jsonl", []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = [json.loads(line) for line in file]
    lines = [measure.describe_machine()]
    for name in (OURS, *PEERS):
        if name in options.only:
            print(f"trying {name}", file=sys.stderr, flush=True)
            lines += lines_of(name, given)
        else:
            lines += [line for line in before if line.get("name") == name]
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def main():
    options = parse()
    if not options.report_only:
        run(options)
    report(options.output)


if __name__ == "__main__":
    main()
