"""Metrics of what a model's memories do while it is trained."""

import keras
from keras import ops
from keras import tree

from keras_titans.layers.watching import memory_entry
from keras_titans.layers.watching import memory_in
from keras_titans.models.stateful_calls import mixer_of


class MemoryMetrics:
    """For each memory: its mean surprise, its mean gates, and its norm.

    The metrics are named after the layer: `"block_surprise"`,
    `"block_learning_rate"`, `"block_momentum"`, `"block_forgetting"` and
    `"block_memory_norm"`. Padding does not count. Tokens that are not finite
    are not in the means; `"block_not_finite"` is how many there were.

    Args:
        stream: A `ModelStream` that asks for diagnostics, or None to watch
            nothing.
    """

    def __init__(self, stream):
        self._means, self._norms, self._missing = {}, {}, {}
        layers = stream.layers if stream else {}
        for name, layer in layers.items():
            memory = memory_of(layer)
            if memory is None:
                continue
            self._means[name] = {
                what: keras.metrics.Mean(name=f"{name}_{what}")
                for what in ("surprise", *memory.gate_names)
            }
            self._norms[name] = keras.metrics.Mean(name=f"{name}_memory_norm")
            self._missing[name] = keras.metrics.Sum(name=f"{name}_not_finite")

    @property
    def metrics(self):
        return [
            metric
            for name, means in self._means.items()
            for metric in (
                *means.values(),
                self._norms[name],
                self._missing[name],
            )
        ]

    def watch(self, results):
        """Take in one segment's `StreamResults`."""
        for name, means in self._means.items():
            diagnostics = results.diagnostics[name]
            finite = ops.all(ops.isfinite(diagnostics["surprise"]), axis=-1)
            real = results.masks.get(name)
            if real is None:
                real = ops.ones_like(finite)
            real = ops.cast(real, "bool")
            weight = ops.cast(ops.logical_and(finite, real), "float32")
            missing = ops.logical_and(ops.logical_not(finite), real)
            self._missing[name].update_state(ops.cast(missing, "float32"))
            for what, metric in means.items():
                value = ops.mean(diagnostics[what], axis=-1)
                metric.update_state(ops.where(finite, value, 0.0), weight)

    def finish(self, states):
        """Take in the states after a sequence's last token."""
        for name, metric in self._norms.items():
            metric.update_state(row_norms(memory_entry(states[name])))


def row_norms(memory):
    """`(batch,)`: the norm of each row of nested tensors taken together."""
    squares = [
        ops.sum(ops.square(x), axis=tuple(range(1, len(x.shape))))
        for x in tree.flatten(memory)
    ]
    return ops.sqrt(sum(squares))


def memory_of(layer):
    """The memory that a layer is or has, or None."""
    mixer = mixer_of(layer)
    return memory_in(mixer) if mixer.has_memory else None
