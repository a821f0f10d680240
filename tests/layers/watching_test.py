"""A watched call returns what the call does, and tells what happened in it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import MemoryAsGate
from keras_titans.layers import MemoryAsLayer
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import WindowedAttention
from keras_titans.layers.watching import current_watch
from keras_titans.layers.watching import watching
from tests.helpers import close
from tests.helpers import same

HEADS, WIDTH = 2, 8


def memory(**options):
    return NeuralMemory(HEADS, 4, chunk_size=4, **options)


LAYERS = {
    "memory": memory,
    "slots": lambda: SlotMemory(HEADS, 4, 4),
    "MAC": lambda: MemoryAsContext(HEADS, 4, memory=memory()),
    "MAG": lambda: MemoryAsGate(HEADS, 4, memory=memory()),
    "MAL": lambda: MemoryAsLayer(HEADS, 4, memory=memory()),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def inputs(rows=2, length=6):
    return keras.random.normal((rows, length, WIDTH), seed=1)


def test_returns_what_the_call_returns(layer):
    x = inputs()
    asked = {"return_diagnostics": True, "return_state": True}
    wanted = layer(x, **asked)
    with watching() as watch:
        plain = layer(x)
        found = layer(x, **asked)
    close(found, wanted, 1e-5)
    close(plain, wanted[0], 1e-5)
    assert [seen.layer for seen in watch.calls] == [layer, layer]
    close(watch.calls[1].after, wanted[2], 1e-5)


def test_tells_diagnostics(layer):
    x = inputs()
    mask = np.ones((2, 6), bool)
    mask[0, :2] = mask[1, 3:] = False
    mask = ops.convert_to_tensor(mask)
    with watching() as watch:
        layer(x, mask=mask)
    seen = watch.calls[0]
    _, wanted = layer(x, mask=mask, return_diagnostics=True)
    same(seen.mask, mask)
    real = ops.convert_to_numpy(mask)
    assert {"surprise", "read", "value"} < set(wanted)
    spec = layer.compute_output_spec(
        keras.KerasTensor((2, 6, WIDTH)), return_diagnostics=True
    )
    for name, want in wanted.items():
        found = ops.convert_to_numpy(seen.diagnostics[name])
        close(found[real], ops.convert_to_numpy(want)[real], 1e-5)
        assert spec[1][name].shape == want.shape


def test_what_is_told_was_read_and_written():
    """Slots that all hold one value give back that value."""
    layer = SlotMemory(HEADS, 1, 4, write_rate=0.5, kernel_size=1)
    x = inputs(1, 5)
    layer.build(x.shape)
    _, told = layer(x, return_diagnostics=True)
    rate, read, value = (
        ops.convert_to_numpy(told[name])[0]
        for name in ("write_rate", "read", "value")
    )
    rate = rate[..., None]
    held = np.zeros(value.shape[1:])
    for t in range(5):
        held = (1 - rate[t]) * held + rate[t] * value[t]
        np.testing.assert_allclose(read[t], held, rtol=1e-4, atol=1e-6)


def test_a_state_that_is_kept_is_neither_used_nor_changed():
    layer = memory(stateful=True)
    x = inputs()
    first = layer(x)
    kept = [ops.convert_to_numpy(x) for x in layer.state["memory"]]
    with watching():
        again = layer(x)
        layer(inputs(rows=3))  # of any number of rows
    close(again, first, 1e-5)
    same(list(layer.state["memory"]), kept)


def test_nothing_is_watched_outside_and_no_attention_within():
    layer = WindowedAttention(HEADS, 4)
    with watching() as watch:
        layer(inputs())
        assert current_watch() is watch
    assert current_watch() is None and not watch.calls
    with pytest.raises(RuntimeError), watching():
        raise RuntimeError
    assert current_watch() is None
