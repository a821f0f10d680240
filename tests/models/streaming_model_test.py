"""Pieces from state to state equal the whole, in any functional model."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.layers import WindowedAttention
from keras_titans.layers.token_order import RealTokensFirst
from keras_titans.layers.token_order import TokensInPlace
from keras_titans.models import StreamingModel
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import to_numpy
from tests.helpers import traced

WIDTH = 8
TOKENS = np.random.default_rng(0).integers(1, 20, (2, 23))


def memory(**options):
    return NeuralMemory(2, 4, chunk_size=4, **options)


def mixers():
    return [
        MemoryAsContext(2, segment_length=5, memory=memory()),
        WindowedAttention(2, window_size=3),
        SlotMemory(2, 8, 4),
    ]


def blocks():
    return [TitansBlock(mixer, 12) for mixer in mixers()]


def decoder(mask_zero=False, length=None):
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(20, WIDTH, mask_zero=mask_zero)(tokens)
    for block in blocks():
        x = block(x)
    return randomized(keras.Model(tokens, layers.Dense(7)(x)))


def backbone():
    """KerasHub's form: real tokens are put first, for all of the layers."""
    tokens, real = (
        keras.Input((None,), dtype="int32", name=name)
        for name in ("token_ids", "padding_mask")
    )
    x, slot = RealTokensFirst()(tokens, real)
    x = layers.Embedding(20, WIDTH)(x)
    for block in blocks():
        x = block(x)
    x = TokensInPlace()(x, slot)
    return randomized(
        keras.Model({"token_ids": tokens, "padding_mask": real}, x)
    )


def nested():
    hidden = keras.Input((None, WIDTH))
    body = keras.Model(hidden, TitansBlock(memory(), 12, name="low")(hidden))
    stack = keras.Sequential([layers.Dense(WIDTH), TitansBlock(memory(), 12)])
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    scale = keras.Input((1,), name="scale")
    x = layers.Embedding(20, WIDTH)(tokens)
    x = stack(body(x))
    x = body(x)  # the same memory's weights, another memory
    outputs = {"a": x * scale[:, None], "b": layers.Dense(3)(x)}
    return randomized(keras.Model({"tokens": tokens, "scale": scale}, outputs))


def sequential():
    return randomized(
        keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                layers.Embedding(20, WIDTH),
                TitansBlock(memory(), 12),
            ]
        )
    )


def streamed(model, take, cuts, length=23, **options):
    """Outputs of pieces, joined; the last states."""
    streaming = StreamingModel(model, **options)
    states = streaming.get_initial_state(2)
    parts = []
    for start, stop in zip((0, *cuts), (*cuts, length)):
        *part, states = streaming((take(slice(start, stop)), states))
        parts.append(to_numpy(part[0] if len(part) == 1 else part))
    join = lambda *x: np.concatenate(x, axis=1)
    return keras.tree.map_structure(join, *parts), states


@pytest.mark.parametrize("cuts", [(1, 9, 10), (12,)])
def test_pieces_equal_the_whole(cuts):
    model = decoder()
    have, _ = streamed(model, lambda piece: TOKENS[:, piece], cuts)
    close(have, model(TOKENS), 1e-4)


@pytest.mark.slow_on("tensorflow")
def test_masked_pieces_equal_the_masked_whole():
    model = decoder(mask_zero=True)
    tokens = TOKENS.copy()
    tokens[0, 4:11] = 0
    tokens[1, 15:] = 0
    have, states = streamed(model, lambda piece: tokens[:, piece], (6, 17))
    whole = to_numpy(model(tokens))
    close(have * (tokens > 0)[..., None], whole * (tokens > 0)[..., None], 1e-5)
    _, want = streamed(model, lambda piece: tokens[:, piece], ())
    close(states, want, 1e-5)
    # And the mask does matter.
    unmasked = to_numpy(decoder()(tokens))
    assert np.abs(unmasked - whole).max() > 1e-2


@pytest.mark.parametrize("mask_zero", [False, True])
def test_padded_pieces_equal_pieces_and_few_lengths_are_seen(mask_zero):
    model = decoder(mask_zero)
    plain = StreamingModel(model, return_diagnostics=True)
    padded = StreamingModel(
        model, return_diagnostics=True, pad_to_multiple_of=8
    )
    lengths = set()
    inside = padded.call
    padded.call = lambda x, **options: (
        lengths.add(tuple(x[0].shape)[1]),
        inside(x, **options),
    )[1]
    states = want_states = plain.get_initial_state(2)
    for start, stop in ((0, 3), (3, 12), (12, 20), (20, 23)):
        piece = TOKENS[:, start:stop]
        *want, want_states = plain((piece, want_states))
        *have, states = padded.predict((piece, states), verbose=0)
        close(have, want, ROUNDING)
        close(states, want_states, ROUNDING)
    assert 8 in lengths and lengths <= {8, 16, None}
    twin = StreamingModel.from_config(padded.get_config())
    assert twin.pad_to_multiple_of == 8


