"""A cell whose model is solved for, or given, and not trained by steps."""

import time

import numpy as np

from benchmarks.cell import CellWork
from benchmarks.experiment import build_task
from benchmarks.tasks.linear_forecasts import LinearForecast
from benchmarks.tasks.linear_forecasts import SeasonalNaive
from benchmarks.tasks.token_counts import TokenCounts

# Training rows whose loss is told.
ROWS = 64


class ClosedForm(CellWork):
    """`run_worker.Training`'s part, for what needs no steps.

    Args:
        spec: `{"configuration": ..., "seed": ...}` of a cell.
    """

    def __init__(self, spec):
        self.configuration, self.seed = spec["configuration"], spec["seed"]
        self.task = build_task(self.configuration)
        self.model = model_of(self.configuration["mixer"], self.task)

    @property
    def weights(self):
        # As many before they are solved for.
        return [np.empty(shape) for shape in self.model.weight_shapes]

    def train(self, steps):
        """Solve, whatever the steps; the loss on a few training rows."""
        start = time.perf_counter()
        self.model.fit()
        batch = next(self.task.training(self.seed, ROWS))
        marks = self.task.marks(self.model(batch.inputs), batch)
        return {
            "loss": mean_loss(marks, batch),
            "seconds": time.perf_counter() - start,
        }

    def score(self, length, count):
        """The task's metrics at a length, and how long judging took."""
        start = time.perf_counter()
        score = self.task.evaluate(
            self.model,
            length=length,
            batch_size=self.configuration["judge_batch"],
            count=count,
        )
        return {"score": score, "seconds": time.perf_counter() - start}


class Forecast:
    """A forecaster that reads single steps, on a task that patches them."""

    def __init__(self, forecaster, task):
        self.forecaster, self.task = forecaster, task
        self.weight_shapes = forecaster.weight_shapes

    def fit(self):
        if isinstance(self.forecaster, LinearForecast):
            self.forecaster.fit(self.task.training_series)

    def __call__(self, inputs):
        return self.forecaster(self.task.unpatched(inputs))


def model_of(mixer, task):
    """The model by the name that `experiment.CLOSED_FORMS` has."""
    if mixer == "naive-bayes":
        return TokenCounts(task)
    if mixer == "seasonal-naive":
        return Forecast(SeasonalNaive(task.horizon, task.WEEK), task)
    subtract = {"nlinear": "last", "dlinear": None}[mixer]
    return Forecast(LinearForecast(task.length, task.horizon, subtract), task)


def mean_loss(marks, batch):
    """What a trained model would minimise on these rows."""
    if "squared" in marks:
        return float(marks["squared"].mean())
    return float(marks["nats"][batch.weight > 0].mean())
