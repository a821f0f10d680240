"""How many heads a memory has, and how wide they are."""

import keras
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory


@pytest.mark.parametrize("layer", [NeuralMemory, SlotMemory])
@pytest.mark.parametrize("width, heads", [(5, 1), (64, 1), (130, 2), (256, 4)])
def test_a_head_of_64_for_each_64_channels(layer, width, heads):
    memory = layer()
    assert (memory.num_heads, memory.head_dim) == (None, 64)
    memory.build((None, None, width))
    assert (memory.num_heads, memory.head_dim) == (heads, 64)
    again = layer.from_config(memory.get_config())
    again.build((None, None, width))
    shapes = [w.shape for w in memory.weights]
    assert [w.shape for w in again.weights] == shapes
    state = memory.state_spec(2)["memory"]
    first = keras.tree.flatten(state)[0]
    assert tuple(first.shape[:2]) == (2, heads)


def test_heads_need_not_divide_the_width():
    y, diagnostics = NeuralMemory(3, 2)(
        keras.ops.ones((1, 2, 5)), return_diagnostics=True
    )
    assert y.shape == (1, 2, 5)
    assert diagnostics["surprise"].shape == (1, 2, 3)