def test_padding_cuts_only_what_is_a_sequence():
    model = nested()
    padded = StreamingModel(model, pad_to_multiple_of=16)
    take = lambda piece: {
        "tokens": TOKENS[:, piece],
        "scale": np.full((2, 1), 0.5, "float32"),
    }
    states = want_states = padded.get_initial_state(2)
    (have, _) = padded((take(slice(0, 5)), states))
    (want, _) = StreamingModel(model)((take(slice(0, 5)), want_states))
    close(have, want, 1e-5)


@pytest.fixture
def in_float64():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def test_padding_of_a_backbone_changes_no_state(in_float64):
    # Sums in another order are all that differs, and norms of small vectors
    # make those visible in float32.
    model = backbone()
    real = np.ones_like(TOKENS)
    real[0, :9] = real[0, 12] = real[1, 4:13] = real[1, 20:] = 0
    take = lambda piece: {
        "token_ids": TOKENS[:, piece],
        "padding_mask": real[:, piece],
    }
    have, _ = streamed(model, take, (6, 17))
    whole = to_numpy(model(take(slice(None))))
    close(have * real[..., None], whole * real[..., None], 1e-12)


def test_models_inside_models():
    model = nested()
    scale = np.array([[2.0], [3.0]], "float32")
    take = lambda piece: {"tokens": TOKENS[:, piece], "scale": scale}
    have, states = streamed(model, take, (3, 14))
    assert len(states) == 3
    close(have, model(take(slice(None))), 1e-5)


def test_sequential():
    model = sequential()
    have, _ = streamed(model, lambda piece: TOKENS[:, piece], (8,))
    close(have, model(TOKENS), 1e-5)


def test_a_model_of_one_length_takes_any():
    model = decoder(length=23)
    have, _ = streamed(model, lambda piece: TOKENS[:, piece], (10,))
    close(have, model(TOKENS), 1e-5)


def test_weights_are_the_models():
    model = decoder()
    streaming = StreamingModel(model)
    have = {id(v) for v in streaming.weights}
    assert have == {id(v) for v in model.weights}
    assert len(streaming.weights) == len(model.weights)
    # And the model is what it was.
    copy = keras.Model.from_config(model.get_config())
    assert len(copy.weights) == len(model.weights)


def test_diagnostics_by_layer_and_no_update():
    model = decoder()
    take = lambda piece: TOKENS[:, piece]
    (_, diagnostics), _ = streamed(model, take, (9,), return_diagnostics=True)
    assert sorted(diagnostics) == sorted(
        layer.name
        for layer in model.layers
        if isinstance(layer, TitansBlock) and layer.mixer.has_memory
    )
    for of_layer in diagnostics.values():
        surprise = of_layer["surprise"]
        assert surprise.shape == (2, 23, 2) and np.all(surprise > 0)

    streaming = StreamingModel(model, update=False)
    start = streaming.get_initial_state(2)
    read = lambda model: traced(lambda x: model(x))((TOKENS, start))
    _, states = read(streaming)
    slots = model.layers[-2].name
    close(states[slots]["memory"], start[slots]["memory"], 0.0)
    _, states = read(StreamingModel(model))
    moved = to_numpy(states[slots]["memory"] - start[slots]["memory"])
    assert np.abs(moved).max() > 1e-3


def test_states_that_the_model_returns_itself_stay():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, WIDTH)(tokens)
    layer = memory(return_state=True)
    x, state = layer(x)
    x, diagnostics = memory()(x, return_diagnostics=True)
    model = randomized(keras.Model(tokens, [x, diagnostics, state["memory"]]))
    streaming = StreamingModel(model)
    start = streaming.get_initial_state(2)
    outputs, states = streaming((TOKENS, start))
    close(outputs, model(TOKENS), 1e-5)
    close(outputs[2], states[layer.name]["memory"], 0.0)


def test_config_round_trip(tmp_path):
    model = StreamingModel(decoder(), return_diagnostics=True, name="stream")
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    start = model.get_initial_state(2)
    close(again((TOKENS, start)), model((TOKENS, start)), 1e-6)
    assert again.name == "stream"


def test_predict_takes_and_returns_states():
    model = decoder()
    streaming = StreamingModel(model)
    states = to_numpy(streaming.get_initial_state(2))
    outputs, states = streaming.predict_on_batch((TOKENS[:, :9], states))
    more, _ = streaming.predict_on_batch((TOKENS[:, 9:], states))
    close(np.concatenate([outputs, more], 1), model(TOKENS), 1e-5)


class Wrapped(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inside = memory()

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inside = memory()

    def call(self, x):
        return self.inside(x)


def functional(layer, **options):
    inputs = keras.Input((None, WIDTH), **options)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: functional(layers.Dense(3)), "at least one `keras_titans`"),
        (Subclassed, "functional model or a sequential one"),
        (lambda: functional(Wrapped()), "has memories inside"),
        (
            lambda: functional(memory(stateful=True), batch_size=2),
            "keeps its state to itself",
        ),
        (lambda: keras.Sequential([memory()]), "that is built"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        StreamingModel(make())
