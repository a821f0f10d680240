"""The memory alone as a sequence model's block (LMM)."""

import keras

from keras_titans.layers.attention_and_memory import check_memory
from keras_titans.layers.titans_block import TitansBlock


@keras.saving.register_keras_serializable("keras_titans")
class MemoryBlock(TitansBlock):
    """A decoder block whose only mixing of tokens is a memory.

        x = x + memory(norm(x))
        x = x + mlp(norm(x))

    It is a `TitansBlock`, by its own name.

    Args:
        memory: `NeuralMemory`, `SlotMemory` or another memory layer.
        intermediate_dim: int. The hidden width of the multilayer perceptron.
        activation: str or callable. The gate's activation. Defaults to
            `"silu"`.
        kernel_initializer: str or Keras initializer. For the multilayer
            perceptron. Defaults to `"glorot_uniform"`.
        dropout: float. Fraction of each branch's output to drop in training.
            Defaults to `0.0`.
        remat: bool. As `TitansBlock`'s. Defaults to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`.
        mask, initial_state, training, update, return_diagnostics,
            return_state: As the memory's.

    Returns:
        What the memory returns, the outputs being the block's: `(batch,
        length, width)`, then the diagnostics and the state where asked for.

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
        remat=False,
        **kwargs,
    ):
        super().__init__(
            check_memory("memory", memory),
            intermediate_dim,
            activation=activation,
            kernel_initializer=kernel_initializer,
            dropout=dropout,
            remat=remat,
            **kwargs,
        )

    @property
    def memory(self):
        """The mixer."""
        return self.mixer

    def get_config(self):
        config = super().get_config()
        config["memory"] = config.pop("mixer")
        return config
