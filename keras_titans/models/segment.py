"""One segment of a sequence: run from given states, outside of variables."""

from typing import Any, NamedTuple

import keras
from keras import ops


class SegmentRun(NamedTuple):
    loss: Any  # its part of the sequence's
    states: Any
    seeds: list[Any]  # and what else layers change
    metrics: list[Any]


class Segment:
    """What a `SegmentedStep` does with each segment.

    Args:
        trainer: The trainer: its `compute_metrics`.
        stream: A `ModelStream` of its model.
        loss: The batch's `SequenceLoss`.
    """

    def __init__(self, trainer, stream, loss):
        self.trainer = trainer
        self.stream = stream
        self.loss = loss

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

    def divisors(self, weights, seeds, *segments):
        """The loss' `Divisors` of some segments."""
        mapping = self._mapping(weights, seeds)
        with keras.StatelessScope(state_mapping=mapping):
            return self.loss.divisors(*segments)

    def run(self, weights, seeds, metrics, states, piece, scales, training):
        """A segment's loss and metrics, and what it leaves.

        `scales`: its tokens, and the `Divisors` of the sequence and of the
        group.
        """
        x, y, weight = piece
        length, divisors = scales
        trainer = self.trainer
        mapping = self._mapping(weights, seeds, metrics)
        scope = keras.StatelessScope(state_mapping=mapping, collect_losses=True)
        with scope:
            results = self.stream(x, states, training=training)
            loss = self.loss.of_segment(
                piece, length, results, scope.losses, divisors, training
            )
            outputs = trainer.for_metrics(results.outputs, training)
            x = self.stream.as_inputs(x)
            trainer.compute_metrics(x, y, outputs, weight)
            trainer.watch(results)
        return SegmentRun(
            loss,
            results.states,
            self._current(scope, "non_trainable", seeds),
            self._weighed(
                metrics,
                self._current(scope, "metrics", metrics),
                ops.cast(length, "float32")
                / ops.cast(divisors[0].tokens, "float32"),
            ),
        )

    def _weighed(self, before, after, part):
        """Metrics' values after a segment that is a part of a sequence.

        A `Mean` takes any call's mean for as much as any other's.
        """
        means = mean_variables(self.trainer)
        return [
            old + ops.cast(part, new.dtype) * (new - old)
            if id(variable) in means
            else new
            for variable, old, new in zip(
                self.trainer.metrics_variables, before, after, strict=True
            )
        ]

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
