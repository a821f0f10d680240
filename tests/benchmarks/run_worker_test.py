"""How a cell trains: the same rows and tokens whatever the model."""

import keras
import numpy as np
import pytest

from benchmarks import run_worker
from benchmarks.experiment import Experiment
from benchmarks.run_worker import Training
from benchmarks.run_worker import rows_of
from benchmarks.tasks.recall import AssociativeRecall
from tests.benchmarks.stand_ins import stand_ins  # noqa: F401
from tests.benchmarks.tasks.checks import equal

OPTIONS = {"pairs": 2, "num_keys": 4, "num_values": 4}


def spec(model="window", **change):
    options = {
        "length": 8,
        "models": (model,),
        "parameters": 10_000,
        "steps": 6,
        "batch_size": 2,
        "hidden_dim": 16,
        "num_layers": 1,
        "window_size": 4,
        "times": (1, 2),
        "cases": 4,
        "judge_batch": 4,
    }
    experiment = Experiment("recall", "recall", OPTIONS, **(options | change))
    return {"configuration": experiment.configuration(model), "seed": 0}


def test_every_step_has_as_many_tokens():
    tasks = [AssociativeRecall(length, **OPTIONS) for length in (16, 8)]
    batches = [rows_of(tasks, 48, seed=0, step=step) for step in range(4)]
    shapes = [batch.inputs.shape for batch in batches]
    assert shapes == [(3, 16), (6, 8), (3, 16), (6, 8)]
    again = rows_of(tasks, 48, seed=0, step=2)
    equal(again, batches[2])
    assert not np.array_equal(again.inputs, batches[0].inputs)


def test_slices_are_steps_of_one_training(monkeypatch):
    asked = []
    rows = run_worker.rows_of
    monkeypatch.setattr(
        run_worker,
        "rows_of",
        lambda *args: asked.append(args[-1]) or rows(*args),
    )
    training = Training(spec())
    first = training.train(steps=4)
    asked_first, asked[:] = list(asked), []
    second = training.train(steps=2)
    # Keras may look at a batch twice, to see what it is like.
    assert list(dict.fromkeys(asked_first)) == [0, 1, 2, 3]
    assert list(dict.fromkeys(asked)) == [4, 5]
    assert np.isfinite([first["loss"], second["loss"]]).all()
    assert int(training.model.optimizer.iterations) == 6
    # The same from the start, in one go.
    whole = Training(spec())
    whole.train(steps=6)
    for one, other in zip(training.model.weights, whole.model.weights):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_training_that_carries_states_on():
    weights = []
    for change in ({}, {"carried": (1,)}, {"carried": (1, 2)}):
        training = Training(spec(steps=3, **change))
        assert np.isfinite(training.train(steps=3)["loss"])
        assert int(training.trained.optimizer.iterations) == 3
        assert set(training.score(16, 4)["score"]) >= {"exact_match"}
        weights.append(training.model.get_weights())
    # A segment that is the whole row changes nothing.
    for whole, one, two in zip(*weights):
        np.testing.assert_allclose(whole, one, rtol=1e-3, atol=1e-4)
        assert np.isfinite(two).all()


def test_a_state_is_what_the_segment_before_has_left():
    training = Training(spec("LMM", steps=2, carried=(2,)))
    task, trainer = training.task, training.trained
    assert trainer.segment_length == task.length == 8
    (long,) = training.tasks
    batch = next(long.training(seed=0, batch_size=2))
    whole = training.model.predict_on_batch(batch.inputs)
    carried = trainer.predict_on_batch(batch.inputs)
    cut = training.model.predict_on_batch(batch.inputs[:, 8:])
    np.testing.assert_allclose(carried, whole, rtol=1e-3, atol=1e-4)
    assert np.abs(carried[:, 8:] - cut).max() > 1e-3


def test_what_has_no_state_reads_rows_whole():
    training = Training(spec("transformer", carried=(2, 1)))
    assert training.trained is training.model
    assert np.isfinite(training.train(steps=1)["loss"])
    assert set(training.score(16, 4)["score"]) >= {"exact_match"}


def test_scores_and_facts_of_a_cell():
    training = Training(spec())
    training.train(steps=1)
    assert set(training.score(16, 4)["score"]) >= {"exact_match", "nats"}
    facts = training.about() | training.versions() | training.peaks()
    assert facts["backend"] == keras.backend.backend()
    assert abs(facts["parameters"] / 10_000 - 1) < 0.02
    assert facts["peak_bytes"] > 1e6


def test_only_matrices_decay():
    training = Training(spec())
    optimizer = training.model.optimizer
    for variable in training.model.trainable_variables:
        decays = optimizer._use_weight_decay(variable)
        assert decays == (len(variable.shape) > 1)


def test_the_learning_rate_warms_up_and_falls():
    of = spec(steps=100, learning_rate=0.01)["configuration"]
    rate = run_worker.optimizer(of)._learning_rate
    values = [float(rate(step)) for step in (0, 5, 10, 55, 100)]
    assert values[0] == 0 and values[2] == pytest.approx(0.01)
    assert values[1] == pytest.approx(0.005)
    assert values[4] == pytest.approx(0.001) and values[2] > values[3]


@pytest.mark.parametrize("model", ["seasonal naive", "NLinear", "DLinear"])
def test_forecasters_in_closed_form_are_judged_as_all_are(model):
    pytest.importorskip("tsdata")
    experiment = Experiment(
        "electricity",
        "electricity",
        {"horizon": 48, "stride": 480, "patch": 8},
        length=336,
        models=(model, "window"),
        parameters=10_000,
        steps=2,
        batch_size=2,
    )
    cell = run_worker.make(
        {"configuration": experiment.configuration(model), "seed": 0}
    )
    about = cell.about()  # a run asks for it before it trains
    trained = cell.train(steps=2)
    scores = [cell.score(n, 4)["score"]["mse"] for n in (336, 672)]
    # The week before the target is the same, however long the row.
    assert scores[0] == pytest.approx(scores[1])
    assert 0 < scores[0] < 1 and 0 < trained["loss"] < 1
    weights = 0 if model == "seasonal naive" else 337 * 48
    assert about["parameters"] == weights
    if weights:
        assert cell.model.forecaster.weights.size == weights


def test_token_counts_are_judged_as_all_are(stand_ins):  # noqa: F811
    experiment = Experiment(
        "decade",
        "addresses",
        {"question": "decade"},
        length=64,
        models=("naive Bayes", "window"),
        parameters=10_000,
        steps=2,
        batch_size=2,
    )
    cell = run_worker.make(
        {"configuration": experiment.configuration("naive Bayes"), "seed": 0}
    )
    assert cell.about()["parameters"] == 2 * 256
    assert 0 < cell.train(steps=2)["loss"] < 10
    score = cell.score(64, 4)["score"]
    assert 0 <= score["exact_match"] <= 1 and np.isfinite(score["nats"])
