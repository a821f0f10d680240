"""What every cell can say of itself, however its model came to be."""

import math

from benchmarks import accelerator
from benchmarks import measure


class CellWork:
    """A subclass has the `weights` that a line counts."""

    weights: list

    def versions(self):
        return accelerator.versions()

    def about(self):
        """What a line says of the model and of what it runs on."""
        return {
            "parameters": sum(math.prod(w.shape) for w in self.weights),
            "backend": accelerator.backend(),
            "device": accelerator.device_name(),
        }

    def peaks(self):
        """Bytes: the process' own peak, and the accelerator's."""
        _, peak = measure.memory_of()
        return {
            "peak_bytes": peak or measure.peak_of_whole_process(),
            "peak_device_bytes": accelerator.device_peak(),
        }
