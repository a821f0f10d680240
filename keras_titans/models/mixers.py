"""The mixers of a decoder's blocks: from names and patterns to layers."""

from keras_titans.layers import NeuralMemory
from keras_titans.layers.layer_pattern import check_memory_pattern
from keras_titans.layers.layer_pattern import check_mixer_pattern
from keras_titans.layers.layer_pattern import clone
from keras_titans.layers.layer_pattern import serialized_pattern
from keras_titans.layers.mixers import MIXERS
from keras_titans.layers.mixers import WITH_MEMORY
from keras_titans.layers.mixers import make_mixer
from keras_titans.validation import check_choice


class Mixers:
    """What a model's arguments `mixers` and `memory` say of its blocks.

    Args:
        mixers: One of `MIXERS`, or the pattern of a layer, or a list with one
            of these for each block.
        memory: The pattern of the memories of the mixers that are given by
            name. `None` stands for `NeuralMemory()`.
        num_layers: int. The number of blocks.
    """

    def __init__(self, mixers, memory, num_layers):
        one = not isinstance(mixers, list | tuple)
        if not one and len(mixers) != num_layers:
            raise ValueError(
                "Argument `mixers` must be one mixer, or a list of one for "
                f"each of the `num_layers` layers. Received: {num_layers=}, "
                f"{mixers=}."
            )
        checked = [_checked(mixer) for mixer in ([mixers] if one else mixers)]
        self.given = checked[0] if one else checked
        self.by_layer = checked * num_layers if one else checked
        self.memory = self._memory(memory)

    def _memory(self, memory):
        named = [x for x in self.by_layer if isinstance(x, str)]
        if not any(name in WITH_MEMORY for name in named):
            if memory is not None:
                raise ValueError(
                    "Argument `memory` must be None where `mixers` names no "
                    f"mixer with a memory, which are {', '.join(WITH_MEMORY)}. "
                    f"Received: {memory=}, mixers={self.given!r}."
                )
            return None
        if memory is None:
            return NeuralMemory()
        return check_memory_pattern("memory", memory)

    def make(self, dtype, **options):
        """A new layer for each block.

        Args:
            dtype: Their dtype policy.
            **options: As `make_mixer`'s, for those that are given by name.
        """
        return [
            make_mixer(mixer, self.memory, dtype, **options)
            if isinstance(mixer, str)
            else clone(mixer, "mixer", dtype)
            for mixer in self.by_layer
        ]

    def get_config(self):
        """The arguments `mixers` and `memory`, for a model's configuration."""
        each = self.given if isinstance(self.given, list) else [self.given]
        each = [
            x if isinstance(x, str) else serialized_pattern(x) for x in each
        ]
        return {
            "mixers": each if isinstance(self.given, list) else each[0],
            "memory": serialized_pattern(self.memory),
        }


def _checked(mixer):
    if isinstance(mixer, str):
        return check_choice("mixers", mixer, MIXERS)
    return check_mixer_pattern("mixers", mixer)
