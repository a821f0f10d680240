"""The models that are compared, by the names that tables and plots use.

    variant = MODELS["LMM, wide and sparse"]
    variant.mixer, variant.options, variant.ablates

Data alone: nothing is built here. `benchmarks.experiment` builds.
"""

from typing import NamedTuple


class Variant(NamedTuple):
    """A model as a row of a table has it.

    `options` are the mixer's; `window_size` and `chunk_size` among them
    replace the experiment's. `ablates` names the model that this one is
    compared with in the table of ablations. `head_expansion` is the width of
    all of a memory's heads together, in multiples of the model's.
    """

    mixer: str
    options: dict = {}
    ablates: str | None = None
    head_expansion: int | None = None


def gate(**config):
    """A `keras_titans.memory.Gate`, as a configuration has it."""
    return {"class_name": "keras_titans>Gate", "config": config}


def spread(first, last):
    """A `keras_titans.memory.Spread`, likewise."""
    config = {"first": first, "last": last}
    return {"class_name": "keras_titans>Spread", "config": config}


def with_rule(**changes):
    """The memory of MAC, MAG, MAL and LMM, with changes to its `Titans`."""
    rule = {
        "learning_rate": gate(),
        "momentum": gate(maximum=0.5, initial=0.25),
        "forgetting": gate(initial=1e-5),
    }
    return {"memory_depth": 2, "update_rule": rule | changes}


DEEP = with_rule()
MATRIX = DEEP | {"memory_depth": 1}
# The model of every table, and of every plot, by name.
MODELS = {
    "MAC": Variant("MAC", DEEP),
    "MAG": Variant("MAG", DEEP),
    "MAL": Variant("MAL", DEEP),
    "LMM": Variant("LMM", DEEP),
    "slots": Variant("slots"),
    "transformer": Variant("transformer"),
    "window": Variant("window"),
    "rg-lru": Variant("rg-lru"),
    "mamba-2": Variant("mamba-2"),
    "gated-delta": Variant("gated-delta"),
    "seasonal naive": Variant("seasonal-naive"),
    "NLinear": Variant("nlinear"),
    "DLinear": Variant("dlinear"),
    "naive Bayes": Variant("naive-bayes"),
}
TITANS = ("MAC", "MAG", "MAL", "LMM")
# What no steps train; their size is their task's.
CLOSED_FORMS = ("seasonal-naive", "nlinear", "dlinear", "naive-bayes")
BASELINES = ("transformer", "window", "rg-lru", "mamba-2", "gated-delta")

# As `NeuralMemory.paper`.
PAPERS_FORM = {
    "anchor": "chunk",
    "network": {
        "depth": 2,
        "activation": "gelu",
        "unit_norm": False,
        "hidden_rate": 1.0,
    },
    "update_rule": {
        "learning_rate": gate(maximum=0.1, logit_scale=1.0),
        "momentum": gate(logit_scale=1.0),
        "forgetting": gate(initial=0.001, logit_scale=1.0),
        "normalize_learning_rate": False,
        "forget_to": "zero",
    },
}
GATES_OF_SCALE_1 = {
    "learning_rate": gate(logit_scale=1.0),
    "momentum": gate(maximum=0.5, initial=0.25, logit_scale=1.0),
    "forgetting": gate(initial=1e-5, logit_scale=1.0),
}
# The package's own memory, and `Titans()`, which writes little at first.
DEFAULT = {"memory_depth": 1}
# The paper's ablations, then those of what the paper leaves open.
ABLATIONS = {
    name: Variant(base, options, base)
    for name, base, options in (
        ("LMM, matrix memory", "LMM", MATRIX),
        ("LMM, no convolution", "LMM", DEEP | {"kernel_size": 1}),
        ("LMM, no momentum", "LMM", with_rule(momentum=None)),
        ("LMM, no forgetting", "LMM", with_rule(forgetting=None)),
        (
            "LMM, heads forget apart",
            "LMM",
            with_rule(forgetting=gate(initial=spread(1e-5, 1e-2))),
        ),
        ("LMM, forgets to zero", "LMM", with_rule(forget_to="zero")),
        ("LMM, gates of scale 1", "LMM", with_rule(**GATES_OF_SCALE_1)),
        ("LMM, sparse", "LMM", {"memory_depth": 2}),
        ("LMM, depth 3", "LMM", DEEP | {"memory_depth": 3}),
        ("LMM, depth 4", "LMM", DEEP | {"memory_depth": 4}),
        ("LMM, chunk anchor", "LMM", DEEP | {"anchor": "chunk"}),
        ("LMM, paper's form", "LMM", PAPERS_FORM),
        ("LMM, chunks of 8", "LMM", DEEP | {"chunk_size": 8}),
        ("LMM, chunks of 64", "LMM", DEEP | {"chunk_size": 64}),
        *(
            (
                f"{mixer}, no persistent tokens",
                mixer,
                DEEP | {"num_persistent_tokens": 0},
            )
            for mixer in ("MAC", "MAG", "MAL")
        ),
        ("MAG, window of 16", "MAG", DEEP | {"window_size": 16}),
        ("MAG, window of 64", "MAG", DEEP | {"window_size": 64}),
    )
}
# The best of the memory's settings, found on "needle, number" and "addresses".
BEST = "LMM, wide and sparse"
# The same, and what it writes in training counts: for what is rare and stays.
PAYING = "LMM, writes cost"
COSTLY = {
    "update_rule": {
        "write_regularizer": {"class_name": "L1", "config": {"l1": 0.3}}
    }
}
WITHOUT_MOMENTUM = DEFAULT | {"update_rule": {"momentum": None}}
# Twice the model's width in keys and in values, as Mamba-2 and gated delta are
# recommended to have. A deeper network of that width would not leave room.
ABLATIONS |= {
    name: Variant("LMM", options, "LMM", head_expansion=2)
    for name, options in (
        ("LMM, wide matrix", MATRIX),
        (BEST, DEFAULT),
        (PAYING, DEFAULT | COSTLY),
        ("LMM, wide and sparse, no momentum", WITHOUT_MOMENTUM),
    )
}
# As wide as the model.
ONE_HEAD = {"memory_heads": 1, "head_dim": 64}
ABLATIONS |= {
    "LMM, one wide head": Variant("LMM", DEFAULT | ONE_HEAD, "LMM"),
    "LMM, one wide head, no momentum": Variant(
        "LMM", WITHOUT_MOMENTUM | ONE_HEAD, "LMM"
    ),
}
# What the default memory was chosen from.
CANDIDATES = (
    BEST,
    "LMM, wide and sparse, no momentum",
    "LMM, one wide head",
    "LMM, one wide head, no momentum",
)
# The bank of slots stands where the neural memory does.
ABLATIONS["slots for LMM's memory"] = Variant("slots", ablates="LMM")
MODELS |= ABLATIONS
