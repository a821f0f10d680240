"""Named sizes of language models, and the configurations that they stand for.

The paper names its models by their number of weights and says no more. Depths,
widths and heads of the large ones are those of the same group's later papers;
what is left for the multilayer perceptrons follows from the name.
"""

import math

from keras_titans.models.mixers import Mixers
from keras_titans.validation import check_choice

# Blocks, width, heads, vocabulary, and the weights that the name stands for.
SIZES = {
    "titans_1m": (4, 128, 2, 259, 1e6),
    "titans_5m": (4, 256, 4, 259, 5e6),
    "titans_20m": (8, 384, 6, 8_192, 20e6),
    "titans_60m": (12, 512, 8, 16_384, 60e6),
    "titans_170m": (12, 768, 16, 32_000, 170e6),
    "titans_340m": (24, 1024, 16, 32_000, 340e6),
    "titans_400m": (24, 1024, 16, 32_000, 400e6),
    "titans_760m": (24, 1536, 16, 32_000, 760e6),
}
# So that an odd width costs no accelerator a padded tile.
MULTIPLE = 32


def default_num_heads(hidden_dim):
    """Heads of 64 channels, or of as few more as divide the width."""
    most = max(1, hidden_dim // 64)
    return next(heads for heads in range(most, 0, -1) if not hidden_dim % heads)


def default_intermediate_dim(hidden_dim):
    """As many weights as a perceptron four times as wide without a gate."""
    return math.ceil(8 * hidden_dim / 3 / MULTIPLE) * MULTIPLE


def config_of_size(size, mixers="MAC", memory=None):
    """The arguments of a `TitansBackbone` of a named size.

    Args:
        size: str. One of the names in `SIZES`, such as `"titans_170m"`.
        mixers, memory: As `TitansBackbone`'s. Whatever they are, the
            multilayer perceptrons are as wide as makes up the number in the
            name.

    Returns:
        A dictionary.
    """
    check_choice("size", size, SIZES)
    num_layers, width, num_heads, vocabulary, weights = SIZES[size]
    made = Mixers(mixers, memory, num_layers)
    # Embeddings and mixers; the rest is below a percent.
    weights -= vocabulary * width
    weights -= mixer_weights(made, width, num_heads=num_heads, window_size=1)
    each = weights / (3 * num_layers * width)
    return {
        "vocabulary_size": vocabulary,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": width,
        "intermediate_dim": max(1, round(each / MULTIPLE)) * MULTIPLE,
        "mixers": mixers,
        "memory": memory,
        "tie_word_embeddings": True,
    }


def mixer_weights(mixers, width, **options):
    """The number of weights of a model's mixers together.

    Args:
        mixers: `Mixers`.
        width: int. The model's width.
        **options: As `Mixers.make`'s.
    """
    total, counts = 0, {}
    layers = mixers.make(None, **options)
    for given, layer in zip(mixers.by_layer, layers, strict=True):
        key = given if isinstance(given, str) else id(given)
        if key not in counts:  # its weights are made to be counted
            layer.build((None, None, width))
            counts[key] = layer.count_params()
        total += counts[key]
    return total
