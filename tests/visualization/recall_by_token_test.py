"""Nothing later than a token is shown beside it."""

import numpy as np

from keras_titans.visualization import recall_by_token


def test_shows_the_past_and_names_few_tokens():
    recall = np.random.default_rng(0).random((4, 4))
    axis = recall_by_token(recall, ["a", "b", "c", "$"]).axes[0]
    shown = axis.images[0].get_array()
    mask = np.ma.getmaskarray(shown)
    assert mask.tolist() == (~np.tri(4, dtype=bool)).tolist()
    np.testing.assert_array_equal(shown[~mask], recall[~mask])
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["a", "b", "c", r"\$"]


def test_many_tokens_are_numbered():
    axis = recall_by_token(np.eye(60), ["word"] * 60).axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert "word" not in labels
