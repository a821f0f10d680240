"""What this package and others for the same do, tried out.

    python -m benchmarks.peers_features
    python -m benchmarks.peers_features --only titans-trainer

Each package gets an environment of its own (`benchmarks/.peers`) and a process
that tries it: `peers_features_worker.py` has the checks, `peers_subjects.py`
says how each package is called. A cell of the table says what was seen, or what
the package's metadata, signatures and names say. Writes the table and the raw
lines to `benchmarks/results/`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

from benchmarks import measure
from benchmarks import peers
from benchmarks.markdown import table

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OURS = "keras-titans"
PEERS = {
    "titans-pytorch": "titans-pytorch==0.5.5",
    "titans-unofficial": "titans-unofficial==2.0.0",
    "open-titans": "open-titans==1.1.0",
    "titans-trainer": "titans-trainer==0.1.1",
    "flash-linear-attention": "flash-linear-attention[cpu]==0.6.0",
}
ENGINES = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
# Without a GPU, Triton's kernels are interpreted.
SETTINGS = {"flash-linear-attention": {"TRITON_INTERPRET": "1"}}
SAME = 1e-4  # of the largest value: other sums in float32
NONE = "–"


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
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
    add("--output", default=os.path.join(HERE, "results/peers_features"))
    add("--report-only", action="store_true", help="the table again")
    return parser.parse_args()


# --- trying -------------------------------------------------------------------


def look(name, python, engine, folder):
    """What the worker says of a package, in a process of its own."""
    settings = {"KERAS_BACKEND": engine, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-m", "benchmarks.peers_features_worker", name, folder],
        cwd=ROOT,
        env={**os.environ, **settings, **SETTINGS.get(name, {})},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    line = {"kind": "package", "name": name, "engine": engine}
    if done.returncode:
        return {**line, "not tried": f"exit status {done.returncode}"}
    seen = json.loads(done.stdout.splitlines()[-1])
    return {**line, "released": released(name), **seen}


def released(name):
    """The day of the version that is compared, by the package index."""
    if name == OURS:
        return None
    version = PEERS[name].split("==")[1]
    address = f"https://pypi.org/pypi/{name}/json"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            files = json.load(answer)["releases"][version]
            return files[0]["upload_time"][:10]
    except OSError:
        return None


def lines_of(name, given):
    with tempfile.TemporaryDirectory() as folder:
        if name == OURS:
            return [look(name, sys.executable, e, folder) for e in ENGINES]
        try:
            python = peers.peer_python(
                PEERS[name], given.get(name), beside=["numpy"]
            )
        except subprocess.CalledProcessError:
            version = ".".join(map(str, sys.version_info[:2]))
            why = f"{PEERS[name]} cannot be installed on Python {version}"
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


# --- cells: each is given what was seen of a package, an entry for an engine --


def every(cell):
    """A cell that must be the same on every engine; else it names them."""

    def joined(entries):
        cells = {seen["engine"]: cell(seen) for seen in entries}
        if len(set(cells.values())) == 1:
            return next(iter(cells.values()))
        return "; ".join(f"{ENGINES[e]}: {text}" for e, text in cells.items())

    return joined


def engines(entries):
    if len(entries) > 1:
        return ", ".join(ENGINES[seen["engine"]] for seen in entries)
    names = entries[0]["names"]
    kernels = " and Triton" if names["triton"] else ""
    return ", ".join(ENGINES[e] for e in names["engines"]) + kernels


@every
def variants(seen):
    found = [n for n in ("MAC", "MAG", "MAL") if n in seen["causality"]]
    return ", ".join([*found, "memory alone"]) if found else NONE


@every
def causal(seen):
    found = seen["causality"]
    leaks = [name for name in found if not found[name]["causal"]]
    if not leaks:
        return "yes"
    worst = found[leaks[0]]
    return f"no: output {worst['output']} depends on token {worst['token']}"


@every
def apart(seen):
    whole = all(found["apart"] for found in seen["rows_apart"].values())
    return "yes" if whole else "no"


@every
def padded(seen):
    found = dict(seen["padding"])
    if not found.pop("argument"):
        return "no mask"
    held = [where for where, same in found.items() if same]
    return "yes, anywhere" if len(held) == len(found) else f"only {held[0]}"


@every
def in_pieces(seen):
    found = seen["pieces"]
    if not found["state"]:
        return "no state"
    if found["any length"] is True:
        return "of any length"
    return "of whole chunks" if found["whole chunks"] is True else "no"


def in_a_file(entries):
    found = [seen["kept"] for seen in entries]
    if not found[0]["state"]:
        return "no state"
    if not all(one["equal"] for one in found):
        return "no"
    if not found[0]["own"]:
        return "by `torch.save`"
    others = [seen["across"] for seen in entries[1:]]
    carried = all(other and other["error"] < SAME for other in others)
    return "yes, from engine to engine" if others and carried else "yes"


@every
def cached(seen):
    found = seen["generation"]
    if not found["named"]:
        return "no generation"
    worst = max(found["off by"].values())
    return "yes" if worst < SAME else f"off by up to {100 * worst:.0f} %"


@every
def carried(seen):
    sizes = seen["generation"].get("carried")
    if not sizes:
        return NONE
    return ", ".join(f"{size / 1024:,.0f}" for size in sizes.values())


def reached(entries):
    found = [seen["gradients"] for seen in entries if seen["gradients"]][0]
    if "failed" in found:
        raise KeyError
    return f"{found['weights'] - len(found['missed'])} of {found['weights']}"


@every
def steps(seen):
    found = dict(seen["trained"])
    usual = found.pop("as usual")
    if usual is True:
        return "yes"
    works = [name for name, fine in found.items() if fine is True]
    if not works and "Interpreter" in str(usual):
        raise KeyError
    return " or ".join(["only with " + works[0], *works[1:]]) if works else "no"


@every
def grows(seen):
    sizes = (seen["bounded"][scale] for scale in ("1", "10"))
    return ", ".join(s if isinstance(s, str) else f"{s:.2g}" for s in sizes)


@every
def surprises(seen):
    return "yes" if seen["surprise"].get("each") else NONE


@every
def saved(seen):
    found = seen["saving"]
    if not found["means"]:
        return "weights alone"
    if found["equal"]:
        return f"yes, `{found['means']}`"
    return "no: loading fails" if "why" in found else "no: another comes back"


@every
def memorised_into(seen):
    found = seen["networks"]
    count = len(found["names"])
    own = ", and your own" if found["own"] else ""
    return f"{count or 1}{own}"


@every
def beyond(seen):
    works = [name for name, fine in seen["options"].items() if fine]
    return "; ".join(works) or NONE


@every
def fits(seen):
    models = [name for name in seen["contracts"] if name != "PyTorch"]
    trainers = [f"`{name}`" for name in seen["names"]["trainers"]]
    if models:
        return ", ".join(models)
    return ", with ".join(["PyTorch", *trainers])


@every
def kernels(seen):
    return str(seen["names"]["triton"] or NONE)


@every
def others(seen):
    titans = set(seen["causality"]) & {"MAC", "MAG", "MAL"}
    return NONE if titans else f"{seen['names']['layers']} layers"


ROWS = {
    "engines": engines,
    "the paper's variants": variants,
    "no output depends on a later token": causal,
    "no row depends on another": apart,
    "padding changes nothing": padded,
    "pieces equal the whole": in_pieces,
    "a memory kept in a file and continued": in_a_file,
    "logits from a cache as from all the text": cached,
    "carried after 64, 256 tokens, KiB": carried,
    "weights of the memory with a gradient": reached,
    "a step of Adam on the memory, two heads": steps,
    "last outputs over first of 2,048, inputs × 1, × 10": grows,
    "surprise of each token": surprises,
    "a model in a file": saved,
    "models are those of": fits,
    "networks to memorise into": memorised_into,
    "beyond the paper": beyond,
    "GPU kernels in Triton": kernels,
    "other linear attention": others,
    "needs Python": every(lambda seen: seen["needs python"].strip(">=")),
    "licence": every(lambda seen: seen["licence"].removesuffix(" License")),
    "version": every(lambda seen: seen["version"]),
    "released": every(lambda seen: seen["released"] or NONE),
}


def cell(row, entries):
    try:
        return ROWS[row](entries)
    except KeyError:
        return "needs a GPU"


NOTES = """\
Tiny models with random weights, in float32: width 32, two heads, chunks of 16,
sequences of 48 tokens but where others are named.

