"""The contract of an update rule: how a gradient changes a memory."""

import abc
from typing import Any

from keras_titans.memory.gate import ConstantValues
from keras_titans.memory.gate import Gate
from keras_titans.ops.decay import Decay


class UpdateRule(abc.ABC):
    """How each token's gradient changes the memory.

    A subclass sets `gates` and writes `step`, one token, as a paper prints
    it. That is the definition, and enough to be used. Where the step is
    linear in the state and in the gradient, the subclass also writes
    `coefficients`, and the memory computes whole chunks in matrix products.
    Both must say the same.

    Attributes:
        gates: dict. By name, a `Gate`, or a number for a constant.
        linear: bool. Whether a gradient enters the state as it is. If not,
            as where it is clipped, `anchor="chunk"` is needed.

    Example:

    Momentum-free descent that halves the memory at every token:

    ```python
    import keras
    import keras_titans

    @keras.saving.register_keras_serializable("my_project")
    class Halving(keras_titans.memory.UpdateRule):
        gates = {"learning_rate": keras_titans.memory.Gate(initial=0.1)}

        def step(self, state, gates, gradient, initial, slope):
            rate = gates["learning_rate"].value / slope
            memory = [
                0.5 * w - rate * g
                for w, g in zip(state["memory"], gradient(state["memory"]))
            ]
            return {"memory": memory}

    layer = keras_titans.layers.NeuralMemory(
        num_heads=2, head_dim=8, update_rule=Halving()
    )
    outputs = layer(keras.random.normal((1, 20, 16)))
    ```
    """

    gates: dict[str, Gate | float] = {}
    linear = True

    @abc.abstractmethod
    def step(
        self,
        state: dict,
        gates: dict,
        gradient: Any,
        initial: list,
        slope: float,
    ) -> dict:
        """The state after one token.

        Args:
            state: dict. The entries of `initial_state`, each a list with a
                `(batch, heads, inputs, outputs)` tensor for every layer of
                the memory's network.
            gates: dict. `GateValues` by name, `(batch, heads, 1, 1)`.
            gradient: function. `gradient(weights)` is the gradient of this
                token's loss at a list of weights, as such a list. With
                `anchor="chunk"` it is the gradient at the start of the
                token's chunk, whatever the weights; with `anchor="token"`
                this holds for all layers but the last. `gradient.norm`,
                `(batch, heads)`, is the norm of the last one that was taken.
            initial: list. The learned initial memory, like the entries of
                the state, with a batch axis of 1.
            slope: float. The objective's slope, 2 for the squared error.

        Returns:
            The new state: a dictionary with the entries of `state`.
        """

    def coefficients(self, gates: dict, mask: Any, slope: float) -> Decay:
        """What `step` amounts to over a chunk of tokens.

        Args:
            gates: dict. `GateValues` by name, `(..., tokens)`.
            mask: Tensor `(..., tokens)`, 1 for a token that is there and 0
                for one that is not. The latter changes nothing.
            slope: float. The objective's slope.

        Returns:
            A `keras_titans.ops.decay.Decay`.
        """
        raise NotImplementedError

    def at_chunk_end(
        self, state: dict, start: dict, gates: dict, initial: list
    ) -> dict:
        """The state after a chunk, for what is not linear in the state.

        It acts after the read of the chunk's last token.

        Args:
            state: dict. The state after the chunk's last token.
            start: dict. Its entry `"memory"` at the chunk's start.
            gates: dict. `GateValues` of the last token.
            initial: list. The learned initial memory.
        """
        raise NotImplementedError

    def scale_of(self, norms: Any) -> Any:
        """The factor on each gradient, by its norm; None for none.

        For `coefficients` of a rule that is not `linear`.
        """
        return None

    def initial_state(self, memory: list) -> dict:
        """The state at a sequence's start: zeros for all but the memory."""
        return {"memory": memory}

    def write_cost(self, gates: dict) -> Any:
        """What is added to the loss in training, times tokens and heads.

        Args:
            gates: dict. Each gate's values by name, `(batch, length, heads)`,
                0 at tokens that are not there.

        Returns:
            A scalar: a sum over tokens and heads.
        """
        raise NotImplementedError

    @property
    def has_coefficients(self) -> bool:
        return _overrides(self, "coefficients")

    @property
    def acts_at_chunk_end(self) -> bool:
        return _overrides(self, "at_chunk_end")

    @property
    def has_write_cost(self) -> bool:
        return _overrides(self, "write_cost")

    def values(self, logits: dict, like: Any) -> dict:
        """`GateValues` by name.

        Args:
            logits: dict. The logits of each `Gate` by name.
            like: A tensor of their shape, for the constants.
        """
        return {
            name: (
                gate.values(logits[name])
                if isinstance(gate, Gate)
                else ConstantValues(gate, like)
            )
            for name, gate in self.gates.items()
        }

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def zeros_of(memory):
    """Zeros shaped like a memory, for a rule's other entries.

    Not `zeros_like`: XLA takes a product with known zeros for a product with
    a broadcast number, and gets it wrong (jaxlib 0.10, CPU).
    """
    return [0.0 * w for w in memory]


def _overrides(rule, name):
    return getattr(type(rule), name) is not getattr(UpdateRule, name)
