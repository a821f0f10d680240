"""A classifier hears what was said long ago, and is one of KerasHub's."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansClassifier
from keras_titans.models import TitansTextClassifierPreprocessor
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same

TEXTS = ["all is well", "all is lost", "well, well"]


def backbone(**options):
    options = {"mixers": "LMM", "num_layers": 1, "hidden_dim": 8} | options
    if options["mixers"] != "attention":
        options["memory"] = NeuralMemory(
            2, options["hidden_dim"] // 2, chunk_size=4
        )
    return TitansBackbone(
        vocabulary_size=259,
        num_heads=2,
        intermediate_dim=16,
        window_size=4,
        **options,
    )


def of_texts(**options):
    preprocessor = TitansTextClassifierPreprocessor(
        TitansByteTokenizer(), sequence_length=16
    )
    model = TitansClassifier(backbone(), 3, preprocessor, **options)
    return randomized(model, scale=0.1)


def inputs(ids, mask):
    ids, mask = np.array(ids, "int32"), np.array(mask, "int32")
    return {"token_ids": ids, "padding_mask": mask}


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_padding_says_nothing(pooling):
    model = TitansClassifier(backbone(), 3, pooling=pooling)
    randomized(model, scale=0.3)
    plain = model.predict(inputs([[5, 6, 7]], [[1, 1, 1]]), verbose=0)
    padded = model.predict(
        inputs(
            [[5, 6, 7, 0, 9], [0, 9, 5, 6, 7], [5, 0, 6, 9, 7]],
            [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]],
        ),
        verbose=0,
    )
    close(padded, np.repeat(plain, 3, axis=0), 1e-5)
    other = model.predict(inputs([[5, 6, 8]], [[1, 1, 1]]), verbose=0)
    assert np.abs(other - plain).max() > 1e-3


def test_poolings_are_what_they_say():
    ids = inputs([[5, 6, 7]], [[1, 1, 1]])
    model = TitansClassifier(backbone(), 3)
    randomized(model)
    hidden = model.backbone.predict(ids, verbose=0)
    kernel, bias = model.output_dense.get_weights()
    for pooling, pooled in (
        ("last", hidden[:, -1]),
        ("mean", hidden.mean(axis=1)),
    ):
        again = TitansClassifier(
            model.backbone, 3, pooling=pooling, activation="softmax"
        )
        again.output_dense.set_weights([kernel, bias])
        logits = pooled @ kernel + bias
        want = np.exp(logits) / np.exp(logits).sum()
        close(again.predict(ids, verbose=0), want, 1e-5)


FAR = 40


def early_words(count, seed):
    """One of the first three tokens is the class, 97 to 99; filler then."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(100, 104, (count, FAR))
    label = rng.integers(0, 3, count)
    ids[np.arange(count), rng.integers(0, 3, count)] = 97 + label
    return inputs(ids, np.ones_like(ids)), label


@pytest.mark.slow_on("tensorflow")
def test_the_first_words_decide_at_the_end():
    keras.utils.set_random_seed(0)
    mixers = ["MAG", "LMM"]
    model = TitansClassifier(
        backbone(mixers=mixers, num_layers=2, hidden_dim=16), 3
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    for epoch in range(12):
        logs = model.fit(*early_words(1024, epoch), batch_size=32, verbose=0)
        if logs.history["sparse_categorical_accuracy"][-1] > 0.97:
            break
    x, label = early_words(256, 1)
    right = model.predict(x, verbose=0).argmax(axis=1) == label
    assert right.mean() > 0.9


def test_a_window_alone_does_not_see_them():
    """So it is the memory that does."""
    model = TitansClassifier(backbone(mixers="attention", num_layers=2), 3)
    x, _ = early_words(4, 1)
    before = model.predict(x, verbose=0)
    x["token_ids"][:, :3] = 97
    close(model.predict(x, verbose=0), before, 1e-6)


@pytest.mark.slow_on("tensorflow")
def test_strings_and_presets(tmp_path):
    model = of_texts(pooling="mean", dropout=0.1, activation="softmax")
    model.fit(TEXTS, np.array([0, 1, 2]), batch_size=2, verbose=0)
    want = model.predict(TEXTS, verbose=0)
    np.testing.assert_allclose(want.sum(axis=1), 1, rtol=1e-5)
    model.save_to_preset(tmp_path / "preset")
    again = keras_hub.models.TextClassifier.from_preset(
        str(tmp_path / "preset")
    )
    assert isinstance(again, TitansClassifier)
    assert again.get_config()["pooling"] == "mean"
    close(again.predict(TEXTS, verbose=0), want, 1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, TitansClassifier)
    same(loaded.get_weights(), model.get_weights())


@pytest.mark.slow_on("tensorflow")
def test_other_classes_on_the_same_backbone(tmp_path):
    model = of_texts()
    model.backbone.save_to_preset(tmp_path / "preset")
    model.preprocessor.save_to_preset(tmp_path / "preset")
    other = keras_hub.models.TextClassifier.from_preset(
        str(tmp_path / "preset"), num_classes=5
    )
    assert other.predict(TEXTS, verbose=0).shape == (3, 5)
    x = model.preprocessor(TEXTS)
    close(
        other.backbone.predict(x, verbose=0),
        model.backbone.predict(x, verbose=0),
        1e-6,
    )
