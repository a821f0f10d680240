"""What TensorBoard reads, written without TensorFlow."""

import os

import numpy as np


class EventWriter:
    """Numbers, histograms and figures, for TensorBoard.

    Args:
        log_dir: The folder that TensorBoard is given, or one inside of it.
    """

    RUN = "memory"  # beside "train" and "validation" of Keras' own callback

    def __init__(self, log_dir):
        check_installed()
        import tensorboardX

        path = os.path.join(os.fspath(log_dir), self.RUN)
        self._writer = tensorboardX.SummaryWriter(path)

    def write(self, step, scalars, histograms, figures):
        """Write what is given by name, then put it on the disk."""
        for tag, number in scalars.items():
            self._writer.add_scalar(tag, number, step)
        for tag, values in histograms.items():
            finite = values[np.isfinite(values)]
            if finite.size:
                self._writer.add_histogram(tag, finite, step, bins="auto")
        for tag, figure in figures.items():
            self._writer.add_image(tag, pixels(figure), step, dataformats="HWC")
        self._writer.flush()

    def close(self):
        self._writer.close()


def check_installed():
    """Raise an ImportError that says what to install."""
    try:
        import matplotlib  # noqa: F401
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Writing for TensorBoard needs tensorboardX and matplotlib: "
            'pip install "keras-titans[monitor]".'
        ) from error


def pixels(figure):
    """A figure as `(height, width, 3)`, uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