- Later tokens are changed, and neighbours in the batch, and the largest change
  of what stands before or beside them is compared with rounding.
- Padding: 16 tokens that are masked, in front of 48, amid them and behind
  them, against the 48 alone. The memory alone is asked, and so for pieces
  (of 16; of 20, 1, 1 and 26), the file, gradients and Adam.
- A cache: 8 tokens behind each of four prompts of 5 to 41 tokens, one at a
  time, against all of the text at once. Percents are of the largest logit.
- A step of Adam: `torch.optim.Adam`, or Keras'. Heads that start alike are
  `per_head_learned_parameters=False`; what failed without is in the raw lines.
- A model in a file: saved and loaded by the package's own means; does it give
  the same outputs?
- Without a GPU, flash-linear-attention's kernels are interpreted, which those
  that train do not bear.
"""


def report(output):
    with open(output + ".jsonl", encoding="utf-8") as file:
        _, *lines = (json.loads(line) for line in file)
    tried, untried = {}, []
    for line in lines:
        if "not tried" in line:
            untried.append(f"- {line['name']}: {line['not tried']}.")
        else:
            tried.setdefault(line["name"], []).append(line)
    text = [
        "# What other packages for the same do",
        "",
        "`python -m benchmarks.peers_features`",
        "",
        *NOTES.splitlines(),
        "",
        *table(
            ["", *tried],
            [[row, *(cell(row, e) for e in tried.values())] for row in ROWS],
            rule="---",
        ),
        "",
        *untried,
        *("- " + tried_with(name, tried[name]) for name in tried),
    ]
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")
    print("\n".join(text))


def tried_with(name, entries):
    """Which versions a package was tried with."""
    found = {"Python": entries[0]["python"]}
    for seen in entries:
        found |= seen["with"]
    return f"{name}: " + ", ".join(f"{n} {v}" for n, v in found.items())


def main():
    options = parse()
    if not options.report_only:
        run(options)
    report(options.output)


if __name__ == "__main__":
    main()
