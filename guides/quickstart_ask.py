"""Answer from a saved memory: `python quickstart_ask.py FOLDER NAME...`.

The second half of `quickstart.py`: nothing but the files that it wrote.
"""

import os
import pathlib
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tokenizers
from keras import tree

import keras_titans  # noqa: F401  (its layers are what the file is made of)

folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
model = keras.saving.load_model(folder / "model.keras")
memory = np.load(folder / "memory.npz")
state = tree.pack_sequence_as(model.input[2], list(memory.values()))

answers = []
for name in names:
    # Each question starts from the memory as it was saved.
    question = f" Again, the special number for the {name} is"
    tokens = np.array([tokenizer.encode(question).ids], "int32")
    number, now = [], state
    for _ in range(2):
        output = model.predict_on_batch([tokens, tokens, now])
        tokens, now = output["answer"][:, -1:], output["states"]
        number.append(int(tokens[0, 0]))
    answers.append(f"{name}{tokenizer.decode(number)}")
print("asked", *answers)
