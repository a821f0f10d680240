"""A training that is killed goes on from its backup as if nothing was."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
EPOCHS = 4

# Trains on the README's bytes; "die" has it killed in the third epoch.
TRAIN = """
import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np
from keras import layers

import keras_titans
import pytest

folder, epochs, die = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
keras.utils.set_random_seed(3)
text = np.frombuffer(pathlib.Path(sys.argv[4]).read_bytes(), "uint8")
text = (text[: 4 * 41] % 64).reshape(4, 41)

tokens = keras.Input((None,), dtype="int32")
x = layers.Embedding(64, 8)(tokens)
memory = keras_titans.layers.NeuralMemory(
    2, head_dim=4, chunk_size=4, memory_depth=1, name="memory"
)
x = keras_titans.layers.TitansBlock(memory, 12, name="block")(x)
model = keras.Model(tokens, layers.Dense(64)(x))
trainer = keras_titans.models.SegmentedTrainer(
    model, segment_length=8, segments_per_gradient=2, monitor=True
)
trainer.compile(
    keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(1e-2, 8), clipnorm=1.0
    ),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)


class Killed(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if die == "die" and (self.epoch, batch) == (2, 0):
            os.kill(os.getpid(), signal.SIGKILL)


class Written(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        with open(folder / "logs", "a") as file:
            logs = {name: float(value) for name, value in logs.items()}
            file.write(json.dumps([epoch, logs]) + "\\n")


trainer.fit(
    text[:, :-1],
    text[:, 1:],
    batch_size=2,
    epochs=epochs,
    shuffle=False,
    verbose=0,
    validation_split=0.5,
    validation_batch_size=1,
    callbacks=[
        Written(),
        keras.callbacks.BackupAndRestore(folder / "backup"),
        Killed(),
    ],
)
model.save(folder / "model.keras")
weights = [keras.ops.convert_to_numpy(v.value) for v in model.weights]
np.savez(folder / "weights.npz", *weights)
"""


def train(folder, die="live"):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            *(sys.executable, "-c", TRAIN),
            *(folder, str(EPOCHS), die, ROOT / "README.md"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def logs(folder):
    lines = (folder / "logs").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow_on("tensorflow", "torch")
def test_killed_in_the_middle_of_fit(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    result = train(whole)
    assert result.returncode == 0, result.stderr

    result = train(broken, "die")
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [epoch for epoch, _ in logs(broken)] == [0, 1]
    assert not (broken / "weights.npz").exists()

    result = train(broken)
    assert result.returncode == 0, result.stderr
    want, have = logs(whole), logs(broken)
    assert [epoch for epoch, _ in have] == list(range(EPOCHS))
    assert have[0][1]["loss"] > have[-1][1]["loss"]
    for (_, one), (_, other) in zip(want, have, strict=True):
        assert one.keys() == other.keys()
        assert {"val_loss", "block_surprise"} <= one.keys()
        for name in one:
            np.testing.assert_allclose(
                other[name], one[name], rtol=1e-6, err_msg=name
            )
    with (
        np.load(whole / "weights.npz") as one,
        np.load(broken / "weights.npz") as other,
    ):
        for name in one:
            np.testing.assert_allclose(other[name], one[name], atol=1e-6)
