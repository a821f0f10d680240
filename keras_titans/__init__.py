"""Titans, learning to memorise at test time, as Keras 3 layers and models."""

from keras_titans import callbacks
from keras_titans import layers
from keras_titans import memory
from keras_titans import models
from keras_titans import visualization
from keras_titans.version import __version__

__all__ = [
    "__version__",
    "callbacks",
    "layers",
    "memory",
    "models",
    "visualization",
]
