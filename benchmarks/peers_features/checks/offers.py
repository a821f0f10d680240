"""What the package brings, by its names and signatures."""

import importlib
import inspect
import pathlib
import re
import sys

import numpy as np

from benchmarks.peers_features.checks.probes import LENGTH
from benchmarks.peers_features.checks.probes import argument
from benchmarks.peers_features.checks.probes import vectors

ENGINES = ("jax", "tensorflow", "torch")
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


def surprise(subject, _):
    name = argument(subject, "surprise") or argument(subject, "diagnostics")
    if not name:
        return {"argument": None}
    x = vectors(LENGTH)
    shape = [int(size) for size in subject.surprise(x).shape]
    return {"argument": name, "each": shape[:2] == list(x.shape[:2])}


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
        # Variants that the subject has left out.
        "left out": sorted(
            {v for n in public for v in re.findall(r"MAC|MAG|MAL", n)}
            - set(subject.models)
        ),
    }
