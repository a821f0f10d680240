"""Training by segments is training, wherever the sequence is cut."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_titans.layers import MemoryAsGate
from keras_titans.layers import NeuralMemory
from keras_titans.layers import TitansBlock
from keras_titans.models import SegmentedTrainer
from keras_titans.models import StreamingModel
from tests.helpers import close
from tests.helpers import gradients
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced

BACKEND = keras.backend.backend()
# JAX compiles each operation of an eager step, TensorFlow's XLA takes minutes.
MODES = {
    "jax": [False],
    "tensorflow": [True, pytest.param(False, marks=pytest.mark.slow)],
    "torch": [True],
}
every_mode = pytest.mark.parametrize("eager", MODES[BACKEND])
# Each compiles a training step: half a minute on JAX and TensorFlow.
compiles = pytest.mark.slow if BACKEND != "torch" else lambda test: test
WORDS = 9
RNG = np.random.default_rng(0)
TEXT = RNG.integers(1, WORDS, (2, 14))
WEIGHT = RNG.uniform(0.5, 2.0, (2, 13)).astype("float32")
X, Y = TEXT[:, :-1], TEXT[:, 1:]
PADDED, LEFT_OUT = X.copy(), Y.copy()
# The outputs of padding are the same as long as segments begin with a token,
# and metrics count them where Keras does not hand them the mask.
PADDED[0, 7:10] = 0
PADDED[1, 2:4] = 0
PADDED[1, 11:] = 0
LEFT_OUT[0, 1:10] = -1
LEFT_OUT[1, 5:10] = -1  # a segment of nothing else


def memory(**options):
    return NeuralMemory(
        1, 4, memory_depth=1, chunk_size=3, kernel_size=2, **options
    )


def make(mixer=memory, mask_zero=False, dtype=None, dropout=0.0, **options):
    """A small language model; the same one every time."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(WORDS, 4, mask_zero=mask_zero, dtype=dtype)(tokens)
    block = TitansBlock(
        mixer(dtype=dtype), 6, dropout=dropout, dtype=dtype, name="block"
    )
    logits = layers.Dense(WORDS, dtype=dtype, name="logits", **options)
    return randomized(keras.Model(tokens, logits(block(x))))


def with_attention(**options):
    return MemoryAsGate(1, 4, memory=memory(), **options)


def crossentropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, **options
    )


def compiled(
    model, optimizer=None, loss=None, eager=BACKEND != "jax", **options
):
    model.compile(
        optimizer or keras.optimizers.SGD(0.5),
        loss or crossentropy(),
        run_eagerly=eager,
        jit_compile=not eager and BACKEND != "torch",
        **options,
    )
    return model


def step(model, x=X, y=Y, weight=WEIGHT):
    """What one batch of training reports and what it leaves."""
    logs = model.train_on_batch(x, y, weight, return_dict=True)
    return to_numpy(logs), to_numpy(
        [v.value for v in model.trainable_variables]
    )


def assert_same_step(one, other, tolerance=1e-5, **data):
    (logs, weights), (want_logs, want) = step(one, **data), step(other, **data)
    assert_same_logs(logs, want_logs, tolerance)
    close(weights, want, tolerance)


@every_mode
@pytest.mark.parametrize("accumulate", [True, False])
def test_without_truncation_it_is_the_plain_step(eager, accumulate):
    metrics = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    trainer = SegmentedTrainer(
        make(with_attention), 5, segments_per_gradient=3, accumulate=accumulate
    )
    assert_same_step(
        compiled(trainer, eager=eager, **metrics),
        compiled(make(with_attention), **metrics),
    )


@compiles
@pytest.mark.parametrize("length, size", [(12, 4), (3, 5), (13, 13)])
def test_any_length(length, size):
    data = {"x": X[:, :length], "y": Y[:, :length], "weight": None}
    trainer = SegmentedTrainer(make(), size, segments_per_gradient=3)
    assert_same_step(compiled(trainer), compiled(make()), **data)


class Truncated(keras.Model):
    """A model read in groups of tokens, with no gradient between them."""

    def __init__(self, model, group):
        super().__init__()
        self.streaming = StreamingModel(model)
        self.group = group
        self.built = True

    def call(self, x):
        states = self.streaming.get_initial_state(2)
        outputs = []
        for start in range(0, x.shape[1], self.group):
            piece = x[:, start : start + self.group]
            output, states = self.streaming((piece, states))
            states = keras.tree.map_structure(ops.stop_gradient, states)
            outputs.append(output)
        return ops.concatenate(outputs, axis=1)


@every_mode
def test_the_gradient_is_truncated_at_groups(eager):
    x = ops.convert_to_tensor(X)
    truncated = Truncated(make(), 6)
    loss = crossentropy()
    value, found = gradients(truncated, lambda y: loss(Y, y, WEIGHT[:, :13]), x)
    before = to_numpy([v.value for v in truncated.trainable_variables])
    want = [w - g for w, g in zip(before, found)]

    trainer = SegmentedTrainer(make(), 3, segments_per_gradient=2)
    sgd = keras.optimizers.SGD(1.0)
    logs, weights = step(compiled(trainer, sgd, eager=eager))
    np.testing.assert_allclose(logs["loss"], value, rtol=1e-5)
    close(weights, want, 1e-5)
    # And it makes a difference.
    _, plain = step(compiled(make(), keras.optimizers.SGD(1.0)))
    assert max(np.abs(a - b).max() for a, b in zip(plain, want)) > 1e-3


