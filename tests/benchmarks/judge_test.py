"""A row that is read in pieces is marked as if it were read whole."""

import numpy as np
import pytest

from benchmarks.experiment import Experiment
from benchmarks.experiment import build_model
from benchmarks.experiment import build_task
from benchmarks.judge import Judge
from benchmarks.judge import filled


def made(model, **change):
    options = {
        "name": "recall",
        "task": "recall",
        "options": {"pairs": 2, "num_keys": 4, "num_values": 4},
        "length": 8,
        "models": (model,),
        "parameters": 15_000,
        "steps": 1,
        "batch_size": 1,
        "hidden_dim": 16,
        "num_layers": 1,
        "window_size": 4,
        "chunk_size": 4,
    }
    of = Experiment(**{**options, **change}).configuration(model)
    task = build_task(of)
    return build_model(of, task), task


@pytest.mark.parametrize("name", ["LMM", "window"])
def test_pieces_are_the_whole(name):
    model, task = made(name)
    pieces = Judge(model, task, piece=8, batch_size=3, carries=True)
    whole = Judge(model, task, piece=32, batch_size=3, carries=False)
    one, other = (judge.score(32, count=4) for judge in (pieces, whole))
    assert one.keys() == other.keys()
    assert one["nats"] == pytest.approx(other["nats"], rel=1e-4)
    assert one["exact_match"] == other["exact_match"]


def test_a_forecast_has_read_all_pieces():
    model, task = made(
        "rg-lru", task="electricity", options={"horizon": 3, "stride": 900}
    )
    pieces = Judge(model, task, piece=8, batch_size=4, carries=True)
    (batch,) = task.cases(24, batch_size=4, count=4)
    (pair,) = pieces.read(batch)
    np.testing.assert_allclose(
        pair[0], model.predict_on_batch(batch.inputs), rtol=1e-3, atol=1e-4
    )


def test_whole_rows_are_fewer_the_longer_they_are():
    model, task = made("transformer")
    judge = Judge(model, task, piece=8, batch_size=4, carries=False)
    seen = []
    model.predict_on_batch = lambda inputs: (
        seen.append(inputs.shape) or np.zeros((*inputs.shape, 9))
    )
    for length in (8, 16, 64):
        judge.score(length, count=4)
    assert seen == [(4, 8), (2, 16), (2, 16), *[(1, 64)] * 4]


def test_a_filled_batch_is_not_judged_twice():
    _, task = made("window")
    (batch,) = task.cases(8, batch_size=4, count=3)
    more = filled(batch, 4)
    assert len(more.inputs) == len(more.weight) == 4
    np.testing.assert_array_equal(more.inputs[:3], batch.inputs)
    assert filled(batch, 3) is batch
    judge = Judge(made("window")[0], task, 8, 4, carries=True)
    assert len(judge.marks(more, 3)["nats"]) == 3
