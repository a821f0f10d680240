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


# The model of every table, and of every plot, by name.
MODELS = {
    "MAC": Variant("MAC"),
    "MAG": Variant("MAG"),
    "MAL": Variant("MAL"),
    "LMM": Variant("LMM"),
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

PAPERS_FORM = {
    "anchor": "chunk",
    "network": {"depth": 2, "activation": "gelu", "unit_norm": False},
    "update_rule": {
        "gate_scale": 1.0,
        "initial_forgetting": 0.001,
        "forget_to": "zero",
        "normalize_learning_rate": False,
        "max_learning_rate": 0.1,
        "max_momentum": 1.0,
        "hidden_rate": 1.0,
    },
}
SPARSE = {
    "update_rule": {
        "initial_learning_rate": [0.1, 0.5],
        "initial_forgetting": [1e-5, 1e-2],
        "write_threshold": 0.1,
    }
}
# The paper's ablations, then those of what the paper leaves open.
ABLATIONS = {
    name: Variant(base, options, base)
    for name, base, options in (
        ("LMM, matrix memory", "LMM", {"memory_depth": 1}),
        ("LMM, no convolution", "LMM", {"kernel_size": 1}),
        ("LMM, no momentum", "LMM", {"update_rule": {"momentum": False}}),
        ("LMM, no forgetting", "LMM", {"update_rule": {"forgetting": False}}),
        (
            "LMM, heads forget apart",
            "LMM",
            {"update_rule": {"initial_forgetting": [1e-5, 1e-2]}},
        ),
        (
            "LMM, forgets to zero",
            "LMM",
            {"update_rule": {"forget_to": "zero"}},
        ),
        (
            "LMM, gates of scale 1",
            "LMM",
            {"update_rule": {"gate_scale": 1.0}},
        ),
        ("LMM, sparse", "LMM", SPARSE),
        ("LMM, depth 3", "LMM", {"memory_depth": 3}),
        ("LMM, depth 4", "LMM", {"memory_depth": 4}),
        ("LMM, chunk anchor", "LMM", {"anchor": "chunk"}),
        ("LMM, paper's form", "LMM", PAPERS_FORM),
        ("LMM, chunks of 8", "LMM", {"chunk_size": 8}),
        ("LMM, chunks of 64", "LMM", {"chunk_size": 64}),
        ("MAC, no persistent tokens", "MAC", {"num_persistent_tokens": 0}),
        ("MAG, no persistent tokens", "MAG", {"num_persistent_tokens": 0}),
        ("MAL, no persistent tokens", "MAL", {"num_persistent_tokens": 0}),
        ("MAG, window of 16", "MAG", {"window_size": 16}),
        ("MAG, window of 64", "MAG", {"window_size": 64}),
    )
}
# Twice the model's width in keys and in values, as Mamba-2 and gated delta are
# recommended to have. A deeper network of that width would not leave room.
MATRIX = {"memory_depth": 1}
# The best of the memory's settings, found on "needle, number" and "addresses".
BEST = "LMM, wide and sparse"
# The same, and what it writes in training counts: for what is rare and stays.
PAYING = "LMM, writes cost"
COSTLY = {"update_rule": {**SPARSE["update_rule"], "write_cost": 0.3}}
ABLATIONS |= {
    "LMM, wide matrix": Variant("LMM", MATRIX, "LMM", head_expansion=2),
    BEST: Variant("LMM", MATRIX | SPARSE, "LMM", head_expansion=2),
    PAYING: Variant("LMM", MATRIX | COSTLY, "LMM", head_expansion=2),
}
# The bank of slots stands where the neural memory does.
ABLATIONS["slots for LMM's memory"] = Variant("slots", ablates="LMM")
MODELS |= ABLATIONS
