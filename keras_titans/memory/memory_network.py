"""What a memory is memorised into: a small network of fast dense maps."""

import abc

from keras import ops

from keras_titans import backend


class MemoryNetwork(abc.ABC):
    """A network of fast dense maps, written as one function of them.

    A subclass says which maps it has and how they are put together. What a
    map does is not its business: `dense(m, x)` is the `m`-th fast linear map,
    a plain product while the memory is written, and a product with each
    token's own weights while it is read.

    Example:

    ```python
    import keras
    import keras_titans

    @keras.saving.register_keras_serializable("my_project")
    class Bottleneck(keras_titans.memory.MemoryNetwork):
        def map_shapes(self, dim):
            return (dim, 4), (4, dim)

        def __call__(self, x, dense):
            return x + dense(1, keras.ops.tanh(dense(0, x)))

    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, head_dim=8, network=Bottleneck()
    )
    outputs = layer(keras.random.normal((1, 20, 16)))
    ```

    Attributes:
        additive_output: Whether the output is the last map's, plus terms that
            do not depend on it. `anchor="token"` needs that. Set it to
            False where it is not so.
        hidden_rate: Where the learned rates of the layers below the last one
            start, as multiples of the last one's. Features that move fast
            make unreadable what was written through them.
    """

    additive_output = True
    hidden_rate = 0.1

    @property
    def is_matrix(self) -> bool:
        """Whether the network is `x @ W` and nothing else.

        There is a faster form of such a memory.
        """
        return False

    @abc.abstractmethod
    def map_shapes(self, dim):
        """The `(inputs, outputs)` widths of each map, for heads of `dim`."""

    @abc.abstractmethod
    def __call__(self, x, dense):
        """The network's output.

        Args:
            x: `(..., tokens, dim)`.
            dense: A function `(m, x) -> x @ W_m`. Each map is used once, the
                last one last.

        Returns:
            `(..., tokens, dim)`.
        """

    def backward(self, x, weights, inputs, outputs, gradient):
        """The gradient at each map's output, from that at the network's.

        By the backend's own differentiation; override it where a closed form
        is known.

        Args:
            x: The network's input, `(..., tokens, dim)`.
            weights: One `(..., i, o)` tensor for each map.
            inputs: What each map was given, `inputs[m]`.
            outputs: What each map returned, `outputs[m]`.
            gradient: The loss's gradient at the network's output.

        Returns:
            A list of tensors shaped as `outputs`.
        """
        del inputs

        def nudged(*nudges):
            return self(x, lambda m, h: ops.matmul(h, weights[m]) + nudges[m])

        zeros = [ops.zeros_like(outputs[m]) for m in range(len(weights))]
        _, pullback = backend.vjp(nudged, *zeros)
        return list(pullback(gradient))

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
