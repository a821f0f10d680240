"""Lines are put together by model, the last of each cell counting."""

import math

import pytest

from benchmarks.results_of import by_experiment
from benchmarks.results_of import groups
from benchmarks.results_of import metric_of
from tests.benchmarks.made_up import experiment
from tests.benchmarks.made_up import found
from tests.benchmarks.made_up import line

RECALL = experiment("recall", "recall", {"pairs": 2}, ["LMM", "window"])


def test_mean_and_spread_over_seeds():
    lines = [
        line(RECALL, "LMM", {16: found(share)}, seed)
        for seed, share in enumerate((0.2, 0.4, 0.9))
    ]
    (group,) = groups(lines)
    assert group.mean("exact_match", 16) == pytest.approx(0.5)
    assert group.spread("exact_match", 16) == pytest.approx(0.36056, rel=1e-4)
    assert group.mean("exact_match", 32) is None
    assert groups(lines[:1])[0].spread("exact_match", 16) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_seeds_that_are_not_finite_have_no_spread(value):
    lines = [
        line(RECALL, "LMM", {16: found(share)}, seed)
        for seed, share in enumerate((value, 0.4, value))
    ]
    (group,) = groups(lines)
    assert group.spread("exact_match", 16) is None
    assert not math.isfinite(group.mean("exact_match", 16))


def test_a_cells_last_line_counts():
    lines = [
        line(RECALL, "LMM", {}, failed="crashed"),
        line(RECALL, "LMM", {16: found(0.2)}),
        line(RECALL, "LMM", {16: found(0.7)}),
    ]
    (group,) = groups(lines)
    assert group.values("exact_match", 16) == [0.7]


def test_an_older_configuration_is_left_out():
    longer = experiment(
        "recall", "recall", {"pairs": 2}, ["LMM", "window"], steps=80
    )
    lines = [
        line(RECALL, "LMM", {16: found(0.2)}, seed=1),
        line(RECALL, "window", {16: found(0.3)}),
        line(longer, "LMM", {16: found(0.7)}, seed=0),
    ]
    one, other = groups(lines)
    assert one.values("exact_match", 16) == [0.7]
    assert other.values("exact_match", 16) == [0.3]


def test_scores_split_by_numbers_come_in_their_order():
    split = {"exact_match_by_distance": {"16": 0.5, "4": 1.0, "128": 0.0}}
    lines = [
        line(RECALL, "LMM", {16: found(0.2, **split)}),
        line(RECALL, "LMM", {}, seed=1, diverged=4),
    ]
    (group,) = groups(lines)
    assert group.names("exact_match_by_distance") == ["4", "16", "128"]
    assert group.mean(("exact_match_by_distance", 4), 16) == 1.0
    assert group.diverged == 1


def test_engines_are_apart_and_metrics_known():
    lines = [
        line(RECALL, "LMM", {16: found(0.2)}),
        line(RECALL, "LMM", {16: found(0.4)}, backend="torch"),
    ]
    (one, other) = groups(lines)
    assert (one.backend, other.backend) == ("jax", "torch")
    assert metric_of([one]) == "exact_match"
    assert list(by_experiment([one, other])) == ["recall"]
    failed = groups([line(RECALL, "LMM", {}, failed="crashed")])
    assert metric_of(failed) is None