@every_mode
def test_a_step_for_each_group(eager):
    # The first group on its own.
    half = 6
    model = make()
    streaming = StreamingModel(model)
    _, states = streaming((X[:, :half], streaming.get_initial_state(2)))
    states = to_numpy(states)
    loss = crossentropy(ignore_class=-1)
    y = LEFT_OUT[:, :12]
    first, _ = step(compiled(model, loss=loss), X[:, :half], y[:, :half], None)
    # The second from its state, with the weights as they are now.
    logits, _ = streaming((X[:, half:12], states))
    second = float(to_numpy(loss(y[:, half:], logits)))

    trainer = SegmentedTrainer(make(), 3, 2, accumulate=False)
    trainer = compiled(trainer, loss=loss, eager=eager)
    logs, _ = step(trainer, X[:, :12], y, None)
    # Six of the first group's tokens count, and four of the second's.
    np.testing.assert_allclose(
        logs["loss"], (6 * first["loss"] + 4 * second) / 10, rtol=1e-5
    )
    assert int(trainer.optimizer.iterations) == 2


def several_outputs():
    keras.utils.set_random_seed(1)
    inputs = {
        "tokens": keras.Input((None,), dtype="int32", name="tokens"),
        "scale": keras.Input((1,), name="scale"),
    }
    x = memory()(layers.Embedding(WORDS, 4, mask_zero=True)(inputs["tokens"]))
    scaled = x * inputs["scale"][:, None]  # without a mask
    outputs = {
        "next": layers.Dense(WORDS, name="next")(x),
        "level": layers.Dense(2, name="level")(scaled),
    }
    return randomized(keras.Model(inputs, outputs))


def assert_same_logs(have, want, tolerance=1e-5):
    assert have.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(
            have[name], want[name], rtol=tolerance, err_msg=name
        )


def test_predict_of_several_inputs_and_outputs():
    x = {"tokens": X, "scale": np.array([[1.0], [2.0]], "float32")}
    one = SegmentedTrainer(several_outputs(), 5)
    close(one.predict(x, verbose=0), several_outputs()(x), 1e-5)


@compiles
def test_mixed_precision():
    options = {"dtype": "mixed_float16"}
    scaled = lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=256.0, dynamic_growth_steps=2
    )
    trainer = SegmentedTrainer(make(**options), 5, 3)
    trainer, plain = compiled(trainer, scaled()), compiled(make(), scaled())
    assert_same_step(trainer, plain, tolerance=2e-2)
    step(trainer)
    assert float(trainer.optimizer.dynamic_scale) == 512.0


