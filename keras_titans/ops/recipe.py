"""How a memory is written and read: all of it that is no tensor."""

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """What every token of every call is treated by.

    Attributes:
        network: A `keras_titans.memory.MemoryNetwork`.
        objective: A `keras_titans.memory.Objective`.
        rule: A `keras_titans.memory.UpdateRule`.
        anchor: `"token"` or `"chunk"`: where surprises are taken.
        chunk_size: Tokens of a chunk, `b`.
    """

    network: Any
    objective: Any
    rule: Any
    anchor: str
    chunk_size: int

    def check(self):
        """Raise a ValueError for choices that exclude each other."""
        if self.anchor == "chunk":
            if self.rule.forget_first:
                raise ValueError(
                    "Argument `forget_first` of `UpdateRule` needs "
                    "`anchor='token'`. Received: anchor='chunk'."
                )
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
        if self.rule.max_surprise is not None:
            raise ValueError(
                "Argument `max_surprise` of `UpdateRule` needs "
                "`anchor='chunk'`. Received: anchor='token'."
            )
