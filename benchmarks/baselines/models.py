"""Whole models that differ in their mixer of tokens alone, at equal size."""

import keras

from benchmarks.baselines.full_attention import FullAttention
from benchmarks.baselines.gated_delta import GatedDelta
from benchmarks.baselines.gated_linear_rnn import GatedLinearRNN
from benchmarks.baselines.mamba2 import Mamba2
from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from keras_titans.validation import check_choice
from keras_titans.validation import check_positive_integer


def _union(layer):
    def make(
        num_heads,
        window_size,
        dtype,
        num_persistent_tokens=4,
        **memory_options,
    ):
        return layer(
            num_heads,
            window_size,
            memory=NeuralMemory(num_heads, dtype=dtype, **memory_options),
            num_persistent_tokens=num_persistent_tokens,
            dtype=dtype,
        )

    return make


def _windowless(layer):
    return lambda num_heads, window_size, **options: layer(num_heads, **options)


MIXERS = {
    "MAC": _union(MemoryAsContext),
    "MAG": _union(MemoryAsGate),
    "MAL": _union(MemoryAsLayer),
    "LMM": _windowless(NeuralMemory),
    "slots": _windowless(SlotMemory),
    "transformer": _windowless(FullAttention),
    "window": WindowedAttention,
    "rg-lru": _windowless(GatedLinearRNN),
    "mamba-2": _windowless(Mamba2),
    "gated-delta": _windowless(GatedDelta),
}


def language_model(
    mixer_name,
    vocabulary_size,
    hidden_dim,
    num_layers,
    num_heads,
    window_size,
    parameters=None,
    dtype=None,
    **mixer_options,
):
    """A decoder of token ids, with input and output embedding tied.

    Each block is a `TitansBlock`: norm, mixer, residual, norm, SwiGLU,
    residual. After the last stands a norm.

    Args:
        mixer_name: One of `MIXERS`.
        vocabulary_size: Number of tokens.
        hidden_dim: Width of the model.
        num_layers: Number of blocks.
        num_heads: Heads of each mixer.
        window_size: Tokens of a window or segment, where there is one.
        parameters: How many weights the model shall have, to within a
            percent: the multilayer perceptrons are as wide as makes up for
            the mixers. By default they are 8/3 of `hidden_dim` wide.
        dtype: The dtype policy of all layers.
        **mixer_options: Further arguments of the mixer; of its memory, for
            MAC, MAG and MAL, but for `num_persistent_tokens`.

    Returns:
        A `keras.Model` from `(batch, length)`, int32, to logits `(batch,
        length, vocabulary_size)`.
    """
    check_positive_integer("vocabulary_size", vocabulary_size)
    check_positive_integer("hidden_dim", hidden_dim)
    embedding = keras.layers.ReversibleEmbedding(
        vocabulary_size,
        hidden_dim,
        # The logits' standard deviation is 1 at the start.
        embeddings_initializer=keras.initializers.RandomNormal(
            stddev=hidden_dim**-0.5
        ),
        dtype=dtype,
        name="embedding",
    )
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = embedding(tokens)
    x = _decoder(
        x,
        _mixers(
            mixer_name, num_layers, num_heads, window_size, dtype, mixer_options
        ),
        parameters,
        embedding.count_params(),
        dtype,
    )
    return keras.Model(tokens, embedding(x, reverse=True))


def vector_model(
    mixer_name,
    channels,
    outputs,
    hidden_dim,
    num_layers,
    num_heads,
    window_size,
    parameters=None,
    dtype=None,
    **mixer_options,
):
    """`language_model`'s decoder between two dense maps.

    For series and for classes: what stands at the last token has seen all.

    Args:
        mixer_name: One of `MIXERS`.
        channels: Width of the inputs.
        outputs: Width of the outputs.
        hidden_dim, num_layers, num_heads, window_size, parameters, dtype,
            **mixer_options: As `language_model`'s.

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
    vectors = keras.Input((None, channels), name="vectors")
    front = keras.layers.Dense(hidden_dim, dtype=dtype, name="front")
    head = keras.layers.Dense(outputs, dtype=dtype, name="head")
    head.build((None, None, hidden_dim))
    x = front(vectors)
    x = _decoder(
        x,
        _mixers(
            mixer_name, num_layers, num_heads, window_size, dtype, mixer_options
        ),
        parameters,
        front.count_params() + head.count_params(),
        dtype,
    )
    return keras.Model(vectors, head(x))


def _mixers(name, num_layers, num_heads, window_size, dtype, options):
    check_choice("mixer_name", name, MIXERS)
    check_positive_integer("num_layers", num_layers)
    return [
        MIXERS[name](num_heads, window_size, dtype=dtype, **options)
        for _ in range(num_layers)
    ]


def _decoder(x, mixers, parameters, parameters_outside, dtype):
    """Blocks around the mixers, and a norm."""
    hidden_dim = x.shape[-1]
    intermediate_dim = 8 * hidden_dim // 3
    if parameters is not None:
        for mixer in mixers:
            mixer.build(x.shape)
        norms = (2 * len(mixers) + 1) * hidden_dim
        fixed = sum(mixer.count_params() for mixer in mixers) + norms
        fixed += parameters_outside
        per_unit = 3 * hidden_dim * len(mixers)
        intermediate_dim = round((parameters - fixed) / per_unit)
        if intermediate_dim < 1:
            raise ValueError(
                "Argument `parameters` must leave room for multilayer "
                f"perceptrons: at least {fixed + per_unit}. "
                f"Received: parameters={parameters}."
            )
    for i, mixer in enumerate(mixers):
        block = TitansBlock(
            mixer, intermediate_dim, dtype=dtype, name=f"block_{i}"
        )
        x = block(x)
    return keras.layers.RMSNormalization(dtype=dtype, name="output_norm")(x)
