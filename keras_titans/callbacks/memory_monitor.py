"""Watching memories while a model is trained."""

import os
import threading
from typing import Any

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_titans.callbacks.event_writer import EventWriter
from keras_titans.callbacks.event_writer import check_installed
from keras_titans.callbacks.memory_probe import MemoryProbe
from keras_titans.callbacks.memory_probe import check_has_memory
from keras_titans.validation import check_choice
from keras_titans.validation import check_positive_integer
from keras_titans.validation import if_given
from keras_titans.visualization import recall_by_token
from keras_titans.visualization import surprise_over_text
from keras_titans.visualization.checks import check_texts

LOGS = ("mean", "layers")
EPOCH = "epoch"


class MemoryMonitor(keras.callbacks.Callback):
    """Shows what a model's memories do while it is trained.

    Every so many steps the model reads a sample, always the same, with fresh
    memories, apart from the training: the losses are those of a run without
    this callback. For each layer with a memory it tells, as means over the
    sample's real tokens and heads or, of the last two, over its rows:

    - `surprise`: how much what is read is news to the memory;
    - `learning_rate`, `momentum`, `forgetting`: the gates, as far as the
      memory has them (`write_rate` for a `SlotMemory`);
    - `memory_norm`: of the memory after the sample's last token;
    - `memory_drift`: how far from its learned start it then is, in norms of
      that start (where the start is zero, as it is).

    Tokens that are not finite are in none of these means. A number tells how
    many there are:

    - `not_finite`: the sample's real tokens at which the surprise is NaN.

    They go into the logs, and so to the progress bar, `History`, and those of
    Keras' callbacks that stand behind this one in `fit`'s list, `CSVLogger`
    say. With a `log_dir` they go to TensorBoard too, as curves and, those of
    tokens, as histograms (`surprise_of_tokens`), under the run `memory`; and
    now and then, as images, the sample's first row with each token's surprise,
    and what is recalled at each of its tokens.

    Any model will do whose `call` calls layers of this package, be it
    functional, subclassed or a KerasHub task, but for such that call them
    inside of a loop or a transformation of the backend's.

    Args:
        sample: What the model reads: one row or more, as `fit` takes them for
            `x`. Strings, for a model with a preprocessor.
        log_dir: The folder for TensorBoard, or None for none. Needs
            `pip install "keras-titans[monitor]"`.
        frequency: Steps from one look to the next, or `"epoch"`. There is
            one before the first step and one after the last (a model that has
            no weights before the first step has its first look after it).
        image_frequency: Steps from images to images, at least; `"epoch"`; or
            None for no images.
        words: A string for each token of the sample's first row, for the
            images. By default what the model's tokenizer says, or else the
            token's id or number.
        logs: `"mean"` for logs of the means over all memories, such as
            `"memory_surprise"` and `"memory_norm"`; `"layers"` for those of
            each, such as `"block_surprise"` and `"block_memory_norm"`.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 32)(tokens)
    x = keras_titans.layers.TitansBlock("MAG", 64, num_heads=2)(x)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )

    text = np.random.randint(0, 100, (8, 33))
    monitor = keras_titans.callbacks.MemoryMonitor(text[:1, :-1], frequency=2)
    history = model.fit(
        text[:, :-1], text[:, 1:], batch_size=2, callbacks=[monitor], verbose=0
    )
    print(history.history["memory_surprise"])
    ```
    """

    # The logs are added to from whatever thread Keras likes. The model is
    # looked at from the one that trains it, before a step.
    async_safe = True

    def __init__(
        self,
        sample,
        log_dir=None,
        frequency=100,
        image_frequency=2000,
        words=None,
        logs="mean",
    ):
        super().__init__()
        _check_sample(sample)
        self.frequency = _steps("frequency", frequency)
        self.image_frequency = if_given(
            _steps, "image_frequency", image_frequency
        )
        self.words = if_given(check_texts, "words", words)
        self.logs = check_choice("logs", logs, LOGS)
        if log_dir is not None:
            _check_folder(log_dir)
            check_installed()
        self.sample = sample
        self.log_dir = log_dir
        self._writer: EventWriter | None = None
        self._probe: Any = None  # a `MemoryProbe` while there is training
        self._x: Any = None
        self._lock = threading.Lock()
        self._latest: dict[str, float] = {}

    # --- when ---------------------------------------------------------------

    def on_train_begin(self, logs=None):
        # Where a model goes on being trained, so do the curves.
        self._before = self._done = int(
            ops.convert_to_numpy(self.model.optimizer.iterations)
        )
        self._looked = self._drawn = None  # the steps at which that was
        if self._is_ready():
            self._look()

    def on_train_batch_begin(self, batch, logs=None):
        step = self._before + batch
        if self._is_due(self.frequency, self._looked, step):
            if self._is_ready():
                self._look(step)

    def on_train_batch_end(self, batch, logs=None):
        with self._lock:  # Keras' threads may come in another order
            self._done = max(self._done, self._before + batch + 1)
        if logs is not None:
            logs.update(self._latest)

    def on_epoch_end(self, epoch, logs=None):
        self._before = self._done
        epoch_ends = self.frequency == EPOCH
        if epoch_ends or self._is_due(self.frequency, self._looked, self._done):
            if self._is_ready():
                self._look(epoch_ends=True)
        if logs is not None:
            logs.update(self._latest)

    def on_train_end(self, logs=None):
        if self._looked != self._done and self._is_ready():
            self._look()
        if self._writer is not None:
            self._writer.close()
        self._writer = self._probe = None

    def _is_ready(self):
        """Whether the model has weights yet: not every one before a step."""
        if self._probe is None and self.model.built:
            self._set_up(self.model)
        return self._probe is not None

    # --- what ---------------------------------------------------------------

    def _set_up(self, model):
        check_has_memory(model)
        self._x = self._as_inputs(model)
        self._texts = self._token_texts(model)
        images = self.log_dir is not None and self.image_frequency is not None
        self._probe = MemoryProbe(model, recall=images)
        if self.log_dir is not None:
            self._writer = EventWriter(self.log_dir)

    def _look(self, step=None, epoch_ends=False):
        step = self._done if step is None else step
        # On JAX, asking for the model brings its weights up to date; on
        # PyTorch, a model knows whether it is being trained.
        model = self.model
        was_training = getattr(model, "training", False)
        seen = self._probe.observe(self._x)
        if was_training:
            model.train()
        self._looked = step
        self._latest = self._as_logs(seen)
        if self._writer is None:
            return
        scalars: dict[str, float] = {}
        histograms: dict[str, np.ndarray] = {}
        figures: dict[str, Any] = {}
        for name, observation in seen.items():
            for what, number in observation.scalars().items():
                scalars[f"{name}/{what}"] = number
            for what, values in observation.tokens.items():
                # A tag of its own: TensorBoard hides what shares one.
                histograms[f"{name}/{what}_of_tokens"] = values
        if self._draws(step, epoch_ends):
            self._drawn = step
            for name, observation in seen.items():
                figures |= self._figures(name, observation)
        self._writer.write(step, scalars, histograms, figures)

    def _draws(self, step, epoch_ends):
        if self.image_frequency is None or self._drawn == step:
            return False
        if self.image_frequency == EPOCH:
            return epoch_ends or self._drawn is None
        return self._is_due(self.image_frequency, self._drawn, step)

    def _is_due(self, frequency, last, step):
        if last is None:
            return True
        return frequency != EPOCH and step // frequency > last // frequency

    def _as_logs(self, seen):
        by_layer = {
            name: observation.scalars() for name, observation in seen.items()
        }
        if self.logs == "layers":
            return {
                f"{name}_{what}": number
                for name, numbers in by_layer.items()
                for what, number in numbers.items()
            }
        together: dict[str, list[float]] = {}
        for numbers in by_layer.values():
            for what, number in numbers.items():
                what = what.removeprefix("memory_")
                together.setdefault(f"memory_{what}", []).append(number)
        return {
            name: float(np.mean(values)) for name, values in together.items()
        }

    def _figures(self, name, observation):
        shown, texts = observation.shown, self._texts
        if not len(shown):
            return {}
        # A model may hand its memories other tokens than it was given.
        if shown[-1] >= len(texts):
            texts = [str(place) for place in range(shown[-1] + 1)]
        texts = [texts[place] for place in shown]
        figures = {
            f"{name}/surprise_over_text": surprise_over_text(
                texts, observation.first_row, title=name
            )
        }
        if observation.recall is not None:
            figures[f"{name}/recall"] = recall_by_token(
                observation.recall, texts, title=name
            )
        return figures

    # --- the sample ---------------------------------------------------------

    def _as_inputs(self, model):
        """The sample as the model takes it."""
        sample = self.sample
        preprocess = getattr(model, "preprocess_samples", None)
        if preprocess is not None:
            sample, _, _ = keras.utils.unpack_x_y_sample_weight(
                preprocess(sample)
            )
        return tree.map_structure(_as_array, sample)

    def _token_texts(self, model):
        """A string for each token of the sample's first row."""
        if self.words is not None:
            return self.words
        inputs = self._x
        if isinstance(inputs, dict) and "token_ids" in inputs:
            inputs = inputs["token_ids"]
        row = tree.flatten(inputs)[0][0]
        if row.ndim != 1 or not np.issubdtype(row.dtype, np.integer):
            return [str(place) for place in range(len(row) if row.ndim else 0)]
        preprocessor = getattr(model, "preprocessor", None)
        tokenizer = getattr(preprocessor, "tokenizer", None)
        if tokenizer is None:
            return [str(token) for token in row]
        return list(tokenizer.detokenize(row[:, None].tolist()))


