"""Keras layers."""

from keras_titans.layers.attention_with_memory import AttentionWithMemory
from keras_titans.layers.memory_as_context import MemoryAsContext
from keras_titans.layers.memory_as_gate import MemoryAsGate
from keras_titans.layers.memory_as_layer import MemoryAsLayer
from keras_titans.layers.memory_block import MemoryBlock
from keras_titans.layers.neural_memory import NeuralMemory
from keras_titans.layers.persistent_tokens import PersistentTokens
from keras_titans.layers.slot_memory import SlotMemory
from keras_titans.layers.titans_block import TitansBlock
from keras_titans.layers.windowed_attention import WindowedAttention

__all__ = [
    "AttentionWithMemory",
    "MemoryAsContext",
    "MemoryAsGate",
    "MemoryAsLayer",
    "MemoryBlock",
    "NeuralMemory",
    "PersistentTokens",
    "SlotMemory",
    "TitansBlock",
    "WindowedAttention",
]
