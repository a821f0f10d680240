"""JAX outside of compiled functions: what was compiled once is enough."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans import backend
from keras_titans import layers
from tests.backend.backend_test import CARRY
from tests.backend.backend_test import SHARED
from tests.backend.backend_test import loss
from tests.backend.backend_test import step
from tests.backend.backend_test import tensors
from tests.helpers import close
from tests.helpers import gradient

if keras.backend.backend() != "jax":
    pytest.skip("JAX's own", allow_module_level=True)

import jax

from keras_titans.backend.jax_loop import FEW_STEPS

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations():
    """A list that grows by one whenever something is compiled."""
    found = []

    def listen(event, duration, **about):
        if event == COMPILED:
            found.append(about)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


LAYERS = {
    "memory": lambda: layers.NeuralMemory(
        2, 4, chunk_size=4, return_state=True
    ),
    "slots": lambda: layers.SlotMemory(2, 8, 4, return_state=True),
    "MAC": lambda: layers.MemoryAsContext(2, 4, return_state=True),
    "MAG": lambda: layers.MemoryAsGate(2, 4, return_state=True),
    "MAL": lambda: layers.MemoryAsLayer(2, 4, return_state=True),
}


@pytest.mark.parametrize(
    "name",
    [
        "memory",
        "slots",
        "MAC",
        pytest.param("MAG", marks=pytest.mark.slow),
        pytest.param("MAL", marks=pytest.mark.slow),
    ],
)
def test_a_second_eager_call_compiles_nothing(name, compilations):
    layer = LAYERS[name]()
    x = keras.random.normal((2, 10, 8))

    def read():
        state = layer.get_initial_state(2) if layer.built else None
        for _ in range(2):
            _, state = layer(x, initial_state=state)

    read()
    assert compilations
    read()
    compilations.clear()
    read()
    assert not compilations


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("count", [1, FEW_STEPS, FEW_STEPS + 1])
def test_few_steps_and_many(count, remat):
    """Run one by one or compiled, they are what a compiled function has."""
    rng = np.random.default_rng(count)
    xs = (rng.normal(size=(count, 3, 2)), [rng.normal(size=(count, 2))])
    carry, xs, shared = tensors((CARRY, xs, SHARED))

    def scanned(*arguments):
        return backend.scan(step, *arguments, remat)

    def total(*arguments):
        return loss(scanned(*arguments))

    for function in (scanned, lambda *a: gradient(total, a)):
        eager = function(carry, xs, shared)
        close(eager, jax.jit(function)(carry, xs, shared), 1e-10)


def test_what_many_steps_took_to_compile_is_dropped(compilations):
    def run():
        double = lambda carry, x, shared: (carry * 2.0, x)
        backend.scan(
            double, ops.ones(()), ops.ones((FEW_STEPS + 1,)), remat=False
        )

    executables = lambda: len(jax.devices()[0].client.live_executables())
    run()
    compilations.clear()
    before = executables()
    run()
    assert len(compilations) == 1
    assert executables() <= before
