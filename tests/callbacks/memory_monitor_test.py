"""The monitor against what the layers themselves return."""

import csv
import glob
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.callbacks import MemoryMonitor
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryBlock
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.models import SegmentedTrainer

VOCABULARY, WIDTH, LENGTH = 20, 8, 12
GATES = ("learning_rate", "momentum", "forgetting")
WHAT = ("surprise", *GATES, "memory_norm", "memory_drift", "not_finite")
# JAX without compiling, and PyTorch with it, take minutes for a loop.
JIT = {"jax": [True], "tensorflow": [True, False], "torch": [False]}[
    keras.backend.backend()
]
MEAN_LOGS = {
    "memory_surprise",
    "memory_learning_rate",
    "memory_momentum",
    "memory_forgetting",
    "memory_norm",
    "memory_drift",
    "memory_not_finite",
}


def text(rows=6, length=LENGTH):
    rng = np.random.default_rng(0)
    return rng.integers(1, VOCABULARY, (rows, length)).astype("int32")


def compiled_model(model, **options):
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    return model


def embedding(**options):
    return keras.layers.Embedding(VOCABULARY, WIDTH, **options)


def functional(*layers, batch_size=None, mask_zero=False, **options):
    tokens = keras.Input((None,), batch_size, dtype="int32")
    x = embedding(mask_zero=mask_zero)(tokens)
    for layer in layers:
        x = layer(x)
    outputs = keras.layers.Dense(VOCABULARY)(x)
    return compiled_model(keras.Model(tokens, outputs), **options)


def memory(**options):
    return NeuralMemory(2, 4, memory_depth=1, chunk_size=4, **options)


class Subclassed(keras.Model):
    """Asks for no surprise, and hides its layers in a list."""

    def __init__(self):
        super().__init__()
        self.embedding = embedding()
        self.blocks = [
            MemoryBlock(memory(), 8, name="first"),
            TitansBlock(MemoryAsGate(2, 4, memory()), 8, name="second"),
        ]
        self.head = keras.layers.Dense(VOCABULARY)

    def call(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.fixture(scope="module")
def model():
    """One for all tests that need no other: compiling takes the time."""
    return functional(memory(name="one"), MemoryBlock(memory(), 8, name="two"))


def fit(model, *callbacks, **options):
    tokens = text()
    settings = {"batch_size": 2, "shuffle": False, "verbose": 0, **options}
    return model.fit(tokens, tokens, callbacks=list(callbacks), **settings)


def alone(layer, x, mask=None):
    """What the layer says of itself, by name, as one number each."""
    _, told, state = layer(
        x,
        mask=None if mask is None else ops.convert_to_tensor(mask),
        initial_state=layer.get_initial_state(x.shape[0]),
        return_diagnostics=True,
        return_state=True,
    )
    if mask is None:
        mask = np.ones(x.shape[:2], bool)
    found = {
        name: ops.convert_to_numpy(told[name])[mask].mean()
        for name in ("surprise", *GATES)
    }
    after, start = (
        np.concatenate(
            [
                ops.convert_to_numpy(x).reshape(len(x), -1)
                for x in state["memory"]
            ],
            axis=1,
        )
        for state in (state, layer.get_initial_state(x.shape[0]))
    )
    found["not_finite"] = 0
    norm = lambda x: np.sqrt(np.sum(np.square(x), axis=1))
    found["memory_norm"] = norm(after).mean()
    found["memory_drift"] = (norm(after - start) / norm(start)).mean()
    return found


def check_against_the_layer(model, sample, mask=None):
    monitor = MemoryMonitor(sample, frequency=1, logs="layers")
    history = fit(model, monitor).history
    x = model.layers[1](sample)
    wanted = alone(model.get_layer("one"), x, mask)
    for name in WHAT:
        have = history[f"one_{name}"][-1]
        assert have == pytest.approx(wanted[name], rel=1e-4), name


def test_tells_what_the_layer_returns(model):
    check_against_the_layer(model, text(2))


def test_tokens_that_are_not_finite_are_only_counted():
    model = functional(memory(name="one", kernel_size=1))
    vectors = np.array(model.layers[1].get_weights()[0])
    vectors[3] = np.nan
    model.layers[1].set_weights([vectors])
    sample = np.arange(1, 9)[None]
    monitor = MemoryMonitor(sample, logs="layers")
    monitor.set_model(model)
    monitor.on_train_begin()
    wanted = alone(model.get_layer("one"), model.layers[1](sample), sample != 3)
    wanted["not_finite"] = 1
    for name in WHAT:
        have = monitor._latest[f"one_{name}"]
        assert have == pytest.approx(wanted[name], rel=1e-4), name


@pytest.mark.slow_on("tensorflow")
def test_padding_does_not_count():
    sample = text(2)
    sample[0, 7:] = 0
    sample[1, :2] = 0
    model = functional(memory(name="one"), mask_zero=True)
    check_against_the_layer(model, sample, sample > 0)


@pytest.mark.slow_on("tensorflow")
def test_means_over_memories_and_the_names_of_calls():
    layer = memory(name="twice")
    model = functional(layer, layer)
    sample = text(2)
    each, mean = (
        MemoryMonitor(sample, frequency=1, logs=logs)
        for logs in ("layers", "mean")
    )
    history = fit(model, each, mean).history
    for name in WHAT:
        short = name.removeprefix("memory_")
        parts = [history[f"{n}_{name}"][-1] for n in ("twice", "twice_call_2")]
        assert parts[0] != parts[1] or name == "not_finite"
        have = history[f"memory_{short}"][-1]
        assert have == pytest.approx(np.mean(parts))


@pytest.mark.parametrize("jit", JIT)
def test_training_is_as_without(jit):
    losses = []
    for watched in (False, True):
        keras.utils.set_random_seed(3)
        model = functional(memory(), keras.layers.Dropout(0.3), jit_compile=jit)
        steps = []
        record = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: steps.append(logs["loss"])
        )
        callbacks = [record]
        if watched:
            callbacks.append(MemoryMonitor(text(1), frequency=1))
        fit(model, *callbacks, epochs=2)
        losses.append(steps)
    assert len(losses[0]) == 6
    np.testing.assert_array_equal(*losses)


