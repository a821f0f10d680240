"""What a person watches while a model is trained."""

from keras_titans.callbacks.memory_monitor import MemoryMonitor

__all__ = ["MemoryMonitor"]
