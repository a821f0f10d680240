"""Which experiments each suite has: nothing but data.

`quick` is for looking at whether anything is broken, `standard` for a night on
two cores, `full` for a GPU.
"""

from benchmarks.experiment import ABLATIONS
from benchmarks.experiment import BASELINES
from benchmarks.experiment import TITANS
from benchmarks.experiment import Experiment

EVERY = (*TITANS, "slots", *BASELINES)
FEW = ("MAG", "LMM", "transformer", "window", "mamba-2")
ABLATED = (*TITANS, *ABLATIONS)
LEVELS = ("passkey", "number", "uuid")

# --- quick: tiny, few steps ---------------------------------------------------

TINY = {"parameters": 150_000, "batch_size": 32, "cases": 24}
FEW_KEYS = {"pairs": 6, "num_keys": 32, "num_values": 32}

QUICK = (
    Experiment(
        "recall",
        "recall",
        FEW_KEYS,
        length=64,
        models=FEW,
        steps=200,
        seeds=(0, 1, 2),
        **TINY,
    ),
    Experiment(
        "addresses",
        "modelling",
        {},
        length=64,
        models=("MAG", "LMM", "transformer", "mamba-2"),
        steps=100,
        learning_rate=5e-3,
        same_tokens=True,
        seeds=(0, 1, 2),
        **{**TINY, "cases": 16},
    ),
    Experiment(
        "recall, ablations",
        "recall",
        FEW_KEYS,
        length=64,
        models=("LMM", "LMM, matrix memory"),
        steps=100,
        times=(1, 16),
        **TINY,
    ),
)

# --- standard: every task, small models ---------------------------------------

SMALL = {
    "models": EVERY,
    "parameters": 150_000,
    "batch_size": 8,
    "cases": 40,
    "judge_batch": 4,
}
SMALL_TEXT = {**SMALL, "batch_size": 16, "cases": 20, "same_tokens": True}

# Byte pairs, so that a row is short; in training, only the answer counts.
FEW_BYTE_PAIRS = {"tokenizer": {"byte_pairs": 1024}}
NEEDLE = {
    **SMALL,
    "parameters": 200_000,
    "length": 384,
    "batch_size": 16,
    "steps": 900,
}

STANDARD = (
    Experiment(
        "recall",
        "recall",
        {"pairs": 16},
        length=128,
        steps=400,
        divisors=(1, 2),
        seeds=(0, 1, 2),
        **{**SMALL, "batch_size": 32, "cases": 80},
    ),
    *(
        Experiment(
            f"needle, {level}",
            "needle",
            {"level": level, **FEW_BYTE_PAIRS},
            **NEEDLE,
        )
        for level in LEVELS
    ),
    Experiment(
        "addresses", "modelling", {}, length=256, steps=500, **SMALL_TEXT
    ),
    Experiment(
        "novels",
        "modelling",
        {"prose": "novels"},
        length=256,
        steps=500,
        **SMALL_TEXT,
    ),
    *(
        Experiment(
            f"stories, {facts}",
            "stories",
            {
                "num_facts": facts,
                "sentences": 6,
                "prose": "novels",
                "text_weight": 0.1,
            },
            length=512,
            steps=400,
            **{**SMALL, "cases": 80},
        )
        for facts in (1, 2, 3)
    ),
    Experiment(
        "party",
        "addresses",
        {"question": "party"},
        length=512,
        steps=200,
        **SMALL,
    ),
    Experiment(
        "electricity",
        "electricity",
        {"horizon": 96, "stride": 96},
        length=336,
        steps=300,
        **{**SMALL, "cases": 80},
    ),
    Experiment(
        "bases", "bases", {}, length=512, steps=300, same_tokens=True, **SMALL
    ),
    Experiment("species", "species", {}, length=512, steps=200, **SMALL),
    Experiment(
        "definitions",
        "wordnet",
        {"question": "definition"},
        length=512,
        steps=300,
        **SMALL,
    ),
    Experiment(
        "recall, ablations",
        "recall",
        {"pairs": 16},
        length=128,
        models=ABLATED,
        parameters=250_000,
        steps=300,
        batch_size=32,
        divisors=(1, 2),
        times=(1, 4, 16),
        cases=80,
    ),
    Experiment(
        "needle, number, ablations",
        "needle",
        {"level": "number", **FEW_BYTE_PAIRS},
        **{
            **NEEDLE,
            "models": (
                "LMM",
                "LMM, forgetting from 0.001",
                "LMM, gates of scale 1",
            ),
        },
    ),
    Experiment(
        "addresses, ablations",
        "modelling",
        {},
        length=256,
        models=ABLATED,
        parameters=250_000,
        steps=300,
        batch_size=16,
        times=(1, 4, 16),
        cases=20,
        same_tokens=True,
    ),
)

