"""What the engine computes on, and how much of its memory was needed."""

import importlib.metadata
import platform


def backend():
    import keras

    return keras.backend.backend()


def versions():
    """Of all that a result may depend on."""
    import keras_titans

    names = {"keras", "numpy", backend()}
    found = {name: importlib.metadata.version(name) for name in sorted(names)}
    return {
        "python": platform.python_version(),
        "keras_titans": keras_titans.__version__,
        **found,
    }


def device_name(engine=None):
    """The accelerator's name, or "cpu"; by default of Keras' backend."""
    return _read(engine)[0]


def device_peak(engine=None):
    """The most bytes of the accelerator that were in use; None on a CPU."""
    return _read(engine)[1]


def _read(engine):
    readers = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
    return readers[engine or backend()]()


def _jax():
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return "cpu", None
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return device.device_kind, peak


def _tensorflow():
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return "cpu", None
    details = tf.config.experimental.get_device_details(found[0])
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return details.get("device_name", "GPU"), peak


def _torch():
    import torch

    if not torch.cuda.is_available():
        return "cpu", None
    return torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
