"""A model whose memories' states go in and come out."""

import keras
from keras import ops
from keras import tree

from keras_titans.models.stateful_calls import StatefulCalls
from keras_titans.models.stateful_calls import streamed_inputs
from keras_titans.validation import check_bool
from keras_titans.validation import check_unknown


@keras.saving.register_keras_serializable("keras_titans")
class StreamingModel(keras.Model):
    """A model's own layers, with the state of each as input and output.

    A sequence may then be read in pieces of any length, each from the state
    that the one before has left: the outputs are those of the whole. The
    weights are the model's. What a piece does not see is what another layer
    would have to look back for: beside this package's layers, all of the
    model must work on each token alone.

    Args:
        model: A functional or sequential model with at least one
            `keras_titans` layer that has a state, itself or in a model that
            it is made of.
        update: Whether the memories are written. If False they are only read.
        return_surprise: Whether to return the surprises too.
        **kwargs: `name` and so on, for `keras.Model`.

    Call arguments:
        inputs: A pair: the model's inputs; the states, as
            `get_initial_state` returns them.
        training: Whether the call is one of training.

    Returns:
        The model's outputs; where `return_surprise`, a dictionary of the
        surprises, `(batch, length, heads)`, by the name of the layer; the
        states after the last token.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 32)(tokens)
    x = keras_titans.layers.TitansBlock("MAG", 64, num_heads=2)(x)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))

    streaming = keras_titans.models.StreamingModel(model)
    text = np.random.randint(0, 100, (1, 50))
    states = streaming.get_initial_state(batch_size=1)
    first, states = streaming((text[:, :30], states))
    second, states = streaming((text[:, 30:], states))
    ```
    """

    def __init__(self, model, update=True, return_surprise=False, **kwargs):
        check_unknown(self, kwargs, ("name", "trainable"))
        update = check_bool("update", update)
        return_surprise = check_bool("return_surprise", return_surprise)
        calls = StatefulCalls(update, return_surprise)
        inputs = streamed_inputs(model)
        outputs = calls.run(model, inputs)
        states, after = (
            dict(sorted(x.items())) for x in (calls.states, calls.after)
        )
        results = [outputs, after]
        if return_surprise:
            results.insert(1, dict(sorted(calls.surprises.items())))
        super().__init__(
            inputs=(inputs, states), outputs=tuple(results), **kwargs
        )
        self.model = model
        self.update = update
        self.return_surprise = return_surprise
        self.stateful_layers = calls.layers

    def __call__(self, inputs, *args, **kwargs):
        # Keras takes no arrays beside tensors.
        return super().__call__(
            tree.map_structure(_as_tensor, inputs), *args, **kwargs
        )

    def get_initial_state(self, batch_size):
        """The states before anything was read.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary of states by the names of their layers. A layer that
            the model calls more than once has a state for each call.
        """
        states = {
            name: layer.get_initial_state(batch_size)
            for name, layer in self.stateful_layers.items()
        }
        return dict(sorted(states.items()))

    def get_config(self):
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "update": self.update,
            "return_surprise": self.return_surprise,
        }

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _as_tensor(x):
    if keras.utils.is_keras_tensor(x) or ops.is_tensor(x):
        return x
    return ops.convert_to_tensor(x)
