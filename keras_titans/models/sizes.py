"""Named sizes of language models, and the configurations that they stand for.

The paper names its models by their number of weights and says no more. Depths,
widths and heads of the large ones are those of the same group's later papers;
what is left for the multilayer perceptrons follows from the name.
"""

from keras_titans.models.mixers import mixers_by_layer
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


def config_of_size(size, mixers="MAC"):
    """The arguments of a `TitansBackbone` of a named size.

    Args:
        size: One of the names in `SIZES`, such as `"titans_170m"`.
        mixers: As `TitansBackbone`'s. Whatever they are, the multilayer
            perceptrons are as wide as makes up the number in the name.

    Returns:
        A dictionary.
    """
    check_choice("size", size, SIZES)
    num_layers, width, num_heads, vocabulary, weights = SIZES[size]
    # Embeddings, projections and fast weights; the rest is below a percent.
    weights -= vocabulary * width
    for mixer in mixers_by_layer(mixers, num_layers):
        if mixer != "LMM":
            weights -= 4 * width**2
        if mixer != "attention":
            weights -= 5 * width**2 + 8 * width * (width // num_heads)
    each = weights / (3 * num_layers * width)
    return {
        "vocabulary_size": vocabulary,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": width,
        "intermediate_dim": max(1, round(each / MULTIPLE)) * MULTIPLE,
        "mixers": mixers,
        "tie_word_embeddings": True,
    }
