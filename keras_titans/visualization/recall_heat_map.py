"""How much is found again, by how long the text is and where it stood."""

import numpy as np

from keras_titans.visualization.canvas import image
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import write_into
from keras_titans.visualization.checks import as_array
from keras_titans.visualization.checks import check_lengths


def recall_heat_map(recall, lengths, depths, title=None):
    """The needle in the haystack: recall for each length and depth.

    Args:
        recall: `(depths, lengths)`: the share that was found, from 0 to 1.
            NaN where nothing was tried.
        lengths: `(lengths,)`: how many tokens each text had.
        depths: `(depths,)`: where the needle stood, from 0, at the text's
            start, to 1, at its end.
        title: What to write above.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import numpy as np
    import keras_titans

    figure = keras_titans.visualization.recall_heat_map(
        recall=np.array([[1.0, 0.75], [1.0, 1.0]]),
        lengths=[1024, 4096],
        depths=[0.0, 0.5],
    )
    ```
    """
    recall = as_array("recall", recall, 2)
    lengths = as_array("lengths", lengths, 1)
    depths = as_array("depths", depths, 1)
    check_lengths(recall=recall.shape[0], depths=len(depths))
    check_lengths(recall=recall.shape[1], lengths=len(lengths))
    outside = recall[(recall < 0.0) | (recall > 1.0)]
    if outside.size:
        raise ValueError(
            "Argument `recall` must be shares from 0 to 1. "
            f"Received: {outside.flat[0]} among them."
        )
    rows, columns = recall.shape
    figure = new_figure(0.66 * columns + 2.0, 0.3 * rows + 1.5)
    axis = figure.add_subplot()
    drawn = image(axis, recall, 0.0, 1.0)
    texts = [
        ["\u2013" if np.isnan(x) else f"{100 * x:.0f}" for x in row]
        for row in recall
    ]
    write_into(axis, drawn, texts)
    axis.set_xticks(range(columns), [_tokens(n) for n in lengths])
    axis.set_yticks(range(rows), [f"{100 * d:.3g} %" for d in depths])
    axis.set(xlabel="tokens", ylabel="depth", title=title)
    bar = figure.colorbar(drawn, ax=axis, aspect=18, pad=0.03)
    bar.set_ticks((0.0, 0.5, 1.0), labels=("0", "50", "100"))
    bar.set_label("found, %")
    bar.outline.set_visible(False)
    return figure


def _tokens(count):
    """`4096` as "4k", "4,100" as it is."""
    for unit, name in ((1 << 20, "M"), (1 << 10, "k")):
        if count >= unit and count % (unit / 2) == 0:
            return f"{count / unit:g}{name}"
    return f"{count:,.0f}"