# --- full: for a GPU ----------------------------------------------------------

LARGE = {
    "models": EVERY,
    "parameters": 36_000_000,
    "hidden_dim": 512,
    "num_layers": 8,
    "num_heads": 8,
    "window_size": 256,
    "chunk_size": 64,
    "num_slots": 1024,
    "dtype": "mixed_bfloat16",
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "steps": 5000,
    "batch_size": 16,
    "cases": 200,
    "judge_batch": 4,
    "seeds": (0, 1, 2),
    "limit_minutes": 240.0,
}
WORDS = {"tokenizer": {"byte_pairs": 4096}}
SAME_TOKENS = {**LARGE, "cases": 100, "same_tokens": True}
LARGE_ABLATIONS = {**LARGE, "models": ABLATED, "parameters": 40_000_000}

FULL = (
    Experiment(
        "recall",
        "recall",
        {"pairs": 64, "num_keys": 512, "num_values": 512},
        length=512,
        divisors=(1, 2),
        **{**LARGE, "batch_size": 64},
    ),
    *(
        Experiment(
            f"needle, {level}",
            "needle",
            {"level": level, "needles": 2, "text_weight": 0.1, **WORDS},
            length=2048,
            divisors=(1, 2),
            **LARGE,
        )
        for level in LEVELS
    ),
    Experiment("addresses", "modelling", WORDS, length=2048, **SAME_TOKENS),
    Experiment(
        "novels",
        "modelling",
        {"prose": "novels", **WORDS},
        length=2048,
        **SAME_TOKENS,
    ),
    *(
        Experiment(
            f"stories, {facts}",
            "stories",
            {
                "num_facts": facts,
                "prose": "novels",
                "text_weight": 0.1,
                **WORDS,
            },
            length=1024,
            **LARGE,
        )
        for facts in (1, 2, 3)
    ),
    *(
        Experiment(
            question,
            "addresses",
            {"question": question, **WORDS},
            length=2048,
            **LARGE,
        )
        for question in ("president", "party", "decade")
    ),
    *(
        Experiment(
            f"electricity, {horizon}",
            "electricity",
            {"horizon": horizon, "stride": 24},
            length=336,
            **{**LARGE, "batch_size": 64},
        )
        for horizon in (96, 720)
    ),
    Experiment("bases", "bases", {}, length=4096, **SAME_TOKENS),
    Experiment("species", "species", {}, length=4096, **LARGE),
    *(
        Experiment(
            f"{question}s",
            "wordnet",
            {"question": question},
            length=2048,
            **LARGE,
        )
        for question in ("definition", "hypernym")
    ),
    Experiment(
        "recall, ablations",
        "recall",
        {"pairs": 64, "num_keys": 512, "num_values": 512},
        length=512,
        divisors=(1, 2),
        **{**LARGE_ABLATIONS, "batch_size": 64},
    ),
    Experiment(
        "addresses, ablations",
        "modelling",
        WORDS,
        length=2048,
        **{**LARGE_ABLATIONS, "cases": 100, "same_tokens": True},
    ),
)

SUITES = {"quick": QUICK, "standard": STANDARD, "full": FULL}
