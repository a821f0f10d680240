"""A sequence's loss as a sum over its segments.

What Keras divides a loss by depends on the reduction, on masks, on sample
weights and on what the loss leaves out. All of it is known before the model
runs. So it is counted first, and each segment's sum is divided by the count of
the whole.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import keras
from keras import ops
from keras import tree

from keras_titans.backend.training import loop
from keras_titans.models.token_loss import REDUCTIONS
from keras_titans.models.token_loss import LossForm
from keras_titans.models.token_loss import loss_form
from keras_titans.models.token_loss import mask_of
from keras_titans.models.token_loss import values_of


class OutputLoss(NamedTuple):
    """One of the compiled losses, and what it divides by."""

    loss: Any
    reduction: str
    form: LossForm
    output: Any  # the model's, symbolic
    mask: str | None  # the name of the output's mask
    weight: Any  # sample weights of whole sequences, or None
    counted: bool  # whether some tokens may count less than others

    @property
    def by_weight(self):
        return self.reduction == "mean_with_sample_weight"


class Divisors(NamedTuple):
    """What sums over some segments are divided by."""

    tokens: Any
    outputs: list[Any]
    costs: list[Any]


class SequenceLoss:
    """The loss of a batch of sequences, a segment at a time.

    Args:
        trainer: The trainer: its compiled losses and its `compute_loss`.
        stream: A `ModelStream` of its model.
        cut: The batch's `SegmentCut`.
    """

    def __init__(self, trainer, stream, cut):
        self.trainer = trainer
        self.stream = stream
        self.cut = cut
        # A memory's cost is a mean over the tokens that it sees.
        self.costs = stream.paying

    @functools.cached_property
    def outputs(self):
        """An `OutputLoss` for each of the compiled losses."""
        check_reductions(self.trainer.loss)
        targets = self._targets(self.cut.y, self.cut.sample_weight)
        return [self._output_loss(*target) for target in targets]

    # --- before the model runs ----------------------------------------------

    def divisors(self, first, segments, last):
        """The `Divisors` of segments from `first` on, `last` tokens at last."""
        before = segments - 1
        cut = self.cut

        def count(i, counts, length=cut.size):
            more = self._counts(cut.piece(first + i, length))
            return [a + b for a, b in zip(counts, more, strict=True)]

        counts = [ops.zeros(()) for _ in range(self._number_counted)]
        if counts:
            if not (isinstance(before, int) and before == 0):
                counts, _ = loop(count, counts, before)
            counts = count(before, counts, last)
        tokens = before * cut.size + last
        found = iter(counts)
        outputs = [self._divisor(x, tokens, found) for x in self.outputs]
        return Divisors(tokens, outputs, list(found))

    @property
    def _number_counted(self):
        return sum(x.counted for x in self.outputs) + len(self.costs)

    def _divisor(self, output, tokens, counts):
        if output.reduction == "sum":
            return 1.0
        if output.counted:
            found = next(counts)
        elif output.by_weight and output.weight is not None:
            found = ops.sum(ops.cast(output.weight, "float32"))
        else:
            found = ops.cast(self.cut.rows, "float32")
            if output.form.per_token:
                found *= ops.cast(tokens, "float32") * output.form.width
        return found * self.trainer.replicas()

    def _counts(self, piece):
        """Of one segment: what is to be counted of each output and layer."""
        x, y, weight = piece
        masks = self.stream.masks(x)
        counts = [
            ops.sum(self._weights_that_count(output, target, masks))
            for output, target in zip(
                self.outputs, self._targets(y, weight), strict=True
            )
            if output.counted
        ]
        for name in self.costs:
            counts.append(ops.sum(ops.cast(masks[name], "float32")))
        return counts

    def _weights_that_count(self, output, target, masks):
        _, y_true, _, weight = target
        found = []
        if output.mask is not None:
            found.append(masks[output.mask])
        if output.form.masks:
            # It depends on the targets, so any outputs will do.
            shape = (*ops.shape(y_true)[:2], *output.output.shape[2:])
            found.append(
                mask_of(values_of(output.loss, y_true, ops.zeros(shape)))
            )
        if output.by_weight and weight is not None:
            weight = ops.cast(weight, "float32")
            if len(weight.shape) == 3:
                weight = ops.squeeze(weight, axis=-1)
            found.append(weight)
        return functools.reduce(
            ops.multiply, [ops.cast(x, "float32") for x in found]
        )

    # --- while it runs ------------------------------------------------------

    def of_segment(self, piece, length, results, added, divisors, training):
        """A segment's part of the loss of the sequence.

        Its gradient is that of the group's loss, times `group.tokens /
        whole.tokens`: a group may be a step of its own.

        Args:
            piece: The segment's `(x, y, sample_weight)`.
            length: How many tokens it has.
            results: Its `StreamResults`.
            added: The losses that layers have added.
            divisors: The `Divisors` of the sequence, and of the group.
            training: Whether this is a step of training.
        """
        x, y, weight = piece
        whole, group = divisors
        part = ops.cast(length, "float32") / ops.cast(whole.tokens, "float32")

        def share(i, loss, y_true, y_pred, sample_weight):
            output = self.outputs[i]
            weight = _for_each_token(sample_weight, output, length)
            total = _summed(loss, y_true, y_pred, weight)
            if not output.form.per_token:
                total *= ops.cast(part, total.dtype)
            by = whole.outputs[i], group.outputs[i]
            return _divided(total, by, whole, group, part)

        with self._losses_as(share):
            loss = self.trainer.compute_loss(
                self.stream.as_inputs(x),
                y,
                results.outputs,
                weight,
                training=training,
            )
        # What is not divided yet is a mean over the segment's tokens, but for
        # what a memory's writes cost.
        for i, (name, layer) in enumerate(self.costs.items()):
            tokens = ops.sum(ops.cast(results.masks[name], "float32"))
            by = whole.costs[i], group.costs[i]
            for cost in _added(layer, added):
                total = cost * ops.cast(tokens, cost.dtype)
                loss += _divided(total, by, whole, group, part) - cost
        return ops.cast(part, loss.dtype) * loss

    # --- Keras' own ---------------------------------------------------------

    def _targets(self, y, sample_weight):
        """For each loss: itself, its targets, its output and its weights.

        Keras says what belongs together.
        """
        found: list[Any] = []
        if self.trainer._compile_loss is None:
            return found

        def note(i, *target):
            found.append(target)
            return ops.zeros(())

        # Keras updates a metric for each of several losses.
        mapping = [
            (v, ops.zeros(v.shape, v.dtype))
            for metric in self.trainer._compile_loss.metrics
            for v in metric.variables
        ]
        with self._losses_as(note), keras.StatelessScope(mapping):
            self.trainer._compile_loss(y, self.stream.outputs, sample_weight)
        return found

    @contextlib.contextmanager
    def _losses_as(self, fn):
        """A context where `fn` stands for Keras' compiled losses.

        It is called as `fn(i, loss, y_true, y_pred, sample_weight)`.
        """
        compiled = self.trainer._compile_loss
        if compiled is None:
            yield
            return
        kept = compiled._flat_losses
        compiled._flat_losses = [
            entry._replace(loss=functools.partial(fn, i, entry.loss))
            for i, entry in enumerate(kept)
        ]
        try:
            yield
        finally:
            compiled._flat_losses = kept

    def _output_loss(self, loss, y_true, y_pred, weight):
        form = loss_form(
            loss,
            tuple(y_true.shape[2:]),
            keras.backend.standardize_dtype(y_true.dtype),
            tuple(y_pred.shape[2:]),
        )
        mask = self.stream.output_masks.get(id(y_pred))
        by_weight = loss.reduction == "mean_with_sample_weight"
        weighed = weight is not None and self.cut.has_tokens(weight)
        _check_weights(loss, form, mask is not None, weight, weighed)
        return OutputLoss(
            loss,
            loss.reduction,
            form,
            y_pred,
            mask,
            weight,
            form.per_token
            and loss.reduction != "sum"
            and (mask is not None or form.masks or (by_weight and weighed)),
        )


def check_reductions(loss):
    """Raise a ValueError for losses that stay tensors."""
    for x in tree.flatten(loss):
        if getattr(x, "reduction", "mean") not in REDUCTIONS:
            raise ValueError(
                "Argument `loss` of `compile` must be reduced to a number, by "
                f"one of {', '.join(map(repr, REDUCTIONS))}. "
                f"Received: '{x.name}' with reduction={x.reduction!r}."
            )


def _check_weights(loss, form, masked, weight, weighed):
    if form.per_token and weight is not None and len(weight.shape) < 2:
        raise ValueError(
            "Argument `sample_weight` must have an entry for each token, "
            "(batch, length), or one for all of a row's, (batch, 1), as "
            f"'{loss.name}' is a loss of each token. Received: shape "
            f"{tuple(weight.shape)}. (`class_weight` makes such weights of "
            "rows.)"
        )
    if not form.per_token and (masked or form.masks or weighed):
        raise ValueError(
            f"Loss '{loss.name}' is the mean of each row for these targets, "
            "so no token can be left out or weighed. For a loss of each "
            "token, argument `y` must have a last axis as the outputs do. "
            f"Received: sample weights of shape {weight and weight.shape}."
        )


def _for_each_token(weight, output, length):
    """A copy of weights, because on PyTorch a loss masks them in place."""
    if weight is None:
        return None
    if output.form.per_token and weight.shape[1] == 1:
        weight = ops.repeat(weight, length, axis=1)
    return ops.copy(weight)


def _summed(loss, *args):
    """A loss that is not divided by anything."""
    kept, loss.reduction = loss.reduction, "sum"
    try:
        return loss(*args)
    finally:
        loss.reduction = kept


def _divided(total, divisors, whole, group, part):
    """A sum of a segment's, as a mean over the segment's tokens is to be."""
    of_whole, of_group = (ops.cast(x, total.dtype) for x in divisors)
    value = ops.divide_no_nan(total, of_whole * ops.cast(part, total.dtype))
    if whole is group:
        return value
    tokens = ops.cast(group.tokens, total.dtype)
    tokens /= ops.cast(whole.tokens, total.dtype)
    slope = ops.divide_no_nan(of_whole, of_group) * tokens
    return slope * value + ops.stop_gradient((1.0 - slope) * value)


def _added(layer, losses):
    """Those of the losses that the layer has added."""
    return [x for x in layer.losses if any(x is y for y in losses)]
