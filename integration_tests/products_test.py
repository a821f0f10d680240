"""No product that TensorFlow computes broadcasts a batch dimension.

One that broadcasts a dimension of 1 corrupts memory or is wrong (TensorFlow
2.21 with oneDNN, tensorflow#123109), and with one thread it seems right. So
the products are counted, and not what comes out.
"""

import contextlib
import functools

import keras
import pytest
from keras import ops

from keras_titans import backend
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import Titans
from keras_titans.models import TitansBackbone
from keras_titans.models.mixers import MIXERS
from tests.helpers import gradient

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow alone"
)

ROWS, WIDTH = 3, 8


def sizes_by_index(equation, shapes):
    """The sizes that an einsum's operands have at each index."""
    sizes = {}
    for labels, shape in zip(equation.split("->")[0].split(","), shapes):
        first, _, last = labels.partition("...")
        many = len(shape) - len(first) - len(last)
        batch = [f"batch {i - many}" for i in range(many)]
        for index, size in zip([*first, *batch, *last], shape, strict=True):
            sizes.setdefault(index, []).append(size)
    return sizes


def broadcasts(kind, attributes, shapes):
    """Whether the operands' batch dimensions differ or are unknown."""
    if kind == "Einsum" and len(shapes) > 1:
        equation = attributes["equation"]
        equation = getattr(equation, "s", equation)
        if isinstance(equation, bytes):
            equation = equation.decode()
        sizes = sizes_by_index(equation, shapes)
        alone = [
            index.startswith("batch") and len(found) < len(shapes)
            for index, found in sizes.items()
        ]
        known = [len({*found}) == 1 for found in sizes.values()]
        return any(alone) or not all(known)
    if "MatMul" in kind:
        first, second = (shape[:-2] for shape in shapes[:2])
        return first != second or None in first
    return False


@contextlib.contextmanager
def recorded():
    """The products of all operations, run or traced, in loops' bodies too.

    Yields:
        Two lists that fill up: all products, and those that broadcast.
    """
    from tensorflow.python.framework import op_callbacks

    products, broadcast = [], []

    def see(kind, inputs, attributes, outputs, op_name=None, graph=None):
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind != "Einsum" and "MatMul" not in kind:
            return
        attributes = dict(zip(attributes[::2], attributes[1::2], strict=True))
        product = (kind, *(tuple(x.shape) for x in inputs))
        products.append(product)
        if broadcasts(kind, attributes, product[1:]):
            broadcast.append(product)

    op_callbacks.add_op_callback(see)
    try:
        yield products, broadcast
    finally:
        op_callbacks.remove_op_callback(see)


def trace(fn, *arguments):
    import tensorflow as tf

    tf.function(fn, autograph=False).get_concrete_function(*arguments)


def test_a_broadcast_is_seen():
    x, w = ops.ones((2, 1, 4, 4)), ops.ones((1, 4, 4))

    def step(x, _, w):
        x = ops.matmul(x, w)
        return x, x

    def loss(remat, x, w):
        y, _ = backend.scan(step, x, ops.ones((2, 1)), w, remat)
        return ops.sum(y)

    for remat in (True, False):
        run = functools.partial(loss, remat)
        with recorded() as (_, broadcast):
            trace(lambda *args, run=run: gradient(run, args), x, w)
        assert ("BatchMatMulV2", (2, 1, 4, 4), (1, 4, 4)) in broadcast
        assert len(broadcast) > 1  # in the backward pass too
    with recorded() as (products, broadcast):
        ops.einsum("...ij,...jk->...ik", x, w)
    assert broadcast == products != []


def memories(heads):
    yield NeuralMemory(heads, WIDTH // heads, chunk_size=4)
    yield NeuralMemory(heads, WIDTH // heads, chunk_size=4, memory_depth=2)
    yield NeuralMemory(
        heads,
        WIDTH // heads,
        chunk_size=4,
        network=GatedMLPMemory(),
        anchor="chunk",
        update_rule=Titans(clipnorm=1.0),
        read_first=True,
        remat=False,
    )
    yield SlotMemory(heads, 8, WIDTH // heads)
    yield SlotMemory(heads, 8, WIDTH // heads, top_k=2)


@pytest.mark.parametrize("heads", [1, 2])
def test_memories(heads):
    x = ops.ones((ROWS, 11, WIDTH))
    for layer in memories(heads):
        layer.build(x.shape)

        def loss(values, x):
            y, _ = layer.stateless_call(values, [], x, training=True)
            return ops.sum(y**2)

        def step(x, state):
            read = layer(x, initial_state=state, update=False)
            return read, layer(x, initial_state=state, return_state=True)

        weights = [w.value for w in layer.trainable_variables]
        with recorded() as (products, broadcast):
            trace(lambda *args: gradient(loss, args), weights, x)
            trace(step, x[:, :1], layer.get_initial_state(ROWS))
        assert products and not broadcast


@pytest.mark.parametrize("heads", [1, 2])
def test_a_model_of_all_mixers(heads):
    """Attention, persistent tokens and memories in all of their places."""
    model = TitansBackbone(
        vocabulary_size=11,
        num_layers=len(MIXERS),
        num_heads=heads,
        hidden_dim=WIDTH,
        intermediate_dim=WIDTH,
        mixers=MIXERS,
        memory=NeuralMemory(heads, WIDTH // heads, chunk_size=4),
        window_size=4,
    )
    ids = ops.ones((ROWS, 11), "int32")

    def loss(values):
        inputs = {"token_ids": ids, "padding_mask": ids}
        y, _ = model.stateless_call(
            values,
            [w.value for w in model.non_trainable_variables],
            inputs,
            training=True,
        )
        return ops.sum(y**2)

    weights = [w.value for w in model.trainable_variables]
    with recorded() as (products, broadcast):
        trace(lambda *args: gradient(loss, args), weights)
        trace(model.stream, ids[:, :1], model.get_initial_state(ROWS))
    assert products and not broadcast
