"""Needles: in the text at their depth, asked for at the end, new each time."""

import ast
import importlib.util
import pathlib
import random
import re

import numpy as np
import pytest

from benchmarks.tasks import needle
from benchmarks.tasks.needle import Needle
from benchmarks.tasks.prose import Prose
from benchmarks.tasks.prose import RepeatedSentence
from benchmarks.tasks.prose import plant
from benchmarks.tasks.tokens import BytePairs
from benchmarks.tasks.tokens import Bytes
from tests.benchmarks.tasks.checks import clueless
from tests.benchmarks.tasks.checks import judged
from tests.benchmarks.tasks.checks import perfect
from tests.benchmarks.tasks.checks import take

PROSE = Prose(
    ("We train on this. It is old. " * 300,),
    ("You are judged by that. It is new! " * 500,),
)
VALUES = {
    "passkey": r"\d{7}",
    "number": r"\d{7}",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
TOKENIZERS = {
    "bytes": Bytes(),
    "byte pairs": BytePairs([*PROSE.training, needle.QUESTION], 300),
}


@pytest.fixture(params=VALUES)
def level(request):
    return request.param


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


def make(level, tokenizer, **options):
    return Needle(
        1000, level, tokenizer, None if level == "passkey" else PROSE, **options
    )


def read(level, tokenizer, inputs, targets, weight):
    """Facts and answers of a row, and its text, read as a person would."""
    text = tokenizer.decode([*inputs, targets[-1]])
    kind = "uuid" if level == "uuid" else "number"
    told = dict(
        re.findall(
            rf"One of the special magic {kind}s for ([a-z]+-[a-z]+) is: "
            rf"({VALUES[level]})\.",
            text,
        )
    )
    answered = re.findall(
        rf"\nWhat is the special magic {kind} for (\S+) mentioned in the "
        rf"provided text\? The special magic {kind} for (\S+) mentioned in "
        rf"the provided text is ({VALUES[level]})",
        text,
    )
    for key, again, value in answered:
        assert key == again
        assert told[key] == value
    weighted = tokenizer.decode(targets[weight == 1])
    assert weighted == "".join(f" {value}" for _, _, value in answered)
    return told, text


def test_held_out_rows_have_one_needle_at_its_depth(level, tokenizer):
    task = make(level, tokenizer, depths=5)
    for length in (1000, 2000):
        (batch,) = task.cases(length, count=10, batch_size=10)
        assert batch.inputs.shape == (10, length)
        assert batch.about["depth"].tolist() == [0, 25, 50, 75, 100] * 2
        for row, depth in zip(zip(*batch[:3]), batch.about["depth"]):
            told, text = read(level, tokenizer, *row)
            assert len(told) == 1
            assert text.startswith("A special magic")
            assert "We train" not in text
            start = text.index("afterwards.") + 11
            before, after = text[start:].split("One of the special", 1)
            after = after[after.index(".") : after.index("\nWhat is")]
            share = len(before) / (len(before) + len(after))
            # A sentence is up to 90 characters.
            assert abs(share - depth / 100) < 90 / len(before + after)


def test_training_rows_have_as_many_needles_as_wished(level, tokenizer):
    task = make(level, tokenizer, needles=2, text_weight=0.25)
    (batch,) = take(task.training(0, 8), 1)
    assert batch.inputs.shape == (8, 1000)
    for row in zip(*batch[:3]):
        told, text = read(level, tokenizer, *row)
        assert len(told) == 2
        assert text.startswith("Some special magic")
        assert "You are judged" not in text
    assert set(np.unique(batch.weight)) == {np.float32(0.25), np.float32(1)}


def test_nouns_of_held_out_rows_are_new():
    _, training, held_out = needle.keys()
    assert not set(training) & set(held_out)
    assert len(training) > 4000 and len(held_out) > 1000
    task = make("passkey", Bytes())
    nouns = {True: set(), False: set()}
    for batch in [*take(task.training(0, 20), 1), *task.cases(count=20)]:
        for row in zip(*batch[:3]):
            (key,) = read("passkey", task.tokenizer, *row)[0]
            nouns[len(batch.inputs) == 20].add(key.split("-")[1])
    assert nouns[True] <= set(training)
    assert nouns[False] <= set(held_out)


def test_score(level):
    task = make(level, Bytes(), depths=3)
    score = judged(task, perfect, count=6)
    assert score["exact_match"] == 1
    assert score["exact_match_by_depth"] == {0: 1.0, 50: 1.0, 100: 1.0}
    assert judged(task, clueless, count=6)["exact_match"] == 0

    def last_digit_wrong(task, batch):
        logits = perfect(task, batch)
        logits[batch.about["depth"] == 50, -1] = 0
        return logits

    score = judged(task, last_digit_wrong, count=6, batch_size=2)
    assert score["exact_match_by_depth"] == {0: 1.0, 50: 0.0, 100: 1.0}


def test_what_is_too_short_is_named():
    with pytest.raises(ValueError, match="`length` must be at least 3"):
        next(Needle(200, "passkey").training(0, 1))
    with pytest.raises(ValueError, match="`level` must be one of"):
        Needle(1000, "word")
    with pytest.raises(ValueError, match="`text_weight` must be a finite"):
        Needle(1000, "passkey", text_weight=-1.0)


def lm_eval_source(name):
    """A syntax tree of lm-eval's RULER: importing it downloads files."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None:
        pytest.skip("needs lm-eval")
    folder = pathlib.Path(spec.origin).parent / "tasks" / "ruler"
    return ast.parse((folder / name).read_text(encoding="utf-8"))


def lm_eval_constant(name, constant):
    for node in ast.walk(lm_eval_source(name)):
        if isinstance(node, ast.Assign) and node.targets[0].id == constant:
            return ast.literal_eval(node.value)
    raise AssertionError(f"lm-eval has no {constant}")


@pytest.mark.parametrize("kind", ["number", "uuid"])
def test_rows_are_those_of_lm_eval(kind):
    """Its own generator, given our key, value and place, writes our text."""
    template = lm_eval_constant("niah_utils.py", "TEMPLATE")
    (function,) = [
        node
        for node in lm_eval_source("prepare_niah.py").body
        if getattr(node, "name", "") == "generate_input_output"
    ]
    drawn = iter(["brave-otter", "1234567"])
    place, sentences = 3, 8
    names = {
        "RANDOM_SEED": 0,
        "random": type(
            "Drawn",
            (),
            {
                "Random": random.Random,
                "sample": lambda numbers, count: [
                    place if len(numbers) > 1 else 0
                ],
            },
        ),
        "generate_random": lambda what: next(drawn),
    }
    module = ast.Module([function], [])
    exec(compile(module, "lm-eval", "exec"), names)
    wanted, answers, query = names["generate_input_output"](
        sentences,
        needle.REPEATED,
        type_haystack="repeat",
        num_needle_k=1,
        type_needle_k="words",
        num_needle_v=1,
        type_needle_v=f"{kind}s",
        template=template,
    )
    assert (answers, query) == (["1234567"], "brave-otter")

    tokenizer = Bytes()
    haystack = RepeatedSentence(tokenizer, needle.REPEATED)
    window = haystack.window(None, sentences * len(haystack.sentence))
    hidden = "\n" + needle.NEEDLE.format(
        kind=kind, key="brave-otter", value="1234567"
    )
    text, _ = plant(window, [place / sentences], [tokenizer.encode(hidden)])
    have = (
        needle.ONE_NEEDLE.format(kind=kind)
        + tokenizer.decode(text)
        + needle.QUESTION.format(kind=kind, key="brave-otter")
    )
    assert have == wanted
    source = ast.unparse(lm_eval_source("prepare_niah.py"))
    assert (
        needle.PREFIX.strip().format(kind="{type_needle_v[:-1]}", key="{query}")
        in source
    )
