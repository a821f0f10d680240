"""What one package does, found out by trying it: for `peers_features.py`.

    python -m benchmarks.peers_features_worker titans-pytorch FOLDER

Run by an interpreter that has the package. Prints one line of JSON: for each
check what was seen, or why nothing was. Workers of several engines share the
folder.
"""

import importlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import re
import sys
import tempfile
import traceback
import warnings

import numpy as np

from benchmarks.peers_subjects import CHUNK
from benchmarks.peers_subjects import SUBJECTS
from benchmarks.peers_subjects import TOKENS
from benchmarks.peers_subjects import WIDTH

LENGTH = 3 * CHUNK
ENGINES = ("jax", "tensorflow", "torch")
PIECES = {
    "whole chunks": (CHUNK, CHUNK, CHUNK),
    "any length": (CHUNK + 4, 1, 1, LENGTH - CHUNK - 6),
}
PROMPTS = (5, CHUNK, CHUNK + 7, 2 * CHUNK + 9)
NEW_TOKENS = 8
SAME = 1e-4  # of the largest value: other sums in float32
UNTOUCHED = 1e-6  # the same sums
OPTIONS = {  # beyond the paper
    "momentum of order 2": {"momentum_order": 2},
    "orthogonal surprises": {"spectral_norm_surprises": True},
    "2 writes a token": {"num_kv_per_token": 2},
    "surprises of bounded norm": {"max_grad_norm": 1.0},
    "surprise at each token's memory": {"anchor": "token"},
}
CONTRACTS = {
    "Keras": ("keras", "Model"),
    "KerasHub": ("keras_hub.models", "CausalLM"),
    "PyTorch": ("torch.nn", "Module"),
    "Transformers": ("transformers", "PreTrainedModel"),
}


def vectors(length, scale=1.0, rows=2):
    x = np.random.default_rng(0).normal(size=(rows, length, WIDTH))
    return (scale * x).astype("float32")


def words(length, rows=2):
    return np.random.default_rng(0).integers(0, TOKENS, (rows, length))


def error(got, wanted):
    """The largest difference, as a share of the largest value."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def argument(subject, word):
    """Of the memory's call: the name that has `word` in it, or None."""
    call = getattr(subject.memory_class, subject.call_name)
    names = inspect.signature(call).parameters
    return next((name for name in names if word in name), None)


def calls_of(subject):
    """Each variant and the memory alone: a function, and inputs for it."""
    calls = {
        name: (model, words(LENGTH)) for name, model in subject.models.items()
    }
    calls["memory"] = (lambda x: subject.layer(x)[0], vectors(LENGTH))
    return calls


# --- checks: each is given the subject and a folder ---------------------------


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
    return subject.across(sys.argv[2], vectors(LENGTH), 2 * CHUNK)


def surprise(subject, _):
    name = argument(subject, "surprise")
    if not name:
        return {"argument": None}
    x = vectors(LENGTH)
    shape = [int(size) for size in subject.surprise(x).shape]
    return {"argument": name, "each": shape[:2] == list(x.shape[:2])}


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


def has(thing, name):
    return callable(getattr(thing, name, None))


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


def networks(subject, _):
    """Networks to memorise into: those it brings, and one of one's own."""
    found = []
    if subject.networks_of:
        module = importlib.import_module(subject.networks_of)
        found = [
            name
            for name, thing in vars(module).items()
            if inspect.isclass(thing)
            and thing.__module__.startswith(module.__name__)
            and re.search("Memory(?!Network)", name)
        ]
    own = False
    if hasattr(subject, "own_network"):
        own = bool(np.isfinite(subject.own_network(vectors(LENGTH))).all())
    return {"names": found, "own": own}


def options(subject, _):
    """Options beyond the paper that the memory has, tried out."""
    names = inspect.signature(subject.memory_class.__init__).parameters
    return {
        name: bool(
            np.isfinite(subject.with_option(vectors(LENGTH), **option)).all()
        )
        for name, option in OPTIONS.items()
        if set(option) <= set(names)
    }


def contracts(subject, _):
    """Whose models its language model is one of."""
    return [
        name
        for name, (module, cls) in CONTRACTS.items()
        if module.split(".")[0] in sys.modules
        and isinstance(
            subject.language_model,
            getattr(importlib.import_module(module), cls),
        )
    ]


def names(subject, _):
    """What public names and sources tell."""
    package = importlib.import_module(subject.module)
    root = pathlib.Path(package.__file__).parent
    sources = [path.read_text("utf-8") for path in root.rglob("*.py")]
    layers = getattr(package, "layers", None)
    public = {*dir(package), *dir(layers)}
    return {
        "engines": [name for name in ENGINES if name in sys.modules],
        "trainers": sorted(n for n in public if n.endswith("Trainer")),
        "layers": len(getattr(layers, "__all__", [])),
        "triton": sum(len(re.findall(r"@triton\.jit", s)) for s in sources),
        # Variants that the subject above has left out.
        "left out": sorted(
            {v for n in public for v in re.findall(r"MAC|MAG|MAL", n)}
            - set(subject.models)
        ),
    }


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


CHECKS = (
    names,
    causality,
    rows_apart,
    padding,
    pieces,
    kept,
    across,
    surprise,
    generation,
    gradients,
    trained,
    bounded,
    saving,
    networks,
    options,
    contracts,
)


def describe(problem):
    text = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {text[0][:100]}"


def look(distribution):
    subject, found = SUBJECTS[distribution](), {}
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
    print(json.dumps(look(sys.argv[1])), file=answer)
