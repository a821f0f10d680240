"""A model whose memories' states go in and come out."""

import keras
from keras import ops
from keras import tree

from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.stateful_calls import StatefulCalls
from keras_titans.models.stateful_calls import are_sequences
from keras_titans.models.stateful_calls import model_inputs
from keras_titans.models.stateful_calls import streamed_inputs
from keras_titans.ops.alignment import pad_tokens
from keras_titans.validation import check_bool
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_unknown
from keras_titans.validation import if_given


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class StreamingModel(keras.Model):
    """A model's own layers, with the state of each as input and output.

    A sequence may then be read in pieces of any length, each from the state
    that the one before has left: the outputs are those of the whole. The
    weights are the model's. What a piece does not see is what another layer
    would have to look back for: beside this package's layers, all of the
    model must work on each token alone.

    JAX and TensorFlow compile `predict` for every new length, and JAX keeps
    each compiled program in memory. If pieces have many lengths, pass
    `pad_to_multiple_of`: then few lengths are compiled, and results are the
    same.

    Args:
        model: A functional or sequential model with at least one
            `keras_titans` layer that has a state, itself or in a model that
            it is made of.
        update: Whether the memories are written. If False they are only read.
        return_diagnostics: Whether to return the memories' diagnostics.
        pad_to_multiple_of: int or None. Each piece is padded at its end with
            masked tokens, to a multiple of so many; the outputs are cut to
            the piece's length. Defaults to `None`, no padding.
        **kwargs: `name` and so on, for `keras.Model`.

    Call arguments:
        inputs: A pair: the model's inputs; the states, as
            `get_initial_state` returns them.
        training: Whether the call is one of training.

    Returns:
        The model's outputs; where `return_diagnostics`, a dictionary of
        their diagnostics by the name of the layer; the
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

    def __init__(
        self,
        model,
        update=True,
        return_diagnostics=False,
        pad_to_multiple_of=None,
        **kwargs,
    ):
        check_unknown(self, kwargs, ("name", "trainable"))
        update = check_bool("update", update)
        return_diagnostics = check_bool(
            "return_diagnostics", return_diagnostics
        )
        pad_to_multiple_of = if_given(
            check_positive_integer, "pad_to_multiple_of", pad_to_multiple_of
        )
        inputs = streamed_inputs(model)
        mask = None
        if pad_to_multiple_of is not None:
            mask = keras.Input((None,), dtype="bool", name="streaming_mask")
        calls = StatefulCalls(update, return_diagnostics, mask)
        outputs = calls.run(model, inputs)
        states, after = (
            dict(sorted(x.items())) for x in (calls.states, calls.after)
        )
        results = [outputs, after]
        if return_diagnostics:
            results.insert(1, dict(sorted(calls.diagnostics.items())))
        entries = (inputs, states) if mask is None else (inputs, states, mask)
        super().__init__(inputs=entries, outputs=tuple(results), **kwargs)
        self.model = model
        self.update = update
        self.return_diagnostics = return_diagnostics
        self.pad_to_multiple_of = pad_to_multiple_of
        self.stateful_layers = calls.layers

    def __call__(self, inputs, *args, **kwargs):
        inputs, length = self._padded(inputs)
        # Keras takes no arrays beside tensors.
        results = super().__call__(
            tree.map_structure(_as_tensor, inputs), *args, **kwargs
        )
        return self._cut(results, length)

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`. What is compiled sees padded pieces."""
        x, length = self._padded(x)
        return self._cut(super().predict(x, *args, **kwargs), length)

    def predict_on_batch(self, x):
        """As `keras.Model.predict_on_batch`, see `predict`."""
        x, length = self._padded(x)
        return self._cut(super().predict_on_batch(x), length)

    def _padded(self, inputs):
        """The inputs with padding and its mask; the length to cut to.

        The length is None where nothing was padded: without
        `pad_to_multiple_of`, for inputs that are padded already, and for a
        dataset.
        """
        unpadded = isinstance(inputs, list | tuple) and len(inputs) == 2
        if self.pad_to_multiple_of is None or not unpadded:
            return inputs, None
        x, states = inputs
        flat = tree.flatten(model_inputs(self.model, x))
        sequences = are_sequences(self.model)
        flat = [
            _as_tensor(v) if is_sequence else v
            for v, is_sequence in zip(flat, sequences, strict=True)
        ]
        first = flat[sequences.index(True)]
        mask = ops.ones_like(first, dtype="bool")
        mask = ops.reshape(mask, (*ops.shape(first)[:2], -1))[..., 0]
        length = first.shape[1]
        if length is not None:
            size = -(-length // self.pad_to_multiple_of)
            size *= self.pad_to_multiple_of
            mask = pad_tokens(mask, size)
            flat = [
                pad_tokens(v, size) if is_sequence else v
                for v, is_sequence in zip(flat, sequences, strict=True)
            ]
        x = tree.pack_sequence_as(self.input[0], flat)
        return (x, states, mask), length

    def _cut(self, results, length):
        """The results without what padding has added to each sequence."""
        if length is None:
            return results
        *sequences, states = results
        sequences = tree.map_structure(
            lambda x, like: x[:, :length] if _is_sequence(like) else x,
            sequences,
            list(self.output[:-1]),
        )
        return (*sequences, states)

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
            "return_diagnostics": self.return_diagnostics,
            "pad_to_multiple_of": self.pad_to_multiple_of,
        }

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _as_tensor(x):
    if keras.utils.is_keras_tensor(x) or ops.is_tensor(x):
        return x
    return ops.convert_to_tensor(x)


def _is_sequence(x):
    return len(x.shape) > 1 and x.shape[1] is None
