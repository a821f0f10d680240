"""Memories whose heads share the model's width, as an attention's do."""


def memory_of(mixer, dim, heads):
    """The memory of a mixer that is given by name; None for attention.

    Args:
        mixer: One of the names that a `TitansBlock` takes.
        dim: Width of the model.
        heads: Heads of the memory.
    """
    from keras_titans.layers import NeuralMemory

    if mixer == "attention":
        return None
    return NeuralMemory(heads, head_dim=dim // heads)
