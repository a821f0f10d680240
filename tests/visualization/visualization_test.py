"""What every figure shares: no global state, and errors that name both."""

import sys

import matplotlib
import numpy as np
import pytest

import keras_titans
from keras_titans import visualization

NAMES = visualization.__all__
RECALL = np.tril(np.full((3, 3), 0.5))
FIGURES = {
    "loss_by_position": lambda: visualization.loss_by_position(
        np.ones((2, 300))
    ),
    "memory_difference": lambda: visualization.memory_difference(
        {"memory": [np.ones((1, 2, 3, 3))]}, {"memory": [np.ones((1, 2, 3, 3))]}
    ),
    "recall_by_token": lambda: visualization.recall_by_token(RECALL),
    "recall_heat_map": lambda: visualization.recall_heat_map(
        RECALL, [1, 2, 3], [0.0, 0.5, 1.0]
    ),
    "surprise_over_text": lambda: visualization.surprise_over_text(
        ["a", "b"], [1.0, 2.0]
    ),
    "what_memory_holds": lambda: visualization.what_memory_holds(
        ["q"], ["a", "b"], [[0.1, 0.9]]
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_is_drawn_without_pyplot(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figure = FIGURES[name]()
    figure.savefig(tmp_path / "figure.png")
    image = matplotlib.image.imread(tmp_path / "figure.png")
    assert image[..., :3].std() > 0.01, "nothing was drawn"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras-titans\[plot\]"):
        FIGURES[name]()


LOSSES = np.ones((2, 8))
STATE = {"memory": [np.ones((1, 2, 3, 3))]}


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        (
            "surprise_over_text",
            (["a", "b"], [1.0]),
            "2 in `words`, 1 in `surprise`",
        ),
        ("surprise_over_text", ("ab", [1.0, 2.0]), "`words` must be a list"),
        ("surprise_over_text", (["a", 3], [1.0, 2.0]), "`words`.*3 among"),
        ("surprise_over_text", ([], []), r"`surprise`.*\(0,\)"),
        ("surprise_over_text", (["a"], [[1.0]]), r"`surprise`.*\(1, 1\)"),
        ("recall_by_token", (np.ones((2, 3)),), r"`recall`.*\(2, 3\)"),
        (
            "recall_by_token",
            (np.ones((2, 2)), ["a"]),
            "2 in `recall`, 1 in `words`",
        ),
        (
            "recall_heat_map",
            (np.ones((2, 3)), [1, 2, 3], [0.0]),
            "2 in `recall`, 1 in `depths`",
        ),
        (
            "recall_heat_map",
            (np.ones((2, 3)), [1, 2], [0.0, 1.0]),
            "3 in `recall`, 2 in `lengths`",
        ),
        (
            "recall_heat_map",
            (np.full((1, 1), 1.5), [1], [0.0]),
            "from 0 to 1.*1.5",
        ),
        (
            "loss_by_position",
            ({"one": LOSSES, "other": LOSSES[:, :4]},),
            r"'one': \(2, 8\), 'other': \(2, 4\)",
        ),
        ("loss_by_position", (LOSSES, LOSSES), "`where`.*float64"),
        ("loss_by_position", (LOSSES, None, "x"), "`against`.*'x'"),
        ("loss_by_position", ({},), "`losses` must have at least one"),
        (
            "what_memory_holds",
            (["q"], ["a"], np.ones((2, 1))),
            "1 in `queries`, 2 in `similarity`",
        ),
        (
            "what_memory_holds",
            (["q"], ["a"], np.ones((1, 2))),
            "1 in `tokens`, 2 in `similarity`",
        ),
        ("what_memory_holds", (["q"], ["a"]), "Either.*retrieved=None"),
        (
            "what_memory_holds",
            (["q"], ["a"], None, np.ones((1, 2)), np.ones((1, 3))),
            "2 in `retrieved`, 3 in `values`",
        ),
        (
            "memory_difference",
            (STATE, {"memory": [np.ones((2, 2, 3, 3))]}),
            r"\(1, 2, 3, 3\).*`before`.*\(2, 2, 3, 3\).*`after`",
        ),
        ("memory_difference", ({"phase": np.ones(1)}, STATE), "`before`.*dict"),
    ],
)
def test_bad_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(keras_titans.visualization, name)(*arguments)
