"""What a memory gives back when it is asked."""

import numpy as np

from keras_titans.validation import check_positive_integer
from keras_titans.visualization.canvas import COLORS
from keras_titans.visualization.canvas import INK
from keras_titans.visualization.canvas import QUIET
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import plain_text
from keras_titans.visualization.checks import as_array
from keras_titans.visualization.checks import check_lengths
from keras_titans.visualization.checks import check_texts


def what_memory_holds(
    queries,
    tokens,
    similarity=None,
    retrieved=None,
    values=None,
    top=5,
    title=None,
):
    """For each query, the tokens that what it retrieves is most like.

    Args:
        queries: A string for each query.
        tokens: A string for each token that the memory has read.
        similarity: `(queries, tokens)`: how like what each query retrieves is
            to each token's value. Or, in its place:
        retrieved, values: `(queries, width)` and `(tokens, width)`: what is
            compared, by its cosine.
        top: How many tokens to show for each query.
        title: What to write above.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import numpy as np
    import keras_titans

    values = np.random.default_rng(0).normal(size=(6, 16))
    figure = keras_titans.visualization.what_memory_holds(
        queries=["harbour"],
        tokens="the harbour opens at dawn .".split(),
        retrieved=values[1:2],
        values=values,
        top=3,
    )
    ```
    """
    queries = check_texts("queries", queries)
    tokens = check_texts("tokens", tokens)
    check_positive_integer("top", top)
    similarity = _similarity(similarity, retrieved, values)
    check_lengths(queries=len(queries), similarity=len(similarity))
    check_lengths(tokens=len(tokens), similarity=similarity.shape[1])
    top = min(top, len(tokens))
    columns = min(3, len(queries))
    rows = -(-len(queries) // columns)
    figure = new_figure(
        2.9 * columns, (0.23 * top + 0.55) * rows + 0.35 + 0.3 * bool(title)
    )
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :top]
    shown = np.take_along_axis(similarity, best, axis=1)
    for i, axis in enumerate(axes.flat):
        if i >= len(queries):
            axis.set_axis_off()
            continue
        _draw(axis, queries[i], [tokens[j] for j in best[i]], best[i], shown[i])
        # The last in its column.
        axis.tick_params(axis="x", labelbottom=i + columns >= len(queries))
    axes.flat[0].set_xlim(min(0.0, shown.min()), max(1.0, shown.max()))
    figure.supxlabel("likeness of what is read to what was written", size=9)
    if title:
        figure.suptitle(title, size=11, color=INK)
    return figure


def _similarity(similarity, retrieved, values):
    if (similarity is None) == (retrieved is None or values is None):
        raise ValueError(
            "Either argument `similarity` must be given, or both `retrieved` "
            "and `values`. Received: "
            f"similarity={_shape(similarity)}, retrieved={_shape(retrieved)}, "
            f"values={_shape(values)}."
        )
    if similarity is not None:
        return as_array("similarity", similarity, 2)
    retrieved = as_array("retrieved", retrieved, 2)
    values = as_array("values", values, 2)
    check_lengths(retrieved=retrieved.shape[1], values=values.shape[1])
    one, other = (
        x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        for x in (retrieved, values)
    )
    return one @ other.T


def _shape(x):
    return "None" if x is None else f"an array of shape {np.shape(x)}"


def _draw(axis, query, tokens, numbers, likeness):
    places = np.arange(len(tokens))
    axis.barh(places, likeness, height=0.72, color=COLORS[0])
    labels = [plain_text(token.strip()) or "\u2423" for token in tokens]
    axis.set_yticks(places, labels, size=9)
    for place, number, length in zip(places, numbers, likeness):
        axis.annotate(
            f"token {number}",
            (max(length, 0.0), place),
            (3, 0),
            textcoords="offset points",
            va="center",
            size=6.5,
            color=QUIET,
        )
    axis.invert_yaxis()
    axis.set_title(
        f"\u201c{plain_text(query.strip())}\u201d", size=10, loc="left"
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