def _steps(name, value):
    """A number of steps, or "epoch"."""
    if isinstance(value, str):
        return check_choice(name, value, (EPOCH,))
    return check_positive_integer(name, value)


def _check_folder(log_dir):
    if not log_dir or not isinstance(log_dir, str | os.PathLike):
        raise ValueError(
            "Argument `log_dir` must be a folder's path, or None for none. "
            f"Received: log_dir={log_dir!r}."
        )


def _check_sample(sample):
    """Raise a ValueError for what is no row of anything."""
    if isinstance(sample, str):
        raise ValueError(
            "Argument `sample` must be rows, as `fit` takes them for `x`: a "
            f"list, if it is text. Received: the string {sample[:40]!r}."
        )
    parts = [sample] if _is_text(sample) else tree.flatten(sample)
    rows = {len(part) if np.ndim(part) else None for part in parts}
    if not rows or rows & {0, None} or len(rows) > 1:
        raise ValueError(
            "Argument `sample` must be one row or more, as `fit` takes them "
            "for `x`: arrays with the rows on axis 0, as many in each. "
            f"Received: {type(sample).__name__} of arrays of shapes "
            f"{[tuple(np.shape(part)) for part in parts]}."
        )


def _is_text(sample):
    return isinstance(sample, list | tuple) and all(
        isinstance(part, str) for part in sample
    )


def _as_array(x):
    """A NumPy array of what a model computes with."""
    return x if isinstance(x, np.ndarray) else ops.convert_to_numpy(x)
