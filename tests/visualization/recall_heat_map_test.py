"""Every cell says what it is."""

import numpy as np
import pytest

from keras_titans.visualization import recall_heat_map
from keras_titans.visualization.recall_heat_map import _tokens


def test_cells_and_labels():
    recall = np.array([[1.0, 0.254], [np.nan, 0.0], [0.5, 0.5]])
    axis = recall_heat_map(recall, [1000, 1 << 20], [0, 0.125, 1]).axes[0]
    cells = {
        text.get_position(): text.get_text() for text in axis.texts
    }  # (column, row)
    assert cells[0, 0] == "100" and cells[1, 0] == "25"
    assert cells[0, 1] == "\u2013" and cells[1, 1] == "0"
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["1,000", "1M"]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["0 %", "12.5 %", "100 %"]


@pytest.mark.parametrize(
    "count, name",
    [(512, "512"), (1024, "1k"), (1536, "1.5k"), (4100, "4,100")],
)
def test_tokens_are_counted_in_short(count, name):
    assert _tokens(count) == name


def test_letters_can_be_read_on_every_shade():
    recall = np.linspace(0, 1, 11)[None]
    axis = recall_heat_map(recall, np.arange(1, 12), [0.0]).axes[0]
    shades = axis.images[0].cmap(recall[0])[:, :3] @ (0.299, 0.587, 0.114)
    assert np.all(np.diff(shades) < 0)
    for text, shade in zip(axis.texts, shades):
        letters = 1.0 if text.get_color() == "white" else 0.13
        assert abs(letters - shade) > 0.38
