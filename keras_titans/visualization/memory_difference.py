"""How far apart two memories of one model are, part by part."""

import numpy as np
from keras import ops
from keras import tree

from keras_titans.visualization.canvas import image
from keras_titans.visualization.canvas import new_figure
from keras_titans.visualization.canvas import write_into


def memory_difference(before, after, title=None):
    """How much of each head's memory has changed between two moments.

    For each dense map of each memory and each head it shows `|after - before|
    / |before|`, the mean over rows: 0 is a memory that is as it was.

    Args:
        before, after: Two `keras_titans.models.MemorySnapshot`s of one model,
            or states as `get_initial_state` returns them, with as many rows.
        title: What to write above.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    ```python
    import keras
    import keras_titans

    layer = keras_titans.layers.NeuralMemory(2, return_state=True)
    _, state = layer(keras.random.normal((1, 50, 16)))
    figure = keras_titans.visualization.memory_difference(
        layer.get_initial_state(1), state
    )
    ```
    """
    before, after = _maps("before", before), _maps("after", after)
    _check_alike(before, after)
    change = [_change(before[name], after[name]) for name in before]
    heads = max(len(row) for row in change)
    values = np.full((len(change), heads), np.nan)
    for row, values_row in zip(change, values):
        values_row[: len(row)] = row
    figure = new_figure(0.62 * heads + 3.0, 0.3 * len(change) + 1.4)
    axis = figure.add_subplot()
    finite = values[np.isfinite(values)]
    top = max(finite.max(initial=0.0), 1e-3)
    drawn = image(axis, values, 0.0, top)
    texts = [["" if np.isnan(x) else f"{x:.2g}" for x in row] for row in values]
    write_into(axis, drawn, texts)
    axis.set_xticks(range(heads), range(heads))
    axis.set_yticks(range(len(change)), list(before))
    axis.set(xlabel="head", title=title)
    bar = figure.colorbar(drawn, ax=axis, aspect=18, pad=0.03)
    bar.set_label("relative change")
    bar.outline.set_visible(False)
    return figure


def _maps(argument, memory):
    """Name -> `(rows, heads, ...)`: what is remembered, and nothing beside."""
    state = getattr(memory, "state", memory)
    found = {}
    for path, leaf in tree.flatten_with_path(state):
        names = [str(key) for key in path]
        keys = [key for key in path if not isinstance(key, int)]
        if keys and keys[-1] == "memory":
            found[_label(names)] = np.asarray(
                ops.convert_to_numpy(leaf), dtype="float64"
            )
    if not found:
        raise ValueError(
            f"Argument `{argument}` must be a `MemorySnapshot` or a state "
            "with an entry 'memory', as `get_initial_state` returns it. "
            f"Received: {type(memory).__name__}."
        )
    return found


def _label(names):
    """`["0", "memory", "memory", "1"]` as "block 0, map 1"."""
    is_map = names[-1] != "memory"
    places = names[:-1] if is_map else names
    place = [
        f"block {name}" if name.isdigit() else name
        for name in places
        if name != "memory"
    ]
    if is_map:
        place.append(f"map {names[-1]}")
    return ", ".join(place) or "memory"


def _check_alike(before, after):
    shapes = [{n: x.shape for n, x in m.items()} for m in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "Arguments `before` and `after` must be memories of one model "
            "with as many rows. Received: shapes "
            f"{shapes[0]} in `before`, {shapes[1]} in `after`."
        )


def _change(before, after):
    """`(heads,)`."""
    axes = tuple(range(2, before.ndim))
    norm = lambda x: np.sqrt(np.sum(np.square(x), axis=axes))
    start = norm(before)
    moved = norm(after - before)
    return np.mean(moved / np.where(start > 0, start, 1.0), axis=0)
