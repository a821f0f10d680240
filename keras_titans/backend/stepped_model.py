"""What the engines' stepped models have in common."""

import contextlib
from typing import Any, NamedTuple

import keras
from keras import ops


class Values(NamedTuple):
    """What a model's variables hold, in the order of its properties.

    `trainable` and `optimizer` are empty where an engine's optimizer takes
    its steps in the variables themselves.
    """

    trainable: list[Any]
    non_trainable: list[Any]
    optimizer: list[Any]
    metrics: list[Any]


@contextlib.contextmanager
def replayed():
    """Where random numbers are a part of the values, nothing is to do."""
    yield


class SteppedModelBase(keras.Model):
    """A model whose steps are functions of values: see `Values`.

    A subclass says what they are; an engine's `SteppedModel` gives them what
    `fit`, `evaluate` and `predict` pass, and puts back what they return.
    """

    def train_on_values(self, values, x, y, sample_weight):
        """New `Values` after one batch of training."""
        raise NotImplementedError

    def test_on_values(self, values, x, y, sample_weight):
        """New `Values`, of metrics, after one batch of evaluation."""
        raise NotImplementedError

    def predict_on_values(self, values, x):
        """The outputs for one batch."""
        raise NotImplementedError

    def weights_of(self, values):
        """What the trainable variables hold."""
        raise NotImplementedError

    def optimized(self, values, gradients):
        """The `Values` after a step of the optimizer."""
        raise NotImplementedError

    def gradient_scale(self, values):
        """What the optimizer wants gradients multiplied by."""
        raise NotImplementedError

    def replicas(self):
        """How many copies of the model share a batch and add gradients up.

        Keras divides means by it, and multiplies what it logs.
        """
        return 1

    def for_metrics(self, outputs, training):
        """Outputs with the masks that metrics see in `fit` or `evaluate`."""
        return outputs


class StatefulSteps(SteppedModelBase):
    """For engines whose optimizers take their steps in the variables."""

    def train_step(self, data):
        self.build_for(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        values = self.train_on_values(self._values(), x, y, sample_weight)
        self._assign(values)
        return self.get_metrics_result()

    def test_step(self, data):
        self.build_for(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        values = self.test_on_values(self._values(), x, y, sample_weight)
        self._assign(values)
        return self.get_metrics_result()

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.predict_on_values(self._values(), x)

    def build_for(self, data):
        """Make what the first batch would make inside of a loop."""
        self._symbolic_build(data_batch=data)

    def weights_of(self, values):
        return [v.value for v in self.trainable_variables]

    def gradient_scale(self, values):
        return self.optimizer.scale_loss(ops.ones(()))

    def _values(self):
        return Values(
            trainable=[],
            non_trainable=[v.value for v in self.non_trainable_variables],
            optimizer=[],
            metrics=[v.value for v in self.metrics_variables],
        )

    def _assign(self, values):
        for variables, new in (
            (self.non_trainable_variables, values.non_trainable),
            (self.metrics_variables, values.metrics),
        ):
            for variable, value in zip(variables, new, strict=True):
                variable.assign(value)
