"""Forecasting: the future is kept apart, and judged the same for any past."""

import numpy as np
import pytest

from benchmarks.tasks.forecasting import Electricity
from benchmarks.tasks.forecasting import Forecasting
from tests.benchmarks.tasks.checks import take

STEPS = 200


@pytest.fixture
def task():
    """The series is its own step number, in two channels."""
    numbers = np.arange(STEPS, dtype="float64")
    return Forecasting(10, 5, np.stack([numbers, -3 * numbers], 1), stride=4)


def steps(task, values):
    """Step numbers out of standardised values."""
    numbers = values * task.deviation + task.mean
    np.testing.assert_allclose(numbers[..., 1], -3 * numbers[..., 0], atol=1e-3)
    return numbers[..., 0].round().astype(int)


def test_rows_are_the_past_and_targets_what_follows(task):
    batches = [*take(task.training(0, 30), 50), *task.cases(20, batch_size=3)]
    seen = {10: set(), 20: set()}
    for batch in batches:
        length = batch.inputs.shape[1]
        row = steps(task, np.concatenate([batch.inputs, batch.targets], 1))
        assert np.all(np.diff(row, axis=1) == 1)
        assert row.shape[1] == length + 5
        seen[length] |= {int(now) for now in row[:, length]}
    assert seen[10] == set(range(10, 136))  # up to 139, the last of 70 %
    assert seen[20] == set(range(160, 196, 4))


def test_longer_rows_are_judged_by_the_same_targets(task):
    one, other = (
        np.concatenate([batch.targets for batch in task.cases(length)])
        for length in (10, 160)
    )
    np.testing.assert_array_equal(one, other)


def test_standardised_by_the_training_part(task):
    np.testing.assert_allclose(task.training_series.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(task.training_series.std(0), 1, rtol=1e-6)
    assert len(task.training_series) == 140


def test_score_is_that_of_a_loop(task):
    rng = np.random.default_rng(0)
    batches = list(task.cases(batch_size=4))
    outputs = [rng.normal(size=batch.targets.shape) for batch in batches]
    score = task.score(
        (batch, task.marks(output, batch))
        for batch, output in zip(batches, outputs)
    )
    errors = [
        float(have) - float(want)
        for batch, output in zip(batches, outputs)
        for have, want in zip(output.ravel(), batch.targets.ravel())
    ]
    assert len(errors) == 9 * 5 * 2
    assert score["mse"] == pytest.approx(sum(e * e for e in errors) / 90)
    assert score["mae"] == pytest.approx(sum(map(abs, errors)) / 90)


def test_what_does_not_fit_is_named(task):
    series = np.zeros((20, 1))
    with pytest.raises(ValueError, match="`length` and `horizon` .* 14"):
        Forecasting(10, 5, series)
    with pytest.raises(ValueError, match="`length` must be at most 160"):
        next(task.cases(161))
    (batch, *_) = task.cases()
    with pytest.raises(ValueError, match=r"\(1, 5, 2\).*\(1, 5, 1\)"):
        task.marks(np.zeros((1, 5, 1)), batch)


def test_patches_are_the_same_steps_side_by_side():
    series = np.random.default_rng(0).normal(size=(100, 2))
    steps, patches = (Forecasting(12, 5, series, patch=n) for n in (1, 4))
    for one, other in zip(steps.cases(24), patches.cases(24), strict=True):
        assert other.inputs.shape == (1, 6, 8)
        np.testing.assert_array_equal(
            patches.unpatched(other.inputs), one.inputs
        )
        np.testing.assert_array_equal(
            other.inputs[:, -1, -2:], one.inputs[:, -1]
        )
        np.testing.assert_array_equal(other.targets, one.targets)
    with pytest.raises(ValueError, match="`patch` must divide `length`"):
        Forecasting(12, 5, series, patch=5)
    with pytest.raises(ValueError, match="patch=4, length=13"):
        next(patches.cases(13))


def test_electricity():
    pytest.importorskip("tsdata")
    task = Electricity(96, 48, ("Demand", "Temperature"), stride=48)
    assert task.series.shape == (52608, 2)
    assert task.channels == 2
    demand = task.series[0, 0] * task.deviation[0] + task.mean[0]
    assert demand == pytest.approx(4382.825, rel=1e-4)
    (batch, *_) = task.cases(16 * 96)
    assert batch.inputs.shape == (1, 16 * 96, 2)
    longest = task.lengths[-1]
    for horizon in Electricity.HORIZONS:
        far = Electricity(96, horizon, stride=48)
        (first, *_) = far.cases(longest)
        assert first.targets.shape == (1, horizon, 1)
    with pytest.raises(ValueError, match="`channels` must be some of"):
        Electricity(96, 48, ("Holiday",))
