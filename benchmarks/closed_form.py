"""A cell whose model is solved for, or given, and not trained by steps."""

import time

import numpy as np

from benchmarks.cell import CellWork
from benchmarks.experiment import build_task
from benchmarks.tasks.linear_forecasts import LinearForecast
from benchmarks.tasks.linear_forecasts import SeasonalNaive

BATCH = 64


class ClosedForm(CellWork):
    """`run_worker.Training`'s part, for the forecasters that need no steps.

    Args:
        spec: `{"configuration": ..., "seed": ...}` of a cell.
    """

    def __init__(self, spec):
        self.configuration, self.seed = spec["configuration"], spec["seed"]
        self.task = build_task(self.configuration)
        self.forecast = forecast_of(self.configuration["mixer"], self.task)

    @property
    def weights(self):
        # As many before they are solved for.
        if isinstance(self.forecast, SeasonalNaive):
            return []
        return [np.empty((self.task.length + 1, self.task.horizon))]

    def predict(self, inputs):
        return self.forecast(self.task.unpatched(inputs))

    def train(self, steps):
        """Solve, whatever the steps; the error on a few training rows."""
        start = time.perf_counter()
        if isinstance(self.forecast, LinearForecast):
            self.forecast.fit(self.task.training_series)
        batch = next(self.task.training(self.seed, BATCH))
        marks = self.task.marks(self.predict(batch.inputs), batch)
        return {
            "loss": float(marks["squared"].mean()),
            "seconds": time.perf_counter() - start,
        }

    def score(self, length, count):
        """The task's metrics at a length, and how long judging took."""
        start = time.perf_counter()
        score = self.task.evaluate(
            self.predict, length=length, batch_size=BATCH, count=count
        )
        return {"score": score, "seconds": time.perf_counter() - start}


def forecast_of(mixer, task):
    """The forecaster by the name that `experiment.CLOSED_FORMS` has."""
    if mixer == "seasonal-naive":
        return SeasonalNaive(task.horizon, task.WEEK)
    subtract = {"nlinear": "last", "dlinear": None}[mixer]
    return LinearForecast(task.length, task.horizon, subtract)