@pytest.mark.slow_on("tensorflow")
def test_a_state_that_is_kept_is_left_alone():
    states = []
    for watched in (False, True):
        keras.utils.set_random_seed(3)
        layer = memory(stateful=True)
        model = functional(layer, batch_size=2)
        callbacks = [MemoryMonitor(text(1), frequency=1)] if watched else []
        fit(model, *callbacks)
        states.append(ops.convert_to_numpy(layer.state["memory"][0]))
    assert np.abs(states[0]).max() > 0
    np.testing.assert_array_equal(*states)


@pytest.mark.slow_on("tensorflow")
def test_each_look_starts_afresh():
    """Where nothing is learned, all looks are alike."""
    model = functional(memory(stateful=True), batch_size=2)
    model.optimizer.learning_rate = 0.0
    seen = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["memory_surprise"])

    fit(model, MemoryMonitor(text(2), frequency=1), Record())
    assert len(seen) == 3 and len(set(seen)) == 1


@pytest.mark.slow_on("jax", "tensorflow")
def test_a_subclassed_model_is_watched():
    model = compiled_model(Subclassed())
    monitor = MemoryMonitor(text(1), frequency=2, logs="layers")
    history = fit(model, monitor).history
    for name in ("first", "second"):
        assert {f"{name}_{what}" for what in WHAT} <= set(history)
    assert not any("memory_surprise" in name for name in history)


@pytest.mark.slow_on("tensorflow")
def test_slots_and_other_memories_side_by_side():
    model = functional(SlotMemory(2, 4, 4, name="slots"), memory())
    history = fit(model, MemoryMonitor(text(1), frequency=2)).history
    # A gate that only one of them has is that one's.
    assert {"memory_write_rate", "memory_learning_rate"} <= set(history)


@pytest.mark.slow
def test_a_segmented_trainer_is_watched():
    trainer = compiled_model(
        SegmentedTrainer(functional(memory(name="one")), segment_length=4)
    )
    monitor = MemoryMonitor(text(1), frequency=2, logs="layers")
    assert "one_surprise" in fit(trainer, monitor).history


@pytest.mark.slow_on("tensorflow")
def test_when_it_looks(model):
    looks = []
    start = int(model.optimizer.iterations)  # where the curves go on

    class Counting(MemoryMonitor):
        def _look(self, step=None, epoch_ends=False):
            super()._look(step, epoch_ends)
            looks.append(self._looked)

    fit(model, Counting(text(1), frequency="epoch"), epochs=2)
    assert looks == [start, start + 3, start + 6]
    looks.clear()
    start += 6
    fit(model, Counting(text(1), frequency=4), epochs=3)  # 9 steps
    fours = [step for step in range(start + 1, start + 9) if step % 4 == 0]
    assert looks == [start, *fours, start + 9]


def test_logs_reach_the_callbacks_behind(model, tmp_path, capfd):
    path = tmp_path / "log.csv"
    monitor = MemoryMonitor(text(1), frequency=1)
    fit(model, monitor, keras.callbacks.CSVLogger(path), verbose=1, epochs=2)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and MEAN_LOGS <= set(rows[0])
    assert float(rows[0]["memory_norm"]) != float(rows[1]["memory_norm"])
    assert "memory_surprise" in capfd.readouterr().out


def events(log_dir):
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    (path,) = glob.glob(os.path.join(log_dir, "memory", "*tfevents*"))
    found = EventAccumulator(path, size_guidance={"images": 0})
    found.Reload()
    return found


