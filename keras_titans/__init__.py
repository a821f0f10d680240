"""Titans, learning to memorise at test time, as Keras 3 layers."""

from keras_titans import layers
from keras_titans import memory
from keras_titans.version import __version__

__all__ = ["__version__", "layers", "memory"]
