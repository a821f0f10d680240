"""What may be a pattern, and what is made from it."""

import numpy as np
import pytest

from keras_titans.layers import MemoryAsGate
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from keras_titans.layers.layer_pattern import clone
from keras_titans.memory import Titans
from keras_titans.models import MemorySnapshot
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansForecaster
from keras_titans.models import add_memory
from tests.hub_models import tiny

SMALL = {"hidden_dim": 8, "num_heads": 2, "intermediate_dim": 8}


def built():
    memory = NeuralMemory(2, 2)
    memory.build((None, None, 4))
    return memory


BAD = {
    "built": built,
    "built inside": lambda: MemoryAsGate(2, 4, memory=built()),
    "stateful": lambda: NeuralMemory(2, 2, stateful=True),
    "return_state": lambda: NeuralMemory(2, 2, return_state=True),
    "a snapshot": lambda: MemorySnapshot(np.ones((1, 2))),
    "a class": lambda: NeuralMemory,
    "a name": lambda: "LMM",
    "no memory": lambda: WindowedAttention(2, 4),
}
TAKERS = {
    "TitansBlock": lambda memory: TitansBlock("MAG", 8, 2, memory=memory),
    "TitansBackbone": lambda memory: TitansBackbone(
        9, 1, **SMALL, memory=memory
    ),
    "TitansBackbone.from_size": lambda memory: TitansBackbone.from_size(
        "titans_760m", memory=memory
    ),
    "TitansForecaster": lambda memory: TitansForecaster(2, 1, memory=memory),
    "add_memory": lambda memory: add_memory(tiny("gpt2"), memory),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_pattern_is_refused(taker, name):
    with pytest.raises(ValueError, match="Argument `memory` must.*Received: "):
        TAKERS[taker](BAD[name]())


@pytest.mark.parametrize("name", ["built inside", "stateful", "return_state"])
def test_a_mixer_must_be_a_pattern_too(name):
    with pytest.raises(ValueError, match="Argument `mixers` must.*Received: "):
        TitansBackbone(9, 1, **SMALL, mixers=BAD[name]())


def test_a_clone_has_the_settings_and_a_dtype_throughout():
    rule = Titans(momentum=None)
    memory = NeuralMemory(3, 2, chunk_size=5, update_rule=rule, name="mine")
    pattern = MemoryAsGate(2, 4, memory=memory, num_persistent_tokens=1)
    one, other = (clone(pattern, "mixer", "mixed_bfloat16") for _ in range(2))
    for layer in (one, other):
        assert (layer.name, layer.num_persistent_tokens) == ("mixer", 1)
        found = layer.memory
        assert (found.num_heads, found.head_dim, found.chunk_size) == (3, 2, 5)
        assert found.update_rule.momentum is None
        for part in (layer, layer.attention, found):
            assert part.dtype_policy.name == "mixed_bfloat16"
        layer.build((None, None, 4))
    ids = [{id(w) for w in layer.weights} for layer in (one, other)]
    assert ids[0].isdisjoint(ids[1]) and not pattern.weights


@pytest.mark.parametrize("name", ["MAC", "MAG", "MAL", "LMM"])
@pytest.mark.parametrize("kind", [NeuralMemory, SlotMemory])
def test_a_block_by_name_has_a_memory_like_the_pattern(name, kind):
    pattern = kind(3, head_dim=2, kernel_size=2)
    for _ in range(2):
        block = TitansBlock(name, 8, 2, 4, memory=pattern, dtype="bfloat16")
        memory = block.mixer if name == "LMM" else block.mixer.memory
        assert type(memory) is kind and memory is not pattern
        assert (memory.num_heads, memory.kernel_size) == (3, 2)
        assert memory.dtype_policy.name == "bfloat16"
    again = TitansBlock.from_config(block.get_config())
    assert again.get_config() == block.get_config()
