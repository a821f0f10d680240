"""The memory alone as a sequence model's block (LMM)."""

import keras
from keras import activations
from keras import initializers
from keras import ops

from keras_titans.layers.stateful_layer import StatefulLayer
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
class MemoryBlock(keras.layers.Layer):
    """A decoder block whose only mixing of tokens is a memory.

        x = x + memory(norm(x))
        x = x + mlp(norm(x))

    with a gated multilayer perceptron, `(f(x W_1) * x W_2) W_3` (SwiGLU).

    Args:
        memory: A `NeuralMemory`.
        intermediate_dim: The hidden width of the multilayer perceptron.
        activation: The gate's.
        kernel_initializer: For the multilayer perceptron.
        dropout: Fraction of each branch's output to drop in training.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`.
        mask, initial_state, training, update, return_surprise: As the
            memory's.

    Returns:
        What the memory returns, the outputs being the block's: `(batch,
        length, width)`, then the surprises and the state where asked for.

    Example:

    ```python
    import keras
    import keras_titans

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(100, 32)(tokens)
    for _ in range(2):
        memory = keras_titans.layers.NeuralMemory(num_heads=2)
        x = keras_titans.layers.MemoryBlock(memory, intermediate_dim=64)(x)
    model = keras.Model(tokens, keras.layers.Dense(100)(x))
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 4.3
    """

    def __init__(
        self,
        memory,
        intermediate_dim,
        activation="silu",
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        **kwargs,
    ):
        # Keras would cast a state that is passed to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        check_positive_integer("intermediate_dim", intermediate_dim)
        if isinstance(memory, dict):
            memory = keras.saving.deserialize_keras_object(memory)
        check_instance("memory", memory, StatefulLayer)
        self.memory = memory
        self.intermediate_dim = intermediate_dim
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.dropout = dropout
        self.supports_masking = True

    def build(self, input_shape):
        width = input_shape[-1]
        hidden = (*input_shape[:-1], self.intermediate_dim)
        self.memory_norm = self._norm("memory_norm")
        self.mlp_norm = self._norm("mlp_norm")
        self.mlp_gate = self._dense(self.intermediate_dim, "mlp_gate")
        self.mlp_up = self._dense(self.intermediate_dim, "mlp_up")
        self.mlp_down = self._dense(width, "mlp_down")
        self.drop = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)
        for layer in (
            self.memory_norm,
            self.memory,
            self.mlp_norm,
            self.mlp_gate,
            self.mlp_up,
        ):
            if not layer.built:
                layer.build(input_shape)
        self.mlp_down.build(hidden)

    def _norm(self, name):
        norm = keras.layers.RMSNormalization(dtype=self.dtype_policy, name=name)
        norm.supports_masking = True  # it mixes no tokens
        return norm

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(
        self,
        inputs,
        mask=None,
        initial_state=None,
        training=None,
        update=True,
        return_surprise=False,
    ):
        inputs = ops.cast(inputs, self.compute_dtype)
        results = self.memory(
            self.memory_norm(inputs),
            mask=mask,
            initial_state=initial_state,
            training=training,
            update=update,
            return_surprise=return_surprise,
        )
        mixed, *others = results if isinstance(results, tuple) else (results,)
        x = inputs + self.drop(mixed, training=training)
        h = self.mlp_norm(x)
        h = self.activation(self.mlp_gate(h)) * self.mlp_up(h)
        x = x + self.drop(self.mlp_down(h), training=training)
        return (x, *others) if others else x

    def get_initial_state(self, batch_size):
        """The memory's state before anything was read."""
        return self.memory.get_initial_state(batch_size)

    def reset_state(self):
        """Forget everything: the memory's `reset_state`."""
        self.memory.reset_state()

    def compute_output_spec(self, inputs, **kwargs):
        return self.memory.compute_output_spec(inputs, **kwargs)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "memory": keras.saving.serialize_keras_object(self.memory),
                "intermediate_dim": self.intermediate_dim,
                "activation": activations.serialize(self.activation),
                "kernel_initializer": initializers.serialize(
                    self.kernel_initializer
                ),
                "dropout": self.dropout,
            }
        )
        return config
