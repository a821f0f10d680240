"""Keras layers."""

from keras_titans.layers.memory_block import MemoryBlock
from keras_titans.layers.neural_memory import NeuralMemory

__all__ = ["MemoryBlock", "NeuralMemory"]
