"""The nearest tokens of each query."""

import numpy as np

from keras_titans.visualization import what_memory_holds


def answers(figure):
    """For each query, the tokens and their bars from the top."""
    found = {}
    for axis in figure.axes:
        if axis.get_title(loc="left"):
            found[axis.get_title(loc="left")] = [
                (label.get_text(), bar.get_width())
                for label, bar in zip(axis.get_yticklabels(), axis.patches)
            ]
    return found


def test_the_likest_come_first():
    rng = np.random.default_rng(0)
    values, retrieved = rng.normal(size=(7, 4)), rng.normal(size=(4, 4))
    tokens = [f"t{j}" for j in range(7)]
    queries = [f"q{i}" for i in range(4)]
    figure = what_memory_holds(
        queries, tokens, retrieved=retrieved, values=values, top=3
    )
    found = answers(figure)
    assert len(found) == 4
    for query, vector in zip(queries, retrieved):
        likeness = [
            np.dot(vector, v) / np.linalg.norm(vector) / np.linalg.norm(v)
            for v in values
        ]
        order = sorted(range(7), key=lambda j: -likeness[j])[:3]
        names, lengths = zip(*found[f"\u201c{query}\u201d"])
        assert list(names) == [tokens[j] for j in order]
        np.testing.assert_allclose(lengths, [likeness[j] for j in order])


def test_the_similarity_may_be_given():
    figure = what_memory_holds(["q"], ["a", "b"], [[0.2, 0.7]])
    assert answers(figure)["\u201cq\u201d"] == [("b", 0.7), ("a", 0.2)]
