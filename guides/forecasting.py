"""
Title: Forecasting electricity demand with memory as a gate
Author: The keras_titans authors
Date created: 2026/11/26
Last modified: 2026/11/26
Description: Forecast a day of a state's electricity demand from the weeks
    before, beside what any forecaster has to beat.
Accelerator: None
"""

"""
## Introduction

The demand for electricity repeats itself by the day and by the week, and then
there is the weather, and there are holidays. How good a forecast is can only be
told beside the simplest ones: the same as a week ago, and a linear map of the
last week.

`keras_titans.models.TitansForecaster` reads a series in patches, with blocks of
attention and memory. Here the blocks are MAG, memory as a gate: attention over
a window of the last days, gated by a memory that has read all the weeks.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure
from tsdata import fpp3

from keras_titans.layers import NeuralMemory
from keras_titans.models import TitansForecaster

SMALL = "GUIDE_SMALL" in os.environ  # a quick look that learns nothing
keras.utils.set_random_seed(0)

"""
## The series

Half-hourly demand of Victoria, Australia, 2012 to 2014, in megawatt hours. It
is cut in time: 70 % to train on, 10 % to choose by, 20 % held out.
"""

DAY, WEEK = 48, 336
demand = fpp3.raw["vic_elec"]["Demand"].to_numpy("float64")
training_end, held_out_start = len(demand) * 7 // 10, len(demand) * 8 // 10
mean, deviation = demand[:training_end].mean(), demand[:training_end].std()
series = ((demand - mean) / deviation).astype("float32")
print(f"{len(demand):,} half-hours, on average {mean:,.0f} MWh")

"""
Four weeks in, a day out. Windows begin at all hours of the day.
"""

PAST, HORIZON = 4 * WEEK, DAY


def windows(first, end, stride):
    """Inputs `(windows, PAST, 1)` and what followed `(windows, HORIZON, 1)`.

    What followed lies between `first` and `end`; the inputs may reach back.
    """
    starts = np.arange(max(first, PAST), end - HORIZON + 1, stride)
    steps = np.arange(-PAST, HORIZON)
    rows = series[starts[:, None] + steps, None]
    return rows[:, :PAST], rows[:, PAST:]


train = windows(0, training_end, 601 if SMALL else 13)
choose = windows(training_end, held_out_start, 151 if SMALL else 31)
held_out = windows(held_out_start, len(series), 301 if SMALL else 17)
print(*(f"{len(x):,}" for x, _ in (train, choose, held_out)), "windows")

"""
## The model

A patch is four hours, so four weeks are 168 of them, and the attention's window
is four days. To what the blocks see is added a linear map of the last week, so
that they need only find what is left. Untrained, the model says that everything
stays as it is.
"""

model = TitansForecaster(
    horizon=HORIZON,
    num_channels=1,
    num_layers=2,
    hidden_dim=32,
    num_heads=2,
    mixers="MAG",
    memory=NeuralMemory(num_heads=2, head_dim=16),
    window_size=24,
    patch_size=8,
    linear_window=WEEK,
    dropout=0.1,
)
print(f"{model.count_params():,} weights")

EPOCHS, BATCH = 1 if SMALL else 8, 32
schedule = keras.optimizers.schedules.CosineDecay(
    3e-3, EPOCHS * -(-len(train[0]) // BATCH), alpha=0.02
)
model.compile(
    keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0), "mae"
)
best = keras.callbacks.EarlyStopping(patience=EPOCHS, restore_best_weights=True)
model.fit(
    *train,
    BATCH,
    epochs=EPOCHS,
    validation_data=choose,
    callbacks=[best],
    verbose=0 if SMALL else 2,
)

"""
## What it has to beat

The same as a week ago, or as a day ago; and the best linear map of the last
week, by least squares, from the same windows. As in the model, the last value
is taken off before and put back after.
"""


def features(x):
    recent = x[:, -WEEK:, 0] - x[:, -1:, 0]
    return np.concatenate([recent, np.ones_like(recent[:, :1])], axis=1)


def least_squares(x, y):
    inputs, outputs = features(x), y[..., 0] - x[:, -1:, 0]
    # A little ridge: neighbouring half-hours are nearly equal.
    ridge = len(inputs) * 1e-5 * np.eye(inputs.shape[1])
    return np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ outputs)


weights = least_squares(*train)
past, followed = held_out
forecasts = {
    "as a day ago": past[:, -DAY:],
    "as a week ago": past[:, -WEEK : -WEEK + HORIZON],
    "linear": (features(past) @ weights + past[:, -1:, 0])[..., None],
    "MAG": model.predict(past, verbose=0),
}

print("\nMean absolute error on held-out days, MWh and of the mean demand")
in_hours = {}
for name, forecast in forecasts.items():
    in_hours[name] = np.abs(forecast - followed).mean(axis=(0, 2)) * deviation
    error = in_hours[name].mean()
    print(f"{name:>14} {error:8.1f} {error / mean:8.2%}")

"""
Is the last line better than the one before by chance? Windows overlap, so we
take the mean of each week of windows as one observation.
"""

gap = np.abs(forecasts["MAG"] - followed) - np.abs(
    forecasts["linear"] - followed
)
by_window = gap.mean(axis=(1, 2)) * deviation
weeks = np.array_split(by_window, max(2, len(by_window) * 17 // WEEK))
weekly = np.array([week.mean() for week in weeks])
error = weekly.std(ddof=1) / np.sqrt(len(weekly))
print(f"MAG less linear: {weekly.mean():+.1f} +- {error:.1f} MWh")

"""
## A picture

On the left the error by how far ahead a forecast looks; on the right a day in
the middle of the held-out ones, as it comes.
"""

COLORS = dict(zip(forecasts, ("#c9c9c9", "#8a8a8a", "#d98324", "#0b6e99")))
figure = Figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
hours = (1 + np.arange(HORIZON)) / 2
middle = len(followed) // 2
for name, forecast in forecasts.items():
    left.plot(hours, in_hours[name], color=COLORS[name], label=name)
    values = forecast[middle, :, 0] * deviation + mean
    right.plot(hours, values, color=COLORS[name])
truth = followed[middle, :, 0] * deviation + mean
right.plot(hours, truth, "k", lw=2, label="what followed")
left.set(
    xlabel="hours ahead", ylabel="mean absolute error, MWh", ylim=(0, None)
)
right.set(xlabel="hours ahead", ylabel="demand, MWh")
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
figure.savefig("forecasting.png", dpi=130)

"""
## What to take from it

![Errors by the hour, and one day](forecasting.png)

- A forecaster takes windows of any length: train on some weeks, forecast from
  more or fewer.
- The linear map is a strong forecaster, as others have found
  ([Zeng et al.](https://arxiv.org/abs/2205.13504)). Compare with it, on the
  same windows, before you believe in anything deeper.
- This is one series and one seed.
"""
