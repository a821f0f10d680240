"""Whole models that differ in their mixer of tokens alone, at equal size.

Each is a `keras_titans.models.TitansBackbone`; the baselines stand in it as
patterns.
"""

import keras

from benchmarks.baselines.full_attention import FullAttention
from benchmarks.baselines.gated_delta import GatedDelta
from benchmarks.baselines.gated_linear_rnn import GatedLinearRNN
from benchmarks.baselines.mamba2 import Mamba2
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.models import TitansBackbone
from keras_titans.models.mixers import Mixers
from keras_titans.models.sizes import mixer_weights
from keras_titans.validation import check_choice
from keras_titans.validation import check_positive_integer

# By name: the backbone's mixer, and the memory in it. A class is given the
# number of heads and the mixer's options.
MIXERS = {
    "MAC": ("MAC", NeuralMemory),
    "MAG": ("MAG", NeuralMemory),
    "MAL": ("MAL", NeuralMemory),
    "LMM": ("LMM", NeuralMemory),
    "slots": ("LMM", SlotMemory),
    "transformer": (FullAttention, None),
    "window": ("attention", None),
    "rg-lru": (GatedLinearRNN, None),
    "mamba-2": (Mamba2, None),
    "gated-delta": (GatedDelta, None),
}


def language_model(mixer_name, vocabulary_size, hidden_dim, **options):
    """A decoder of token ids, with input and output embedding tied.

    Args:
        mixer_name: One of `MIXERS`.
        vocabulary_size: Number of tokens.
        hidden_dim: Width of the model.
        **options: As `backbone`'s.

    Returns:
        A `keras.Model` from `(batch, length)`, int32, to logits `(batch,
        length, vocabulary_size)`.
    """
    check_positive_integer("vocabulary_size", vocabulary_size)
    check_positive_integer("hidden_dim", hidden_dim)
    model = backbone(
        mixer_name,
        vocabulary_size,
        hidden_dim,
        weights_outside=vocabulary_size * hidden_dim,
        **options,
    )
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = _decoded(model, model.token_embedding(tokens))
    return keras.Model(tokens, model.token_embedding(x, reverse=True))


def vector_model(mixer_name, channels, outputs, hidden_dim, **options):
    """`language_model`'s decoder between two dense maps.

    For series and for classes: what stands at the last token has seen all.

    Args:
        mixer_name: One of `MIXERS`.
        channels: Width of the inputs.
        outputs: Width of the outputs.
        hidden_dim: Width of the model.
        **options: As `backbone`'s.

    Returns:
        A `keras.Model` from `(batch, length, channels)` to `(batch, length,
        outputs)`.
    """
    for name, value in (
        ("channels", channels),
        ("outputs", outputs),
        ("hidden_dim", hidden_dim),
    ):
        check_positive_integer(name, value)
    dtype = options.get("dtype")
    vectors = keras.Input((None, channels), name="vectors")
    front = keras.layers.Dense(hidden_dim, dtype=dtype, name="front")
    head = keras.layers.Dense(outputs, dtype=dtype, name="head")
    x = front(vectors)
    head.build(x.shape)
    model = backbone(
        mixer_name,
        1,  # whose embedding is left out
        hidden_dim,
        weights_outside=front.count_params() + head.count_params(),
        **options,
    )
    return keras.Model(vectors, head(_decoded(model, x)))


def backbone(
    mixer_name,
    vocabulary_size,
    hidden_dim,
    num_layers,
    num_heads,
    window_size,
    parameters=None,
    weights_outside=0,
    dtype=None,
    num_persistent_tokens=4,
    **mixer_options,
):
    """The `TitansBackbone` around a mixer.

    Args:
        mixer_name: One of `MIXERS`.
        vocabulary_size: Number of tokens.
        hidden_dim: Width of the model.
        num_layers: Number of blocks.
        num_heads: Heads of each mixer, and of its memory unless
            `memory_heads` is among its options.
        window_size: Tokens of a window or segment, where there is one.
        parameters: How many weights the model shall have, to within a
            percent: the multilayer perceptrons are as wide as makes up for
            the mixers. By default they are 8/3 of `hidden_dim` wide.
        weights_outside: Weights of the model beside blocks and norms.
        dtype: The dtype policy of all layers.
        num_persistent_tokens: Of MAC, MAG and MAL.
        **mixer_options: Further arguments of the mixer; of its memory, if it
            has one.
    """
    check_choice("mixer_name", mixer_name, MIXERS)
    check_positive_integer("num_layers", num_layers)
    mixer, memory = MIXERS[mixer_name]
    options = {
        "num_heads": num_heads,
        "window_size": window_size,
        "num_persistent_tokens": num_persistent_tokens,
    }
    if memory is not None:
        heads = mixer_options.pop("memory_heads", num_heads)
        head_dim = hidden_dim // num_heads
        memory = memory(heads, **{"head_dim": head_dim, **mixer_options})
    elif isinstance(mixer, str):
        options |= mixer_options
    else:
        mixer = mixer(num_heads, **mixer_options)
    intermediate_dim = 8 * hidden_dim // 3
    if parameters is not None:
        mixers = Mixers(mixer, memory, num_layers)
        fixed = mixer_weights(mixers, hidden_dim, **options)
        fixed += (2 * num_layers + 1) * hidden_dim + weights_outside
        per_unit = 3 * hidden_dim * num_layers
        intermediate_dim = round((parameters - fixed) / per_unit)
        if intermediate_dim < 1:
            raise ValueError(
                "Argument `parameters` must leave room for multilayer "
                f"perceptrons: at least {fixed + per_unit}. "
                f"Received: parameters={parameters}."
            )
    return TitansBackbone(
        vocabulary_size,
        num_layers,
        hidden_dim,
        intermediate_dim=intermediate_dim,
        mixers=mixer,
        memory=memory,
        tie_word_embeddings=True,
        dtype=dtype,
        **options,
    )


def _decoded(model, x):
    """The backbone's blocks and norm, without the work for padding."""
    for block in model.transformer_layers:
        x = block(x)
    return model.layer_norm(x)
