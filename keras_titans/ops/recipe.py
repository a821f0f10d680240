"""What a memory is made of, and what it is given: plain tuples."""

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """How a memory is written and read: all of it that is no tensor.

    Attributes:
        network: A `keras_titans.memory.MemoryNetwork`.
        objective: A `keras_titans.memory.Objective`.
        rule: A `keras_titans.memory.UpdateRule`.
        anchor: `"token"` or `"chunk"`: where gradients are taken.
        chunk_size: Tokens of a chunk, `b`.
        read_first: Whether a token reads before it is written.
    """

    network: Any
    objective: Any
    rule: Any
    anchor: str
    chunk_size: int
    read_first: bool = False

    def check(self):
        """Raise a ValueError for choices that exclude each other."""
        if self.anchor == "chunk":
            return
        if not self.objective.linear:
            raise ValueError(
                "`anchor='token'` needs an objective whose gradient is linear "
                "in the prediction; use `anchor='chunk'`. Received: "
                f"objective={self.objective}."
            )
        if not self.network.additive_output:
            raise ValueError(
                "`anchor='token'` needs a network whose last map is added to "
                "the output; use `anchor='chunk'`. Received: "
                f"network={self.network}."
            )
        if not self.rule.linear:
            raise ValueError(
                "`anchor='token'` needs an update rule that takes gradients as "
                "they are, without `clipnorm`; use `anchor='chunk'`. Received: "
                f"update_rule={self.rule}."
            )


class Tokens(NamedTuple):
    """What the memory sees of a sequence, each row's real tokens first.

    Attributes:
        query, key, value: `(B, N, H, d)`.
        logits: A dictionary with the logits `(B, N, H)` of each `Gate` of the
            update rule.
    """

    query: Any
    key: Any
    value: Any
    logits: Any


class Memory(NamedTuple):
    """What is carried from token to token and from chunk to chunk.

    Attributes:
        state: The update rule's state: a dictionary of lists with a
            `(B, H, i, o)` tensor for each linear layer of the network.
            `"memory"` is `W`.
        anchor: `W` at the start of the current chunk, or `()` where every
            call starts a chunk and ends one.
    """

    state: Any
    anchor: Any


class Shared(NamedTuple):
    """What every token sees.

    Attributes:
        rates: `(H, 1, 1)` for each linear layer but the last: how fast it
            learns, beside the last.
        initial: The learned initial memory, `(H, i, o)` for each layer.
    """

    rates: Any
    initial: Any
