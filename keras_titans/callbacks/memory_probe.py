"""What a model's memories make of a few rows, in one compiled pass."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_titans.layers.watching import memory_entry
from keras_titans.layers.watching import memory_in
from keras_titans.layers.watching import watching
from keras_titans.models.memory_metrics import memory_of
from keras_titans.models.memory_metrics import row_norms
from keras_titans.models.stateful_calls import keeps_state
from keras_titans.models.stateful_calls import mixer_of
from keras_titans.ops.recall import recall_matrix

SHOWN = 512  # tokens of the first row whose recall is looked at


class Observation(NamedTuple):
    """What one memory did, as NumPy arrays."""

    # Of the real tokens, those that are not finite are only counted.
    tokens: dict[str, np.ndarray]  # "surprise" and gates: (real tokens, heads)
    not_finite: int
    norm: float  # of the memory after the last token, mean over rows
    drift: float  # its distance from its start, in norms of the start
    shown: np.ndarray  # places of the first row's real tokens: (shown,)
    first_row: np.ndarray  # their surprises: (shown,)
    recall: np.ndarray | None  # what they recall: (shown, shown)

    def scalars(self):
        """Name -> number."""
        means = {name: float(x.mean()) for name, x in self.tokens.items()}
        return means | {
            "memory_norm": self.norm,
            "memory_drift": self.drift,
            "not_finite": float(self.not_finite),
        }


class MemoryProbe(keras.Model):
    """From a model's inputs to what its memories did with them.

    Nothing that the pass would change is changed: states that layers keep,
    seeds and statistics are dropped.

    Args:
        model: A model that is built, with the trainer's settings.
        recall: Whether to look at what is recalled.
    """

    def __init__(self, model, recall):
        super().__init__(autocast=False, dtype="float32", name="memory_probe")
        self.model = model
        self.recall = recall
        self.names = watched_names(model)
        self.built = True
        self.compile(
            run_eagerly=model.run_eagerly,
            jit_compile="auto" if model.jit_compile else False,
        )

    def call(self, inputs):
        options = {}
        if self.model._call_has_training_arg:
            options["training"] = False
        with watching() as watch:
            self.model.stateless_call(
                [v.value for v in self.model.trainable_variables],
                [v.value for v in self.model.non_trainable_variables],
                inputs,
                **options,
            )
        results: dict[str, Any] = {}
        for seen in watch.calls:
            name = new_name(self.names.get(id(seen.layer)), seen, results)
            results[name] = self._summary(seen)
        return results

    def _summary(self, seen):
        memory = memory_in(seen.layer)
        names = ("surprise", *memory.gate_names)
        before, after = memory_entry(seen.before), memory_entry(seen.after)
        start = row_norms(before)
        moved = row_norms(tree.map_structure(ops.subtract, after, before))
        summary = {
            "tokens": {name: seen.diagnostics[name] for name in names},
            "norm": row_norms(after),
            "drift": moved / ops.where(start > 0, start, 1.0),
        }
        if seen.mask is not None:
            summary["mask"] = seen.mask
        if self.recall:
            read, value = (
                seen.diagnostics[name][:1, :SHOWN] for name in ("read", "value")
            )
            summary["recall"] = recall_matrix(read, value)
        return summary

    def observe(self, x):
        """`Observation`s by the names of the memories."""
        results = self.predict_on_batch(x)
        return {
            name: observation(tree.map_structure(ops.convert_to_numpy, summary))
            for name, summary in results.items()
        }


def observation(summary):
    """What a `MemoryProbe` returns for one memory, put in order."""
    tokens = summary["tokens"]
    surprise = tokens["surprise"]
    mask = summary.get("mask")
    if mask is None:
        mask = np.ones(surprise.shape[:2], "bool")
    finite = np.isfinite(surprise).all(axis=-1)
    not_finite = int(np.sum(mask & ~finite))
    mask = mask & finite
    shown = np.flatnonzero(mask[0, :SHOWN])
    recall = summary.get("recall")
    if recall is not None:
        recall = recall[0][np.ix_(shown, shown)]
    return Observation(
        {name: values[mask] for name, values in tokens.items()},
        not_finite,
        float(summary["norm"].mean()),
        float(summary["drift"].mean()),
        shown,
        surprise[0, shown].mean(axis=-1),
        recall,
    )


def watched_names(model):
    """The layers with a memory: id of what mixes -> the layer's name."""
    layers = [
        layer
        for layer in model._flatten_layers()
        if keeps_state(layer) and memory_of(layer) is not None
    ]
    inside = {
        id(part)
        for layer in layers
        for part in layer._flatten_layers(include_self=False)
    }
    return {
        id(mixer_of(layer)): layer.name
        for layer in layers
        if id(layer) not in inside
    }


def check_has_memory(model):
    """Raise a ValueError for a model in which nothing is to be watched."""
    if not watched_names(model):
        names = ", ".join(layer.name for layer in model.layers)
        raise ValueError(
            "`MemoryMonitor` needs a model with at least one memory of "
            "`keras_titans.layers`, such as `NeuralMemory` or a `TitansBlock` "
            f"that has one. Received: model '{model.name}' with the layers "
            f"{names}."
        )


def new_name(name, seen, taken):
    """A call's name: the layer's, with a number from the second call on."""
    name = first = name or seen.layer.name
    count = 1
    while name in taken:
        count += 1
        name = f"{first}_call_{count}"
    return name
