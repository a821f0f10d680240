"""Means over ranges of tokens, against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_titans.visualization import loss_by_position
from keras_titans.visualization.loss_by_position import doubling_edges


@pytest.mark.parametrize(
    "tokens, first, edges",
    [
        (100, 16, [0, 16, 32, 64, 100]),
        (64, 16, [0, 16, 32, 64]),
        (5, 16, [0, 5]),
        (1, 1, [0, 1]),
    ],
)
def test_ranges_double(tokens, first, edges):
    assert doubling_edges(tokens, first).tolist() == edges


def by_loop(losses, where, edges):
    middles, errors = [], []
    for start, end in zip(edges, edges[1:]):
        rows = [
            np.mean([row[t] for t in range(start, end) if keep[t]])
            for row, keep in zip(losses, where)
            if any(keep[start:end])
        ]
        middles.append(np.mean(rows) if rows else np.nan)
        error = np.std(rows, ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else 0
        errors.append(error if rows else np.nan)
    return np.array(middles), np.array(errors)


def drawn(figure, i=0):
    """What line and band of `i` show."""
    axis = figure.axes[0]
    middle = axis.lines[i].get_ydata()
    band = axis.collections[i].get_paths()[0].vertices[:, 1]
    return middle, (band.min(), band.max())


@settings(max_examples=8, deadline=None)
@given(
    rows=st.integers(1, 4), tokens=st.integers(1, 90), seed=st.integers(0, 9)
)
def test_is_the_loop(rows, tokens, seed):
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(rows, tokens))
    where = rng.random((rows, tokens)) < 0.9
    where[:, ::7] = True
    middle, error = by_loop(losses, where, doubling_edges(tokens, 8))
    have, band = drawn(loss_by_position(losses, where, first=8))
    np.testing.assert_allclose(have, middle)
    wanted = (middle - error).min(), (middle + error).max()
    np.testing.assert_allclose(band, wanted)


def test_against_another_the_difference_of_each_row_counts():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 64))
    figure = loss_by_position(
        {"with": base - 0.5, "without": base}, against="without", first=8
    )
    axis = figure.axes[0]
    (line,) = [x for x in axis.lines if x.get_label() == "with"]
    np.testing.assert_allclose(line.get_ydata(), -0.5)
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(band, -0.5)
    assert "without" in axis.get_ylabel()


def test_draws_into_an_axis():
    first = loss_by_position(np.ones((1, 8)))
    axis = first.add_subplot()
    assert loss_by_position(np.ones((1, 8)), axis=axis) is first
    assert axis.lines
