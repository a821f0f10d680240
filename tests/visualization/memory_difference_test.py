"""How far memories have moved, head by head."""

import keras
import numpy as np

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.visualization import memory_difference


def shown(figure):
    axis = figure.axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    return labels, np.ma.getdata(axis.images[0].get_array())


def state(memories):
    return [{"memory": m, "phase": np.zeros(2)} for m in memories]


def test_each_head_has_its_own_change():
    rng = np.random.default_rng(0)
    before = [rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 5, 4))]
    after = [b.copy() for b in before]
    after[1][:, 2] *= 1.5
    labels, values = shown(
        memory_difference(state([before]), MemorySnapshot(state([after])))
    )
    assert labels == ["block 0, map 0", "block 0, map 1"]
    wanted = np.zeros((2, 3))
    wanted[1, 2] = 0.5
    np.testing.assert_allclose(values, wanted, atol=1e-12)


def test_memories_of_other_numbers_of_heads_stand_side_by_side():
    before = [[np.ones((1, h, 2, 2))] for h in (1, 3)]
    _, values = shown(memory_difference(state(before), state(before)))
    assert np.isnan(values).tolist() == [[False, True, True], [False] * 3]


def test_only_what_is_remembered_counts():
    """Not the attention's cache, nor momentum, nor a segment's start."""
    memory = NeuralMemory(2, 4, memory_depth=2)
    layer = MemoryAsContext(2, 4, memory, return_state=True)
    x = keras.random.normal((1, 5, 8))
    layer.build(x.shape)
    start = layer.get_initial_state(1)
    labels, values = shown(memory_difference(start, layer(x)[1]))
    assert labels == ["map 0", "map 1"]
    assert values.shape == (2, 2) and np.all(values > 0)