class Recorded(layers.Layer):
    """Remembers, eagerly, what went through it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        self.seen.append(x)
        return x


def test_a_segment_is_run_again_with_the_same_dropout():
    if BACKEND != "torch":
        pytest.skip("the random numbers are among the model's variables")
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(WORDS, 4)(tokens)
    x = layers.Dropout(0.5)(x)
    recorded = Recorded()
    model = keras.Model(tokens, layers.Dense(WORDS)(memory()(recorded(x))))
    trainer = compiled(SegmentedTrainer(model, 4, 4))
    recorded.seen.clear()
    step(trainer, X[:, :12], Y[:, :12], None)
    seen = [x for x in recorded.seen if not x.is_meta]
    seen = [to_numpy(x.detach()) for x in seen]
    first, second, last, second_again, first_again = seen
    close(first_again, first, 0.0)
    close(second_again, second, 0.0)
    assert np.abs(first - second).max() > 1e-3


@compiles
def test_dropout_draws_once_for_each_segment():
    if BACKEND == "torch":
        pytest.skip("the random numbers are PyTorch's own")
    model = make(dropout=0.5)
    trainer = compiled(SegmentedTrainer(model, 4, 4))
    seeds = lambda model: [
        np.array(ops.convert_to_numpy(v.value))
        for v in model.non_trainable_variables
    ]
    before = seeds(model)
    logs, weights = step(trainer)
    assert all(np.all(np.isfinite(w)) for w in weights)
    # Four segments, each of which drew as often as one.
    drawn = [b[..., 1] - a[..., 1] for a, b in zip(before, seeds(model))]
    plain = make(dropout=0.5)
    before = seeds(plain)
    step(compiled(plain))
    once = [b[..., 1] - a[..., 1] for a, b in zip(before, seeds(plain))]
    assert drawn == [4 * n for n in once] and max(once) > 0


def batches():
    for length in (13, 9, 10):
        yield X[:, :length], Y[:, :length], WEIGHT[:, :length]


@compiles
def test_lengths_that_are_unknown_until_run_time():
    trainer, plain = SegmentedTrainer(make(), 4, 5), make()
    for model in (trainer, plain):
        model.compile("sgd", crossentropy())
        model.fit(batches(), steps_per_epoch=3, verbose=0)
    have, want = (
        to_numpy([v.value for v in model.trainable_variables])
        for model in (trainer, plain)
    )
    close(have, want, 1e-5)


def test_evaluate_and_predict_are_the_plain_ones():
    trainer = compiled(SegmentedTrainer(make(with_attention), 5), eager=False)
    plain = compiled(make(with_attention))
    np.testing.assert_allclose(
        trainer.evaluate(X, Y, sample_weight=WEIGHT, verbose=0),
        plain.evaluate(X, Y, sample_weight=WEIGHT, verbose=0),
        rtol=1e-5,
    )
    outputs = traced(lambda x: plain(x))(X)
    close(trainer.predict(X, verbose=0), outputs, 1e-5)
    close(traced(lambda x: trainer(x))(X), outputs, 0.0)


@compiles
def test_validation_changes_nothing():
    with_validation, without = (
        compiled(SegmentedTrainer(make(), 5, 2), "adam") for _ in range(2)
    )
    options = {"epochs": 2, "verbose": 0, "shuffle": False}
    seen = with_validation.fit(X, Y, validation_data=(X[:1], Y[:1]), **options)
    unseen = without.fit(X, Y, **options)
    assert seen.history["loss"] == unseen.history["loss"]
    assert seen.history["val_loss"][0] != seen.history["val_loss"][1]


@compiles
def test_the_monitor_tells_of_memories(tmp_path):
    model = make(with_attention, mask_zero=True)
    x = X.copy()
    x[0, 7:] = 0
    streaming = StreamingModel(model, return_diagnostics=True)
    start = streaming.get_initial_state(2)
    _, diagnostics, states = to_numpy(streaming((x, start)))
    surprise = diagnostics["block"]["surprise"][x > 0].mean()
    squares = np.square(states["block"]["memory"]["memory"][0])
    norm = np.sqrt(squares.sum((1, 2, 3))).mean()

    trainer = compiled(SegmentedTrainer(model, 5, monitor=True), eager=False)
    logs = trainer.evaluate(x, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["block_surprise"], surprise, rtol=1e-5)
    np.testing.assert_allclose(logs["block_memory_norm"], norm, rtol=1e-5)
    assert 0.0 < logs["block_learning_rate"] < 1.0
    assert 0.0 < logs["block_momentum"] < 0.5
    assert 0.0 < logs["block_forgetting"] < 0.1

    path = tmp_path / "log.csv"
    logger = keras.callbacks.CSVLogger(path)
    trainer.fit(x, Y, validation_data=(x, Y), callbacks=[logger], verbose=0)
    columns = path.read_text().split("\n")[0].split(",")
    assert {"block_surprise", "val_block_memory_norm"} <= set(columns)


@compiles
def test_the_monitor_only_counts_tokens_that_are_not_finite():
    model = make(mask_zero=True)
    vectors = np.array(model.layers[1].get_weights()[0])
    vectors[3] = np.nan
    model.layers[1].set_weights([vectors])
    trainer = compiled(SegmentedTrainer(model, 5, monitor=True), eager=False)
    logs = trainer.evaluate(X, Y, verbose=0, return_dict=True)
    assert logs["block_not_finite"] == np.sum(X == 3) > 0
    assert np.isfinite(logs["block_surprise"])
    assert 0.0 < logs["block_learning_rate"] < 1.0


@compiles
def test_file_round_trip(tmp_path):
    trainer = compiled(SegmentedTrainer(make(), 5, 2, monitor=True), "adam")
    step(trainer)
    trainer.save(tmp_path / "trainer.keras")
    again = keras.saving.load_model(tmp_path / "trainer.keras")
    assert again.get_config()["segments_per_gradient"] == 2
    assert_same_step(again, trainer, 1e-6)
    trainer.model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    close(model(X), trainer(X), 1e-6)


def pooled():
    tokens = keras.Input((None, 4))
    return keras.Model(tokens, ops.mean(memory()(tokens), axis=1))


class OwnLoss(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return ops.zeros(())


def own_loss():
    model = make()
    return OwnLoss(model.inputs, model.outputs)


def masked_by_memory():
    tokens = keras.Input((None, 4))
    return keras.Model(tokens, layers.Masking()(memory()(tokens)))


@pytest.mark.parametrize(
    "make_trainer, message",
    [
        (lambda: SegmentedTrainer(pooled(), 4), "an entry for each token"),
        (lambda: SegmentedTrainer(own_loss(), 4), "no `compute_loss` of its"),
        (lambda: SegmentedTrainer(masked_by_memory(), 4), "masks that its"),
        (
            lambda: SegmentedTrainer(make(activity_regularizer="l2"), 4),
            "'logits' with one",
        ),
    ],
)
def test_constructor_errors(make_trainer, message):
    with pytest.raises(ValueError, match=message):
        make_trainer()


def test_step_errors():
    trainer = compiled(SegmentedTrainer(make(), 4), loss="mse")
    with pytest.raises(ValueError, match="entry for each of the 13 tokens"):
        trainer.train_on_batch(X, np.zeros((2, 1, WORDS)))
