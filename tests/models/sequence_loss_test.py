"""What counts in a loss or a metric counts as in `fit`, however it is cut."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_titans.memory import Titans
from keras_titans.models import SegmentedTrainer
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.models.segmented_trainer_test import LEFT_OUT
from tests.models.segmented_trainer_test import PADDED
from tests.models.segmented_trainer_test import RNG
from tests.models.segmented_trainer_test import WEIGHT
from tests.models.segmented_trainer_test import WORDS
from tests.models.segmented_trainer_test import X
from tests.models.segmented_trainer_test import Y
from tests.models.segmented_trainer_test import assert_same_logs
from tests.models.segmented_trainer_test import compiled
from tests.models.segmented_trainer_test import compiles
from tests.models.segmented_trainer_test import crossentropy
from tests.models.segmented_trainer_test import memory
from tests.models.segmented_trainer_test import several_outputs

ROWS = np.array([[0.5], [2.0]], "float32")
LEVEL = RNG.normal(size=(2, 13, 2)).astype("float32")
MEANS = ("sum_over_batch_size", "mean_with_sample_weight")
REDUCTIONS = (*MEANS, "sum")


class MeanSquare(layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(ops.square(x)))
        return x


def tokenwise(mask_zero=False, regularizer=None, units=WORDS, **options):
    """A smaller model; the same one every time."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(WORDS, 4, mask_zero=mask_zero)(tokens)
    rule = Titans(write_regularizer=regularizer)
    x = memory(update_rule=rule)(x)
    outputs = layers.Dense(units, name="logits", **options)(x)
    return randomized(keras.Model(tokens, outputs))


def added_losses():
    model = tokenwise(kernel_regularizer="l2")
    x, y = model.inputs[0], MeanSquare()(model.outputs[0])
    return keras.Model(x, y)


def masked():
    return tokenwise(mask_zero=True)


def ignoring(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(
        y_true, y_pred, from_logits=True, ignore_class=-1
    )


def case(model=tokenwise, x=X, y=Y, loss=None, fit=None, **compile_options):
    data = {"x": x, "y": y, **(fit or {})}
    return model, loss or crossentropy, data, compile_options


def outputs_case(reduction, other):
    return case(
        several_outputs,
        {"tokens": PADDED, "scale": np.array([[1.0], [2.0]], "float32")},
        {"next": LEFT_OUT, "level": LEVEL},
        lambda: {
            "next": crossentropy(ignore_class=-1, reduction=reduction),
            "level": keras.losses.MeanSquaredError(reduction=other),
        },
        {"sample_weight": {"next": WEIGHT, "level": ROWS}},
        loss_weights={"next": 0.7, "level": 0.3},
        metrics={"next": "accuracy", "level": "mae"},
    )


ACCURACY = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
TOKENS, OF_ROWS = {"sample_weight": WEIGHT}, {"sample_weight": ROWS}
LIKE_FIT = {
    **{
        f"mask, weights, {how}": case(
            masked,
            PADDED,
            loss=lambda how=how: crossentropy(reduction=how),
            fit=TOKENS,
            **ACCURACY,
        )
        for how in REDUCTIONS
    },
    **{
        f"mask, ignore_class, {how}": case(
            masked,
            PADDED,
            LEFT_OUT,
            lambda how=how: crossentropy(reduction=how, ignore_class=-1),
            **ACCURACY,
        )
        for how in REDUCTIONS
    },
    **{
        f"weights of rows, {how}": case(
            loss=lambda how=how: crossentropy(reduction=how),
            fit=OF_ROWS,
            **ACCURACY,
        )
        for how in REDUCTIONS
    },
    "ignore_class, weights": case(
        y=LEFT_OUT,
        loss=lambda: crossentropy(ignore_class=-1, reduction=MEANS[1]),
        fit=TOKENS,
    ),
    "a function that masks": case(y=LEFT_OUT, loss=lambda: ignoring),
    "added losses": case(
        added_losses, fit=TOKENS, loss=lambda: crossentropy(reduction="sum")
    ),
    "write cost, mask": case(
        lambda: tokenwise(
            mask_zero=True, regularizer=keras.regularizers.L1(0.5)
        ),
        PADDED,
    ),
    "a mean of each row": case(
        lambda: tokenwise(units=1),
        y=WEIGHT,
        loss=lambda: "mse",
        fit={"class_weight": {i: 0.5 + i for i in range(13)}},
        weighted_metrics=["mae"],
    ),
    "outputs, one sum": outputs_case(MEANS[0], "sum"),
    "outputs, by weight": outputs_case(MEANS[1], MEANS[1]),
}


@compiles
@pytest.mark.parametrize("name", LIKE_FIT)
def test_what_counts_is_what_counts_in_fit(name):
    make_model, loss, data, options = LIKE_FIT[name]
    plain = compiled(
        make_model(), keras.optimizers.SGD(0.05), loss(), **options
    )
    trainer = compiled(
        SegmentedTrainer(make_model(), 5, 3),
        keras.optimizers.SGD(0.05),
        loss(),
        **options,
    )
    for _ in range(2):
        assert_same_logs(fitted(trainer, data), fitted(plain, data))
    close(*(to_numpy(m.trainable_variables) for m in (trainer, plain)), 1e-5)
    data = {name: data[name] for name in data if name != "class_weight"}
    assert_same_logs(evaluated(trainer, data), evaluated(plain, data))


def fitted(model, data):
    return model.fit(**copied(data), verbose=0).history


def evaluated(model, data):
    return model.evaluate(**copied(data), verbose=0, return_dict=True)


def copied(data):
    """Keras masks weights where they lie on PyTorch."""
    return keras.tree.map_structure(np.copy, data)


ONE_HOT = np.eye(WORDS, dtype="float32")[Y]


@pytest.mark.parametrize(
    "loss, y, weight, message",
    [
        (crossentropy(reduction="none"), Y, None, "reduced to a number"),
        ("dice", ONE_HOT, None, "'dice', which gives"),
        (keras.losses.Tversky(), ONE_HOT, None, "a loss of each token"),
        (keras.losses.CTC(), Y, None, "a loss of each token"),
        (lambda y, p: ops.mean(y - p), ONE_HOT, None, "a loss of each token"),
        (
            lambda y, p: ops.mean(ops.abs(y - ops.flip(p, 1)), axis=-1),
            ONE_HOT,
            None,
            "not those of its pieces",
        ),
        (crossentropy(), Y[:, :2], ROWS[:, 0], "one for all of a row's"),
    ],
)
def test_losses_that_cannot_be_cut(loss, y, weight, message):
    trainer = compiled(SegmentedTrainer(tokenwise(), 4), loss=loss)
    with pytest.raises(ValueError, match=message):
        trainer.train_on_batch(X[:, : y.shape[1]], y, weight)
