"""One training, evaluation or prediction step, segment by segment.

A group of segments is differentiated by hand. First the states are carried
forward, and each segment's first state is kept. Then, from the last segment to
the first, a segment is run again and differentiated, and hands the cotangent of
its first state to the one before. So the activations of one segment are all
that is ever kept.
"""

from typing import Any

import keras
from keras import ops
from keras import tree

from keras_titans import backend
from keras_titans.backend.training import loop
from keras_titans.backend.training import replayed
from keras_titans.backend.training import vjp_with_aux
from keras_titans.models.segment import Segment
from keras_titans.models.sequence_loss import SequenceLoss


class SegmentedStep:
    """The steps of a `SegmentedTrainer`.

    Args:
        trainer: The trainer: its `compute_loss`, `compute_metrics` and
            optimizer.
        stream: A `ModelStream` of its model.
        cut: The batch's `SegmentCut`.
    """

    def __init__(self, trainer, stream, cut):
        self.trainer = trainer
        self.cut = cut
        self.segment = Segment(
            trainer, stream, SequenceLoss(trainer, stream, cut)
        )

    # --- training -----------------------------------------------------------

    def train(self, values):
        """New values after one batch, its loss, and the last states."""
        trainer, cut = self.trainer, self.cut
        states = self.segment.initial_states(trainer.weights_of(values), cut)
        whole = self._divisors(values, 0, cut.count, cut.last)
        gradients = []
        if trainer.accumulate:
            gradients = [
                ops.zeros(v.shape, v.dtype) for v in trainer.trainable_variables
            ]

        def group(i, carry, segments=cut.per_group, last=cut.size):
            values, states, gradients, loss = carry
            divisors = whole, whole
            if not trainer.accumulate:
                first = i * cut.per_group
                divisors = whole, self._divisors(values, first, segments, last)
            found, values, states, more = self._group_gradients(
                values, states, i, segments, last, divisors
            )
            if trainer.accumulate:
                gradients = add(gradients, found)
            else:
                values = trainer.optimized(values, found)
            return values, states, gradients, loss + more

        carry = (values, states, gradients, ops.zeros(()))
        if cut.even:
            carry = run_loop(group, carry, cut.groups)
        else:
            carry = run_loop(group, carry, cut.groups - 1)
            carry = group(cut.groups - 1, carry, cut.remaining, cut.last)
        values, states, gradients, loss = carry
        if trainer.accumulate:
            values = trainer.optimized(values, gradients)
        return values, loss, states

    def _divisors(self, values, first, segments, last):
        weights = self.trainer.weights_of(values)
        return self.segment.divisors(
            weights, values.non_trainable, first, segments, last
        )

    def _group_gradients(self, values, states, group, segments, last, divisors):
        """Of one group: the gradients, the values, the states, the loss.

        `last`: the length of its last segment.
        """
        cut = self.cut
        weights = self.trainer.weights_of(values)
        first = group * cut.per_group
        before = segments - 1
        seeds = values.non_trainable
        # A group that is a step of its own has a mean of its own.
        whole, own = (ops.cast(x.tokens, "float32") for x in divisors)
        scale = self.trainer.gradient_scale(values)
        scale = ops.cast(scale, "float32") * whole / own

        def forward(i, carry):
            states, seeds = carry
            piece = cut.piece(first + i, cut.size)
            return self.segment.after(weights, seeds, states, piece)

        read: Any = None
        if not is_zero(before):
            (states, seeds), read = loop(
                forward, (states, seeds), before, keep=True
            )
        carry = (
            [ops.zeros_like(w) for w in weights],
            [ops.zeros_like(s) for s in floats(states)],
            values.metrics,
            ops.zeros(()),
        )
        after, seeds, carry = self._pull(
            weights,
            seeds,
            states,
            cut.piece(first + before, last),
            (last, divisors, scale),
            carry,
        )

        def backward(j, carry):
            states, seeds = read(before - 1 - j)
            piece = cut.piece(first + before - 1 - j, cut.size)
            scales = cut.size, divisors, scale
            return self._pull(weights, seeds, states, piece, scales, carry)[2]

        if read is not None:
            with replayed():
                carry, _ = loop(backward, carry, before)
        gradients, d_states, metrics, loss = carry
        gradients = add(
            gradients, self._through_start(weights, d_states, group)
        )
        values = values._replace(non_trainable=seeds, metrics=metrics)
        return gradients, values, after, loss

    def _pull(self, weights, seeds, states, piece, scales, carry):
        """Run a segment, and hand its cotangents to the one before."""
        *scales, scale = scales
        gradients, d_after, metrics, loss = carry
        count = len(weights)

        def objective(*flat):
            run = self.segment.run(
                flat[:count],
                seeds,
                metrics,
                with_floats(states, flat[count:]),
                piece,
                scales,
                training=True,
            )
            return [run.loss, *floats(run.states)], run

        _, pullback, run = vjp_with_aux(objective, [*weights, *floats(states)])
        found = pullback([ops.cast(scale, run.loss.dtype), *d_after])
        carry = (
            add(gradients, found[:count]),
            found[count:],
            run.metrics,
            add(loss, run.loss),
        )
        return run.states, run.seeds, carry

    def _through_start(self, weights, d_states, group):
        """What the initial state, which is learned, adds to the gradients."""

        def start(*weights):
            return floats(self.segment.initial_states(weights, self.cut)), ()

        _, pullback, _ = vjp_with_aux(start, list(weights))
        is_first = ops.equal(group, 0)
        return pullback(
            [ops.where(is_first, d, ops.zeros_like(d)) for d in d_states]
        )

    # --- evaluation and prediction ------------------------------------------

    def test(self, values):
        """New values after one batch, its loss, and the last states."""
        cut = self.cut
        weights = self.trainer.weights_of(values)
        states = self.segment.initial_states(weights, cut)
        whole = self._divisors(values, 0, cut.count, cut.last)

        def segment(i, carry, length=cut.size):
            seeds, metrics, states, loss = carry
            run = self.segment.run(
                weights,
                seeds,
                metrics,
                states,
                cut.piece(i, length),
                (length, (whole, whole)),
                training=False,
            )
            return run.seeds, run.metrics, run.states, add(loss, run.loss)

        carry = (values.non_trainable, values.metrics, states, ops.zeros(()))
        if cut.known and cut.last == cut.size:
            carry = run_loop(segment, carry, cut.count)
        else:
            carry = run_loop(segment, carry, cut.count - 1)
            carry = segment(cut.count - 1, carry, cut.last)
        seeds, metrics, states, loss = carry
        values = values._replace(non_trainable=seeds, metrics=metrics)
        return values, loss, states

    def predict(self, values, segments):
        """The outputs of a batch; `segments` cuts and joins it."""
        cut = self.cut
        weights = self.trainer.weights_of(values)
        seeds = values.non_trainable

        def segment(states, xs, _):
            xs = iter(xs)
            x = [
                next(xs) if is_cut else v
                for v, is_cut in zip(cut.x, cut.is_sequence, strict=True)
            ]
            results = self.segment.results(weights, seeds, states, x)
            # Of one shape and dtype, as the engines' loops ask for.
            return results.states, results.outputs

        xs = [v for v, is_cut in zip(cut.x, cut.is_sequence) if is_cut]
        _, outputs = backend.scan(
            segment,
            self.segment.initial_states(weights, cut),
            [segments.cut(v) for v in xs],
            remat=False,
        )
        return tree.map_structure(segments.joined, outputs)


def add(one, other):
    return tree.map_structure(lambda a, b: a + ops.cast(b, a.dtype), one, other)


def run_loop(step, carry, count):
    if is_zero(count):
        return carry
    return loop(step, carry, count)[0]


def is_zero(count):
    return isinstance(count, int) and count == 0


def is_float(x):
    return keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(x.dtype)
    )


def floats(structure):
    return [x for x in tree.flatten(structure) if is_float(x)]


def with_floats(structure, values):
    """The structure with other values where it has floats."""
    values = iter(values)
    flat = [next(values) if is_float(x) else x for x in tree.flatten(structure)]
    return tree.pack_sequence_as(structure, flat)
