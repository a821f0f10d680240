"""Training on sequences that are longer than what fits."""

import keras
from keras import ops
from keras import tree

from keras_titans.backend.training import SteppedModel
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.memory_metrics import MemoryMetrics
from keras_titans.models.model_stream import ModelStream
from keras_titans.models.segment_cut import SegmentCut
from keras_titans.models.segmented_step import SegmentedStep
from keras_titans.models.stateful_calls import model_inputs
from keras_titans.ops.segments import Segments
from keras_titans.validation import check_bool
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class SegmentedTrainer(SteppedModel):
    """Trains a model on long sequences, a segment at a time.

    The memories' states are carried on from segment to segment, from the
    sequence's start to its end. The gradient goes back through them for
    `segments_per_gradient` segments and no further. A segment's activations
    are made, used and dropped, so memory does not grow with the sequence.

    The trainer is compiled and fitted like the model itself. It is the
    model's own weights that it trains, so afterwards `trainer.model` is used
    and saved like any other. `evaluate` and `predict` go by segments too.

    Losses and metrics are those of `fit` with the model itself, whatever
    leaves tokens out or weighs them: masks, `ignore_class`, sample weights,
    `reduction`, `loss_weights`. So are the gradients where one group of
    segments covers the sequence. This holds for:

    - A loss of each token, such as crossentropy, or the mean of such losses
      over a row's tokens. The outputs of a model may have different losses.
      Before the first step, the trainer tries each loss on a few made-up
      tokens, and refuses one whose pieces do not add up, such as Dice or CTC.
    - Sample weights of shape `(batch, length)` or `(batch, 1)`. Keras and the
      trainer refuse `(batch,)` for a loss of each token. `class_weight` makes
      weights of that shape.
    - Masks that the model makes from its inputs alone.
    - Regularizers of weights, and losses that layers add (`add_loss`) as means
      over all tokens. The trainer takes any added loss for such a mean.
    - `keras.metrics.Mean` and its subclasses, and metrics that add up over
      tokens, such as `keras.metrics.AUC`.

    The outputs of padding may differ from the model's. A subclass may override
    `compute_loss`, which is called for each segment. What it adds to the
    compiled losses counts as a mean over the segment's tokens.

    Args:
        model: A functional or sequential model of sequences that
            `StreamingModel` takes, with outputs for each token. All of it
            but this package's layers must work on each token alone.
        segment_length: Tokens of a segment. The sequence's length need not
            be a multiple.
        segments_per_gradient: Segments that a gradient goes back through. A
            group of so many segments is run twice, but for its last segment.
        accumulate: Whether the gradients of all groups of a sequence are put
            together, for one step of the optimizer with each batch. If not,
            there is a step after each group, with the loss of the group. The
            logs have the loss of the whole sequence in both cases.
        monitor: Whether the logs tell of each memory: its mean surprise, its
            mean gates, its norm after the last token, and how many tokens
            were not finite, which are not in the means.
        **kwargs: `name` and so on, for `keras.Model`.

    Call arguments:
        inputs: The model's inputs.
        training: Whether the call is one of training.

    Returns:
        The model's outputs, of whole sequences.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 32)(tokens)
    x = keras_titans.layers.TitansBlock("MAG", 64, num_heads=2)(x)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))

    trainer = keras_titans.models.SegmentedTrainer(
        model, segment_length=64, segments_per_gradient=2
    )
    trainer.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    text = np.random.randint(0, 100, (2, 1001))
    trainer.fit(text[:, :-1], text[:, 1:], batch_size=2)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663)
        - [An efficient gradient-based algorithm for on-line training of
            recurrent network trajectories](
            https://doi.org/10.1162/neco.1990.2.4.490): truncated
            backpropagation through time
    """

    def __init__(
        self,
        model,
        segment_length,
        segments_per_gradient=1,
        accumulate=True,
        monitor=False,
        **kwargs,
    ):
        segment_length = check_positive_integer(
            "segment_length", segment_length
        )
        segments_per_gradient = check_positive_integer(
            "segments_per_gradient", segments_per_gradient
        )
        accumulate = check_bool("accumulate", accumulate)
        monitor = check_bool("monitor", monitor)
        check_own_methods(model)
        stream = ModelStream(model, return_diagnostics=monitor)
        check_activities(model)
        super().__init__(**kwargs)
        self.model = model
        self.segment_length = segment_length
        self.segments_per_gradient = segments_per_gradient
        self.accumulate = accumulate
        self.monitor = monitor
        self.stream = stream
        self.memory_monitor = MemoryMetrics(stream if monitor else None)
        self.memory_metrics = self.memory_monitor.metrics
        self.output_names = getattr(model, "output_names", None)
        self.built = True

    def call(self, inputs, training=None):
        return self.model(inputs, training=training)

    def train_on_values(self, values, x, y, sample_weight):
        step = self._step(x, y, sample_weight)
        return self._told(step.cut, *step.train(values))

    def test_on_values(self, values, x, y, sample_weight):
        step = self._step(x, y, sample_weight)
        return self._told(step.cut, *step.test(values))

    def predict_on_values(self, values, x):
        step = self._step(x)
        segments = Segments(step.cut.length, self.segment_length)
        return step.predict(values, segments)

    def watch(self, results):
        """Update the metrics that tell of one segment."""
        self.memory_monitor.watch(results)

    def _step(self, x, y=None, sample_weight=None):
        x = tree.flatten(model_inputs(self.model, x))
        x, y, sample_weight = tree.map_structure(
            lambda v: None if v is None else ops.convert_to_tensor(v),
            (x, y, sample_weight),
        )
        cut = SegmentCut(
            x,
            self.stream.is_sequence,
            y,
            sample_weight,
            self.segment_length,
            self.segments_per_gradient,
        )
        return SegmentedStep(self, self.stream, cut)

    def _told(self, cut, values, loss, states):
        """The values with the loss and the states in the metrics."""
        tracker = next(m for m in self.metrics if m.name == "loss")
        variables = self.metrics_variables
        mapping = list(zip(variables, values.metrics, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss *= ops.cast(self.replicas(), loss.dtype)
            tracker.update_state(loss, sample_weight=cut.rows)
            self.memory_monitor.finish(states)
        metrics = [
            old if (new := scope.get_current_value(v)) is None else new
            for v, old in zip(variables, values.metrics, strict=True)
        ]
        return values._replace(metrics=metrics)

    def get_config(self):
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "segment_length": self.segment_length,
            "segments_per_gradient": self.segments_per_gradient,
            "accumulate": self.accumulate,
            "monitor": self.monitor,
        }

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def check_own_methods(model):
    """Raise a ValueError for a model that `fit` trains in its own way."""
    for name in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        own = getattr(type(model), name, None)
        if own is not getattr(keras.Model, name):
            raise ValueError(
                f"Argument `model` must have no `{name}` of its own, which "
                "the trainer would not call. Put it into a subclass of "
                f"`SegmentedTrainer`. Received: {type(model).__name__}."
            )


def check_activities(model):
    """Raise a ValueError for added losses that are sums over tokens."""
    for layer in model._flatten_layers():
        if layer.activity_regularizer is not None:
            raise ValueError(
                "Argument `model` must have no `activity_regularizer`, which "
                "is no mean over tokens. Add such a mean with `add_loss`. "
                f"Received: layer '{layer.name}' with one."
            )
