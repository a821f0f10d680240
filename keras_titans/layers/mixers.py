"""What mixes the tokens of a decoder block, by name."""

from keras_titans.layers.layer_pattern import clone
from keras_titans.layers.memory_as_context import MemoryAsContext
from keras_titans.layers.memory_as_gate import MemoryAsGate
from keras_titans.layers.memory_as_layer import MemoryAsLayer
from keras_titans.layers.neural_memory import NeuralMemory
from keras_titans.layers.windowed_attention import WindowedAttention

UNIONS = {"MAC": MemoryAsContext, "MAG": MemoryAsGate, "MAL": MemoryAsLayer}
MIXERS = (*UNIONS, "LMM", "attention")
WITH_MEMORY = (*UNIONS, "LMM")


def make_mixer(name, memory, dtype, num_persistent_tokens=4, **attention):
    """A mixer by its name.

    Args:
        name: One of `MIXERS`.
        memory: The pattern of its memory, if it has one. `None` stands for
            `NeuralMemory()`.
        dtype: The dtype policy of the mixer and of what it is made of.
        num_persistent_tokens: int. As `MemoryAsGate`'s.
        **attention: Arguments of `WindowedAttention`, for a mixer with one.
    """
    options = {"name": name.lower(), "dtype": dtype}
    if name == "attention":
        return WindowedAttention(**attention, **options)
    if memory is None:
        memory = NeuralMemory()
    if name == "LMM":
        return clone(memory, **options)
    if name == "MAC":
        attention["segment_length"] = attention.pop("window_size")
    return UNIONS[name](
        **attention,
        memory=clone(memory, "memory", dtype),
        num_persistent_tokens=num_persistent_tokens,
        **options,
    )
