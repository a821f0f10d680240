"""The rows of a batch do not know of each other, with a single head too."""

import numpy as np
import pytest
from keras import ops

from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import gradient
from tests.helpers import to_numpy

ROWS, LENGTH, WIDTH = 2, 40, 16
MEMORIES = {
    "matrix": lambda: NeuralMemory(1, WIDTH, memory_depth=1, chunk_size=16),
    "slots": lambda: SlotMemory(1, 8, WIDTH),
}
RUN = {"eager": lambda fn: fn, "compiled": compiled}


@pytest.mark.parametrize("run", RUN)
@pytest.mark.parametrize("memory", MEMORIES)
def test_rows_are_as_each_alone(memory, run):
    layer = MEMORIES[memory]()
    layer.build((None, None, WIDTH))
    weights = [w.value for w in layer.trainable_variables]

    def outputs(weights, x):
        return layer.stateless_call(weights, [], x, training=True)[0]

    def loss(weights, x):
        return ops.sum(outputs(weights, x) ** 2)

    @RUN[run]
    def both(weights, x):
        return outputs(weights, x), gradient(loss, (weights, x))

    x = np.random.default_rng(0).normal(size=(ROWS, LENGTH, WIDTH))
    x = ops.convert_to_tensor(x, "float32")
    y, (*by_weights, by_x) = to_numpy(both(weights, x))
    alone = [to_numpy(both(weights, x[r : r + 1])) for r in range(ROWS)]
    close(y, np.concatenate([one for one, _ in alone]), 1e-4)
    close(by_x, np.concatenate([found[-1] for _, found in alone]), 1e-4)
    for i, have in enumerate(by_weights):
        close(have, sum(found[i] for _, found in alone), 1e-4)
