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
from keras_titans.models.segment import Sums


class SegmentedStep:
    """The steps of a `SegmentedTrainer`.

    Args:
        trainer: The trainer: its `compute_loss`, `compute_metrics` and
            optimizer.
        stream: A `ModelStream` of its model.
        reduction: The losses': how segments' are put together.
    """

    def __init__(self, trainer, stream, reduction):
        self.trainer = trainer
        self.reduction = reduction
        self.segment = Segment(trainer, stream, reduction)

    # --- training -----------------------------------------------------------

    def train(self, values, cut):
        """New values after one batch, and its loss."""
        states = self.segment.initial_states(
            self.trainer.weights_of(values), cut
        )
        total = zero_sums()
        gradients = None
        if self.trainer.accumulate:
            gradients = [
                ops.zeros(v.shape, v.dtype)
                for v in self.trainer.trainable_variables
            ]
        scale = self.trainer.gradient_scale(values)

        def group(i, carry, segments=cut.per_group, last=None):
            values, states, gradients, total = carry
            if not self.trainer.accumulate:
                here = self.trainer.gradient_scale(values)
                whole = self._tokens(cut, segments, last)
            else:
                here, whole = scale, cut.length
            found, values, states, sums = self._group_gradients(
                values, states, cut, i, segments, last, whole, here
            )
            if self.trainer.accumulate:
                gradients = add(gradients, found)
            else:
                values = self._optimized(values, found, sums)
                part = ops.cast(whole, "float32") / cut.length
                if self.reduction == "sum":
                    part = 1.0
                sums = Sums(*(part * s for s in sums))
            return values, states, gradients, add(total, sums)

        carry = (values, states, gradients or [], total)
        if cut.even:
            carry = run_loop(group, carry, cut.groups)
        else:
            carry = run_loop(group, carry, cut.groups - 1)
            carry = group(cut.groups - 1, carry, cut.remaining, cut.last)
        values, states, gradients, total = carry
        if self.trainer.accumulate:
            values = self._optimized(values, gradients, total)
        return values, self._loss(total), states

    def _group_gradients(
        self, values, states, cut, group, segments, last, whole, scale
    ):
        """Of one group: the gradients, the values, the states, the sums.

        `last`: the length of its last segment, or None for a full one.
        """
        weights = self.trainer.weights_of(values)
        first = group * cut.per_group
        before = segments - 1
        last = cut.size if last is None else last
        seeds = values.non_trainable

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
            zero_sums(),
        )
        after, seeds, carry = self._pull(
            weights,
            seeds,
            states,
            cut.piece(first + before, last),
            (last, whole, scale),
            carry,
        )

        def backward(j, carry):
            states, seeds = read(before - 1 - j)
            piece = cut.piece(first + before - 1 - j, cut.size)
            _, _, carry = self._pull(
                weights, seeds, states, piece, (cut.size, whole, scale), carry
            )
            return carry

        if read is not None:
            with replayed():
                carry, _ = loop(backward, carry, before)
        gradients, d_states, metrics, sums = carry
        gradients = add(
            gradients, self._through_start(weights, d_states, cut, group)
        )
        values = values._replace(non_trainable=seeds, metrics=metrics)
        return gradients, values, after, sums

    def _pull(self, weights, seeds, states, piece, scales, carry):
        """Run a segment, and hand its cotangents to the one before."""
        length, whole, scale = scales
        gradients, d_after, metrics, sums = carry
        count = len(weights)

        def objective(*flat):
            run = self.segment.run(
                flat[:count],
                seeds,
                metrics,
                with_floats(states, flat[count:]),
                piece,
                (length, whole),
                training=True,
            )
            return [run.sums.loss, *floats(run.states)], run

        _, pullback, run = vjp_with_aux(objective, [*weights, *floats(states)])
        scale = ops.cast(scale, run.sums.loss.dtype)
        found = pullback([scale, *d_after])
        carry = (
            add(gradients, found[:count]),
            found[count:],
            run.metrics,
            add(sums, run.sums),
        )
        return run.states, run.seeds, carry

    def _through_start(self, weights, d_states, cut, group):
        """What the initial state, which is learned, adds to the gradients."""

        def start(*weights):
            return floats(self.segment.initial_states(weights, cut)), ()

        _, pullback, _ = vjp_with_aux(start, list(weights))
        is_first = ops.equal(group, 0)
        return pullback(
            [ops.where(is_first, d, ops.zeros_like(d)) for d in d_states]
        )

    def _optimized(self, values, gradients, sums):
        gradients = [
            ops.divide_no_nan(g, ops.cast(sums.share, g.dtype))
            for g in gradients
        ]
        return self.trainer.optimized(values, gradients)

    # --- evaluation and prediction ------------------------------------------

    def test(self, values, cut):
        """New values after one batch, and its loss."""
        weights = self.trainer.weights_of(values)
        states = self.segment.initial_states(weights, cut)

        def segment(i, carry, length=cut.size):
            seeds, metrics, states, sums = carry
            run = self.segment.run(
                weights,
                seeds,
                metrics,
                states,
                cut.piece(i, length),
                (length, cut.length),
                training=False,
            )
            return run.seeds, run.metrics, run.states, add(sums, run.sums)

        carry = (values.non_trainable, values.metrics, states, zero_sums())
        if cut.known and cut.last == cut.size:
            carry = run_loop(segment, carry, cut.count)
        else:
            carry = run_loop(segment, carry, cut.count - 1)
            carry = segment(cut.count - 1, carry, cut.last)
        seeds, metrics, states, total = carry
        values = values._replace(non_trainable=seeds, metrics=metrics)
        return values, self._loss(total), states

    def predict(self, values, cut, segments):
        """The outputs of a batch; `segments` cuts and joins it."""
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

    # --- both ---------------------------------------------------------------

    def _loss(self, total):
        if self.reduction == "sum":
            return total.loss
        return total.mean()

    def _tokens(self, cut, segments, last):
        if last is None:
            return segments * cut.size
        return (segments - 1) * cut.size + last


def zero_sums():
    return Sums(ops.zeros(()), ops.zeros(()))


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
