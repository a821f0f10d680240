"""Which earlier tokens each token of a text brings back."""

import numpy as np

from keras_titans.visualization.canvas import image
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import plain_text
from keras_titans.visualization.checks import as_array
from keras_titans.visualization.checks import check_lengths
from keras_titans.visualization.checks import check_texts

NAMED = 48  # tokens at most whose words have room beside the picture


def recall_by_token(recall, words=None, title=None):
    """What is read at each token, compared to what earlier ones have written.

    Args:
        recall: `(tokens, tokens)`: how like what is read at the first axis'
            token is to what the second's has written. Later tokens than the
            first axis' are not shown.
        words: A string for each token. Long texts have numbers instead.
        title: What to write above.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import numpy as np
    import keras_titans

    words = "What was read once can be read again .".split()
    recall = np.eye(len(words))
    recall[6, 2] = 0.7  # the second "read" brings back the first
    figure = keras_titans.visualization.recall_by_token(recall, words)
    ```
    """
    recall = as_array("recall", recall, 2)
    if len(recall) != recall.shape[1]:
        raise ValueError(
            "Argument `recall` must have as many rows as columns, (tokens, "
            f"tokens). Received: shape {recall.shape}."
        )
    tokens = len(recall)
    if words is not None:
        words = check_texts("words", words)
        check_lengths(recall=tokens, words=len(words))
    named = words is not None and tokens <= NAMED
    side = max(4.0, 0.19 * tokens + 1.6) if named else 5.4
    figure = new_figure(side + 0.7, side)
    axis = figure.add_subplot()
    seen = np.where(np.tri(tokens, dtype=bool), recall, np.nan)
    top = max(np.nanmax(seen, initial=0.0), 1e-3)
    drawn = image(axis, seen, 0.0, top)
    axis.set_aspect("equal")
    if named:
        labels = [plain_text(word.strip()) for word in words]
        axis.set_xticks(range(tokens), labels, rotation=90, size=8)
        axis.set_yticks(range(tokens), labels, size=8)
    axis.set(xlabel="written at", ylabel="read at", title=title)
    bar = figure.colorbar(drawn, ax=axis, shrink=0.6, aspect=25)
    bar.set_label("likeness (cosine)")
    bar.outline.set_visible(False)
    return figure
