"""The mixers of a Titans decoder's blocks, by name."""

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import WindowedAttention
from keras_titans.validation import check_choice

UNIONS = {"MAC": MemoryAsContext, "MAG": MemoryAsGate, "MAL": MemoryAsLayer}
MIXERS = (*UNIONS, "LMM", "attention")


def mixers_by_layer(mixers, num_layers):
    """One mixer's name for each layer, from one for all or a list."""
    names = [mixers] * num_layers if isinstance(mixers, str) else mixers
    if not isinstance(names, list | tuple) or len(names) != num_layers:
        raise ValueError(
            "Argument `mixers` must be one name, or a list of one for each of "
            f"the `num_layers` layers. Received: num_layers={num_layers}, "
            f"mixers={mixers!r}."
        )
    return [check_choice("mixers", name, MIXERS) for name in names]


def make_mixer(name, attention, memory, num_persistent_tokens, dtype):
    """A mixer by name, with the options of the attention and the memory."""
    options = {"dtype": dtype, "name": name.lower()}
    if name == "attention":
        return WindowedAttention(**attention, **options)
    if name == "LMM":
        return NeuralMemory(**memory, **options)
    attention = dict(attention)
    if name == "MAC":
        attention["segment_length"] = attention.pop("window_size")
    return UNIONS[name](
        **attention,
        memory=NeuralMemory(**memory, dtype=dtype, name="memory"),
        num_persistent_tokens=num_persistent_tokens,
        **options,
    )
