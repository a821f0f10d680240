"""One segment of a sequence: run from given states, outside of variables.

A segment's loss is a mean of its own. In the whole's it weighs as much as the
tokens that it is a mean of: a group's loss is `sum(share * loss) / sum(share)`.
"""

from typing import Any, NamedTuple

import keras
from keras import ops
from keras import tree


class Sums(NamedTuple):
    """Of losses times their shares, and of the shares."""

    loss: Any
    share: Any

    def mean(self):
        return ops.divide_no_nan(self.loss, self.share)


class SegmentRun(NamedTuple):
    sums: Sums
    states: Any
    seeds: list[Any]  # and what else layers change
    metrics: list[Any]


class Segment:
    """What a `SegmentedStep` does with each segment.

    Args:
        trainer: The trainer: its `compute_loss` and `compute_metrics`.
        stream: A `ModelStream` of its model.
        reduction: The losses': how segments' are put together.
    """

    def __init__(self, trainer, stream, reduction):
        self.trainer = trainer
        self.stream = stream
        self.reduction = reduction

    def after(self, weights, seeds, states, piece):
        """The states and seeds that a segment leaves, and nothing else."""
        x, _, _ = piece
        mapping = self._mapping(weights, seeds)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            results = self.stream(x, states, training=True)
        return results.states, self._current(scope, "non_trainable", seeds)

    def results(self, weights, seeds, states, x):
        """What the model makes of a segment when nothing is trained."""
        mapping = self._mapping(weights, seeds)
        with keras.StatelessScope(state_mapping=mapping):
            return self.stream(x, states, training=False)

    def run(self, weights, seeds, metrics, states, piece, lengths, training):
        """A segment's loss and metrics, and what it leaves."""
        x, y, weight = piece
        length, whole = lengths
        trainer = self.trainer
        mapping = self._mapping(weights, seeds, metrics)
        scope = keras.StatelessScope(state_mapping=mapping, collect_losses=True)
        with scope:
            results = self.stream(x, states, training=training)
            x = self.stream.as_inputs(x)
            outputs = results.outputs
            # Copies, because on PyTorch a loss masks weights in place.
            weight_of_loss = tree.map_structure(
                lambda w: None if w is None else ops.copy(w), weight
            )
            loss = trainer.compute_loss(
                x, y, outputs, weight_of_loss, training=training
            )
            part = ops.cast(length, loss.dtype) / ops.cast(whole, loss.dtype)
            if self.reduction == "sum":
                share = part
                others = [ops.sum(other) for other in trainer.losses]
                loss = loss - (1.0 - part) * sum(others, 0.0)
            else:
                share = part * self._share(results, weight, loss.dtype)
                loss = loss * share
            trainer.compute_metrics(x, y, outputs, weight)
            trainer.watch(results)
        return SegmentRun(
            Sums(loss, ops.stop_gradient(share)),
            results.states,
            self._current(scope, "non_trainable", seeds),
            self._weighed(
                metrics, self._current(scope, "metrics", metrics), length
            ),
        )

    def _weighed(self, before, after, length):
        """Metrics' values after a segment that may be shorter than others.

        A `Mean` takes any segment's mean for as much as any other's.
        """
        size = self.trainer.segment_length
        if isinstance(length, int) and length == size:
            return after
        part = ops.cast(length, "float32") / size
        means = mean_variables(self.trainer)
        return [
            old + ops.cast(part, new.dtype) * (new - old)
            if id(variable) in means
            else new
            for variable, old, new in zip(
                self.trainer.metrics_variables, before, after, strict=True
            )
        ]

    def _share(self, results, weight, dtype):
        """Of a segment's tokens, how much the loss is a mean of."""
        mask = None
        if results.mask is not None:
            mask = ops.cast(results.mask, dtype)
        if self.reduction == "mean_with_sample_weight" and weight is not None:
            weight = ops.cast(tree.flatten(weight)[0], dtype)
            if len(weight.shape) == 1:
                weight = weight[:, None]
            mask = weight if mask is None else weight * mask
        return 1.0 if mask is None else ops.mean(mask)

    def initial_states(self, weights, cut):
        mapping = self._mapping(weights, None)
        with keras.StatelessScope(state_mapping=mapping):
            return self.stream.get_initial_state(cut.rows)

    def _mapping(self, weights, seeds, metrics=None):
        trainer = self.trainer
        mapping = list(zip(trainer.trainable_variables, weights, strict=True))
        if seeds is not None:
            mapping += zip(trainer.non_trainable_variables, seeds, strict=True)
        if metrics is not None:
            mapping += zip(trainer.metrics_variables, metrics, strict=True)
        return mapping

    def _current(self, scope, kind, before):
        variables = getattr(self.trainer, f"{kind}_variables")
        return [
            value if (new := scope.get_current_value(v)) is None else new
            for v, value in zip(variables, before, strict=True)
        ]


def mean_variables(trainer):
    """The ids of what the trainer's `keras.metrics.Mean`s add up in."""
    flat = []
    for metric in trainer.metrics:
        flat += [metric, *getattr(metric, "metrics", [])]
    return {
        id(variable)
        for metric in flat
        if isinstance(metric, keras.metrics.Mean)
        for variable in metric.variables
    }