def test_event_files_hold_what_the_logs_do(model, tmp_path):
    start = int(model.optimizer.iterations)
    monitor = MemoryMonitor(
        text(2), tmp_path, "epoch", image_frequency=10**6, logs="layers"
    )
    history = fit(model, monitor, epochs=2).history  # 6 steps
    found = events(tmp_path)
    tags = {f"{name}/{what}" for name in ("one", "two") for what in WHAT}
    assert tags == set(found.Tags()["scalars"])
    for name in WHAT:
        curve = found.Scalars(f"one/{name}")
        assert [point.step for point in curve] == [start, start + 3, start + 6]
        wanted = history[f"one_{name}"][-1]
        assert curve[-1].value == pytest.approx(wanted, rel=1e-5)
    surprises = found.Histograms("one/surprise_of_tokens")[-1].histogram_value
    assert surprises.num == 2 * LENGTH * 2  # rows, tokens, heads
    mean = surprises.sum / surprises.num
    wanted = history["one_surprise"][-1]
    assert mean == pytest.approx(wanted, rel=1e-4)
    for what in ("surprise_over_text", "recall"):
        images = found.Images(f"two/{what}")
        assert [image.step for image in images] == [start]
        assert images[0].width > 200 and images[0].height > 50
        assert images[0].encoded_image_string.startswith(b"\x89PNG")


def test_a_tag_is_of_one_kind(model, tmp_path):
    """TensorBoard shows nothing of a tag that is of two."""
    fit(model, MemoryMonitor(text(1), tmp_path, "epoch"))
    kinds = events(tmp_path).Tags()
    tags = [*kinds["scalars"], *kinds["histograms"], *kinds["images"]]
    assert len(tags) == len(set(tags))
    assert all(kinds[kind] for kind in ("scalars", "histograms", "images"))


@pytest.mark.slow_on("tensorflow")
def test_images_at_the_end_of_epochs(model, tmp_path):
    start = int(model.optimizer.iterations)
    monitor = MemoryMonitor(text(1), tmp_path, "epoch", "epoch")
    fit(model, monitor, epochs=2)
    images = events(tmp_path).Images("one/recall")
    assert [x.step for x in images] == [start, start + 3, start + 6]


def test_without_images(model, tmp_path):
    monitor = MemoryMonitor(text(1), tmp_path, "epoch", image_frequency=None)
    fit(model, monitor)
    found = events(tmp_path)
    assert not found.Tags()["images"] and found.Tags()["histograms"]


WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np, keras_titans
x = np.ones((2, 6, 8), "float32")
layer = keras_titans.layers.NeuralMemory(2, 4, memory_depth=1, name="one")
model = keras.Sequential([keras.Input((None, 8)), layer])
model.compile("sgd", "mse")
monitor = keras_titans.callbacks.MemoryMonitor(x[:1], sys.argv[1], 1)
model.fit(x, x, callbacks=[monitor], verbose=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow is there"
)
def test_event_files_need_no_tensorflow(tmp_path):
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, tmp_path], check=True
    )
    assert "one/surprise" in events(tmp_path).Tags()["scalars"]


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    MemoryMonitor(text(1))  # logs alone need nothing
    with pytest.raises(ImportError, match=r"keras-titans\[monitor\]"):
        MemoryMonitor(text(1), tmp_path)


def test_a_model_without_memory_is_refused():
    model = functional(TitansBlock("attention", 8, num_heads=2))
    with pytest.raises(ValueError, match="needs a model with at least one"):
        fit(model, MemoryMonitor(text(1)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sample": np.zeros((0, 4))}, r"`sample` must be one row.*\(0, 4\)"),
        (
            {"sample": [np.zeros((2, 4)), np.zeros((3, 4))]},
            r"`sample`.*\(2, 4\), \(3, 4\)",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MemoryMonitor(**{"sample": text(1), **arguments})


@pytest.mark.slow_on("tensorflow")
def test_a_language_model_is_watched_by_its_text(tmp_path):
    """Its tokens are strings again, and padding is left out."""
    import keras_titans

    models = keras_titans.models
    tokenizer = models.TitansByteTokenizer()
    backbone = models.TitansBackbone(
        tokenizer.vocabulary_size(),
        num_layers=1,
        hidden_dim=8,
        intermediate_dim=8,
        mixers="LMM",
        memory=memory(),
    )
    preprocessor = models.TitansCausalLMPreprocessor(
        tokenizer, sequence_length=12
    )
    model = models.TitansCausalLM(backbone, preprocessor)
    drawn = []

    class Seeing(MemoryMonitor):
        def _figures(self, name, observation):
            shown = [self._texts[place] for place in observation.shown]
            drawn.append(("".join(shown), observation))
            return {}

    monitor = Seeing(["to be"], tmp_path, logs="layers")
    model.fit(
        ["to be or", "not to be"], batch_size=2, callbacks=[monitor], verbose=0
    )
    text, observation = drawn[0]
    assert "to be" in text
    count = len(observation.shown)
    assert count < 12
    assert observation.recall.shape == (count, count)
    assert observation.tokens["surprise"].shape == (count, 2)
