"""Which experiments each suite has: nothing but data.

`quick` is for looking at whether anything is broken, `standard` for some hours
on two cores, `full` for a GPU.
"""

from benchmarks.experiment import Experiment
from benchmarks.variants import ABLATIONS
from benchmarks.variants import BASELINES
from benchmarks.variants import BEST
from benchmarks.variants import CANDIDATES
from benchmarks.variants import PAYING
from benchmarks.variants import TITANS

EVERY = (*TITANS, BEST, "slots", *BASELINES)
FEW = ("MAG", BEST, "transformer", "window", "mamba-2")
LANGUAGE = ("MAG", BEST, "transformer", "mamba-2")
FORECASTERS = ("seasonal naive", "NLinear", "DLinear")
COUNTS = "naive Bayes"
HORIZONS = (96, 192, 336, 720)
ABLATED = (*TITANS, *ABLATIONS)

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
        models=LANGUAGE,
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
    "models": FEW,
    "parameters": 150_000,
    "batch_size": 8,
    "cases": 40,
    "judge_batch": 4,
    "seeds": (0, 1, 2),
}
SMALL_TEXT = {
    **SMALL,
    "models": LANGUAGE,
    "length": 256,
    "batch_size": 16,
    "cases": 20,
    "same_tokens": True,
}
SMALL_RECALL = {
    **SMALL,
    "length": 64,
    "steps": 200,
    "batch_size": 32,
    "cases": 80,
}
CARRIED = {
    "models": (BEST, "transformer", "window", "mamba-2"),
    "carried": (1, 2, 4, 8),
    "steps": 400,
    "seeds": (0,),
}
SMALL_ABLATIONS = {"models": ABLATED, "parameters": 250_000}

# Byte pairs, so that a row is short; in training, only answers count.
FEW_BYTE_PAIRS = {"tokenizer": {"byte_pairs": 1024}}
NEEDLE = {
    **SMALL,
    "models": (PAYING, BEST, "transformer", "window", "mamba-2"),
    "parameters": 200_000,
    "length": 384,
    "batch_size": 16,
}
# Of 10,000 words 3 to 5 are numbers in the novels, about 100 in the addresses,
# and each may be taken for a needle.
NUMBER = {"level": "number", "prose": "novels", **FEW_BYTE_PAIRS}
NEEDLES = {
    "passkey": {"level": "passkey", **FEW_BYTE_PAIRS},
    "number": NUMBER,
    "uuid": {**NUMBER, "level": "uuid"},
    "number, addresses": {"level": "number", **FEW_BYTE_PAIRS},
}
STORIES = {"prose": "novels", "sentences": 6, "questions": 6, **FEW_BYTE_PAIRS}

STANDARD = (
    Experiment(
        "recall",
        "recall",
        {"pairs": 8},
        **{**SMALL_RECALL, "models": EVERY},
    ),
    *(
        Experiment(
            f"needle, {name}",
            "needle",
            NEEDLES[name],
            steps=steps,
            **{**NEEDLE, "models": (*NEEDLE["models"], *also)},
        )
        # A UUID has five times as many digits, and one wrong is all wrong.
        for name, steps, also in (
            ("passkey", 900, ()),
            ("number", 900, CANDIDATES[1:]),
            ("uuid", 3600, ()),
        )
    ),
    Experiment(
        "addresses",
        "modelling",
        {},
        steps=400,
        **{**SMALL_TEXT, "models": (*LANGUAGE, "LMM")},
    ),
    Experiment(
        "novels", "modelling", {"prose": "novels"}, steps=400, **SMALL_TEXT
    ),
    *(
        Experiment(
            f"stories, {facts}",
            "stories",
            {"num_facts": facts, **STORIES},
            # Hardly longer than a story and its questions: in fewer and longer
            # rows no model learned in as many steps who is where.
            length=128,
            steps=600,
            **{
                **SMALL,
                "models": (*also, BEST, "transformer", "mamba-2"),
                "parameters": 200_000,
                "batch_size": 48,
                "cases": 80,
            },
        )
        # One fact is enough to see what a cost on writing does to answers.
        for facts, also in (
            (1, (PAYING, *CANDIDATES[1:])),
            (2, ()),
            (3, ()),
        )
    ),
    Experiment(
        "party",
        "addresses",
        {"question": "party"},
        length=512,
        steps=200,
        **{**SMALL, "models": (*FEW, COUNTS)},
    ),
    Experiment(
        "decade",
        "addresses",
        {"question": "decade", **FEW_BYTE_PAIRS},
        length=256,
        steps=400,
        **{
            **SMALL,
            "models": (*FEW, COUNTS),
            "parameters": 200_000,
            "batch_size": 32,
            "cases": 80,
        },
    ),
    # What a state has become after eight lengths is seen in training.
    Experiment(
        "decade, carried on",
        "addresses",
        {"question": "decade", **FEW_BYTE_PAIRS},
        length=256,
        **{
            **SMALL,
            **CARRIED,
            "parameters": 200_000,
            "batch_size": 64,
            "cases": 80,
        },
    ),
    *(
        Experiment(
            f"electricity, {horizon}",
            "electricity",
            {"horizon": horizon, "stride": 96, "patch": 8},
            length=336,
            steps=400,
            **{
                **SMALL,
                "models": (*FEW, *FORECASTERS),
                # The map to 720 steps alone has 46,000.
                "parameters": 150_000 if horizon < 720 else 180_000,
                "batch_size": 32,
                "cases": 80,
            },
        )
        for horizon in HORIZONS
    ),
    Experiment(
        "bases", "bases", {}, length=512, steps=300, same_tokens=True, **SMALL
    ),
    Experiment("species", "species", {}, length=512, steps=200, **SMALL),
    Experiment(
        "species, carried on",
        "species",
        {},
        length=512,
        **{**SMALL, **CARRIED, "batch_size": 16},
    ),
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
        {"pairs": 8},
        times=(1, 4, 16),
        **{**SMALL_RECALL, **SMALL_ABLATIONS},
    ),
    Experiment(
        "addresses, ablations",
        "modelling",
        {},
        steps=200,
        times=(1, 4, 16),
        **{**SMALL_TEXT, **SMALL_ABLATIONS},
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
            f"needle, {name}",
            "needle",
            {**options, "needles": 2, **WORDS},
            length=2048,
            divisors=(1, 2),
            **LARGE,
        )
        for name, options in NEEDLES.items()
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
                "questions": 10,
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
            **{**LARGE, "models": (*EVERY, COUNTS)},
        )
        for question in ("president", "party", "decade")
    ),
    *(
        Experiment(
            f"electricity, {horizon}",
            "electricity",
            {"horizon": horizon, "stride": 24, "patch": 8},
            length=336,
            **{
                **LARGE,
                "models": (*EVERY, *FORECASTERS),
                "batch_size": 64,
            },
        )
        for horizon in HORIZONS
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
