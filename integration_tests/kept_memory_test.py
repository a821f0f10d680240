"""Told today, asked tomorrow, by another process and on another backend.

A small model learns to take part in such conversations; none of the pairs of
who likes what that it is told in the end has to be one that it was trained on.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models import TitansTokenizer

# Trains a model for a minute or two.
pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[1]
BACKENDS = ["jax", "tensorflow", "torch"]
HERE = keras.backend.backend()
NEXT = BACKENDS[(BACKENDS.index(HERE) + 1) % len(BACKENDS)]

NAMES = "Anna Ben Carla David Emma Felix Greta Hugo Ida Jonas Klara Leo".split()
THINGS = "tea jazz chess snow figs rain maps boats bread owls opera plums"
THINGS = THINGS.split()
TELL, ASK = " {} likes {}.", " What does {} like?"
TOLD = [("Hugo", "maps"), ("Carla", "owls"), ("Leo", "tea")]
TOLD_TO_ANOTHER = [("Hugo", "rain"), ("Carla", "figs"), ("Leo", "chess")]
TOLD_LATER = ("Ida", "boats")

# A process that has nothing but the files.
TOMORROW = """
import json
import sys

import keras_hub

import keras_titans

folder, questions, news = json.loads(sys.argv[1])
model = keras_hub.models.CausalLM.from_preset(f"{folder}/preset")
model.compile(sampler="greedy")
model.load_memory(f"{folder}/today.memory")
answers = model.generate(questions, max_length=16, strip_prompt=True)
model.memorize([news] * len(questions))
model.save_memory(f"{folder}/tomorrow.memory")
print("answers", json.dumps(answers))
"""


def conversations(tokenizer, count, rng, facts=4, questions=6):
    """Facts, then questions and answers; only the answers are learned."""
    encode = lambda text: np.asarray(tokenizer(text)).tolist()
    pieces = {
        text: encode(text)
        for name in NAMES
        for text in [ASK.format(name)]
        + [TELL.format(name, thing) for thing in THINGS]
    }
    pieces |= {thing: encode(f" {thing}") for thing in THINGS}
    start, end = tokenizer.start_token_id, tokenizer.end_token_id
    rows, learned = [], []
    for _ in range(count):
        told = list(
            zip(
                rng.choice(NAMES, facts, replace=False),
                rng.choice(THINGS, facts, replace=False),
                strict=True,
            )
        )
        row = sum((pieces[TELL.format(*fact)] for fact in told), [])
        learn = [0] * len(row)
        for which in rng.integers(0, facts, questions):
            name, thing = told[which]
            question = [start, *pieces[ASK.format(name)]]
            answer = [*pieces[thing], end]
            row += question + answer
            learn += [0] * len(question) + [1] * len(answer)
        rows.append(row)
        learned.append(learn)
    length = max(map(len, rows))
    pad = lambda x, value: x + [value] * (length - len(x))
    ids = np.array([pad(x, tokenizer.pad_token_id) for x in rows], "int32")
    weight = np.array([pad(x, 0) for x in learned], "float32")
    inputs = {
        "token_ids": ids[:, :-1],
        "padding_mask": (ids != tokenizer.pad_token_id)[:, :-1],
    }
    return inputs, ids[:, 1:], weight[:, 1:]


def trained_model():
    keras.utils.set_random_seed(0)
    texts = [
        TELL.format(name, thing) + ASK.format(name)
        for name in NAMES
        for thing in THINGS
    ]
    tokenizer = TitansTokenizer.train(texts, vocabulary_size=400)
    backbone = TitansBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=2,
        hidden_dim=32,
        intermediate_dim=64,
        mixers="LMM",
        memory=NeuralMemory(head_dim=32, memory_depth=1),
        tie_word_embeddings=True,
    )
    learner = TitansCausalLM(backbone)
    learner.compile(
        optimizer=keras.optimizers.Adam(1e-2, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    rng = np.random.default_rng(0)
    for _ in range(10):
        inputs, labels, weight = conversations(tokenizer, 1600, rng)
        logs = learner.fit(
            inputs, labels, sample_weight=weight, batch_size=32, verbose=0
        ).history
        if logs["accuracy"][-1] > 0.995:
            break
    assert logs["accuracy"][-1] > 0.98, "it has not learned to converse"
    model = TitansCausalLM(
        backbone, TitansCausalLMPreprocessor(tokenizer, sequence_length=16)
    )
    model.compile(sampler="greedy")
    return model


def ask(model, questions):
    answers = model.generate(questions, max_length=16, strip_prompt=True)
    return [answer.strip() for answer in answers]


def told(facts):
    return "".join(TELL.format(*fact) for fact in facts)


QUESTIONS = [ASK.format(name) for name, _ in TOLD]
ANSWERS = [thing for _, thing in TOLD]


@pytest.fixture(scope="module")
def model():
    return trained_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("today")
    model.save_to_preset(folder / "preset")
    model.reset_memory()
    for fact in TOLD:  # one after another
        model.memorize(told([fact]))
    model.save_memory(folder / "today.memory")
    return folder


def test_it_answers_from_what_it_was_told(model):
    model.reset_memory()
    untold = ask(model, QUESTIONS)
    assert untold != ANSWERS
    model.memorize(told(TOLD))
    assert ask(model, QUESTIONS) == ANSWERS
    model.memorize([told([TOLD_LATER]), told([TOLD_LATER])])
    model.reset_memory()
    assert ask(model, QUESTIONS) == untold


def test_two_people_have_memories_of_their_own(model):
    model.reset_memory()
    model.memorize([told(TOLD), told(TOLD_TO_ANOTHER)])
    for i, fact in enumerate(TOLD):
        mine, theirs = fact[1], TOLD_TO_ANOTHER[i][1]
        assert ask(model, [QUESTIONS[i]] * 2) == [mine, theirs]
    model.set_memory(model.get_memory().rows(1))
    assert ask(model, QUESTIONS) == [thing for _, thing in TOLD_TO_ANOTHER]


@pytest.mark.parametrize("there", [HERE, NEXT])
def test_another_process_answers_tomorrow(there, model, folder):
    arguments = json.dumps([str(folder), QUESTIONS, told([TOLD_LATER])])
    done = subprocess.run(
        [sys.executable, "-c", TOMORROW, arguments],
        env={**os.environ, "KERAS_BACKEND": there, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip().splitlines()[-1]
    answers = json.loads(line.removeprefix("answers"))
    assert [answer.strip() for answer in answers] == ANSWERS
    # And the day after, here again.
    memory = MemorySnapshot.load(folder / "tomorrow.memory")
    model.set_memory(memory.rows(0))
    questions = [*QUESTIONS, ASK.format(TOLD_LATER[0])]
    assert ask(model, questions) == [*ANSWERS, TOLD_LATER[1]]


def test_the_preset_is_of_keras_hub(folder):
    again = keras_hub.models.CausalLM.from_preset(str(folder / "preset"))
    again.load_memory(folder / "today.memory")
    assert again.get_memory().tokens.tolist() == [4 * len(TOLD)]


# Dies while it writes.
KILLED = """
import os
import signal
import sys

import numpy as np

import keras_titans

memory = keras_titans.models.MemorySnapshot.load(sys.argv[1])
write, calls = np.lib.format.write_array, []


def dies(*args, **kwargs):
    calls.append(args)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*args, **kwargs)


np.lib.format.write_array = dies
memory.tokens += 1
memory.save(sys.argv[1])
"""


def test_a_killed_process_leaves_the_old_memory(tmp_path):
    path = tmp_path / "my.memory"
    arrays = [np.full((1, 5000), i, "float32") for i in range(6)]
    MemorySnapshot(arrays, tokens=3).save(path)
    old = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    begun = [file for file in os.listdir(tmp_path) if file != path.name]
    assert len(begun) == 1, "it died before or after writing"
    assert path.read_bytes() == old
    assert MemorySnapshot.load(path).tokens.tolist() == [3]
