"""The scan against a Python loop; the inner gradient and its own gradient."""

import gc

import keras
import numpy as np
import pytest
from keras import ops
from keras import tree

from keras_titans import backend
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy

ROWS, STEPS = 3, 5
RNG = np.random.default_rng(0)
CARRY = {"a": RNG.normal(size=(ROWS, 2)), "b": [RNG.normal(size=(2,))]}
XS = (RNG.normal(size=(STEPS, ROWS, 2)), [RNG.normal(size=(STEPS, 2))])
SHARED = [RNG.normal(size=(2, 2)), RNG.normal(size=(2,))]


def step(carry, x, shared):
    a = ops.tanh(ops.matmul(carry["a"], shared[0]) + x[0])
    b = carry["b"][0] * shared[1] + ops.mean(x[0], axis=0) * x[1][0]
    # Of another shape and structure than the carry.
    y = (ops.sum(a * b, axis=-1), [ops.sin(b)], ())
    return {"a": a, "b": [b]}, y


def tensors(structure):
    return tree.map_structure(
        lambda x: ops.convert_to_tensor(x, "float64"), structure
    )


def loop(carry, xs, shared):
    """What `scan` must be."""
    ys = []
    for i in range(len(xs[0])):
        x = tree.map_structure(lambda column: column[i], xs)
        carry, y = step(carry, x, shared)
        ys.append(y)
    return carry, tree.map_structure(lambda *y: ops.stack(y), *ys)


def loss(outputs):
    """Every output with weights of its own."""
    total = 0.0
    for i, x in enumerate(tree.flatten(outputs)):
        n = int(np.prod(x.shape))
        weights = np.cos(np.arange(n) + i).reshape(tuple(x.shape))
        total = total + ops.sum(x * ops.convert_to_tensor(weights))
    return total


@pytest.mark.parametrize("remat", [False, True])
def test_scan_equals_a_loop(run_mode, remat):
    arguments = tensors((CARRY, XS, SHARED))
    run = run_mode(lambda *args: backend.scan(step, *args, remat))
    have = run(*arguments)
    wanted = loop(*arguments)
    tree.assert_same_structure(have, wanted)
    close(have, wanted, 1e-12)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_equal_a_loops(run_mode, remat):
    arguments = tensors((CARRY, XS, SHARED))
    scanned = lambda *args: loss(backend.scan(step, *args, remat))
    have = run_mode(lambda *args: gradient(scanned, args))(*arguments)
    wanted = gradient(lambda *args: loss(loop(*args)), arguments)
    for a, b in zip(have, wanted, strict=True):
        assert np.abs(to_numpy(b)).max() > 1e-3
        close(a, b, 1e-11)


@pytest.mark.parametrize("remat", [False, True])
def test_one_tensor_in_two_places(run_mode, remat):
    """Each place has a gradient of its own: nothing is counted twice."""

    def twice(x, by):
        def both(carry, x, shared):
            a, b = carry
            return (a * x, b + x * shared), a + b

        last, ys = backend.scan(both, (by, by), x, by, remat)
        return loss((last, ys))

    def written(x, by):
        a = b = by
        ys = []
        for i in range(STEPS):
            ys.append(a + b)
            a, b = a * x[i], b + x[i] * by
        return loss(((a, b), ops.stack(ys)))

    arguments = tensors((XS[1][0], SHARED[1]))
    have = run_mode(lambda *args: gradient(twice, args))(*arguments)
    close(have, gradient(written, arguments), 1e-11)


@pytest.mark.parametrize("remat", [False, True])
def test_what_nothing_depends_on_has_no_gradient(remat):
    def idle(carry, x, shared):
        return carry, x

    run = lambda *args: loss(backend.scan(idle, *args, remat)[0])
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch asks to be told of unused inputs")
    have = gradient(run, tensors((SHARED[1], XS[0], SHARED)))
    for a in have[1:]:
        assert a is None or np.all(to_numpy(a) == 0.0)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("remat", [False, True])
def test_number_of_steps_known_at_run_time_only(remat, xla):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has such tensors")
    import tensorflow as tf

    def run(*args):
        scanned = lambda *a: loss(
            tree.map_structure(
                lambda x: ops.sum(x, axis=0), backend.scan(step, *a, remat)
            )
        )
        return gradient(scanned, args)

    spec = lambda x: tf.TensorSpec((None, *x.shape[1:]), "float64")
    fixed = lambda x: tf.TensorSpec(x.shape, "float64")
    carry, xs, shared = tensors((CARRY, XS, SHARED))
    traced = tf.function(
        run,
        jit_compile=xla,
        autograph=False,
        input_signature=[
            tree.map_structure(fixed, carry),
            tree.map_structure(spec, xs),
            tree.map_structure(fixed, shared),
        ],
    )
    for count in (STEPS, 2, 1):
        some = tree.map_structure(lambda x: x[:count], xs)
        wanted = gradient(
            lambda *a: loss(
                tree.map_structure(lambda x: ops.sum(x, axis=0), loop(*a))
            ),
            (carry, some, shared),
        )
        close(traced(carry, some, shared), wanted, 1e-11)
    assert traced.experimental_get_tracing_count() == 1


def cubic(x, w):
    return ops.sum(ops.tanh(ops.matmul(x, w)) ** 3, axis=-1)


def test_vjp(run_mode):
    x, w = tensors((XS[0][0], SHARED[0]))
    v = ops.convert_to_tensor([1.0, -2.0, 0.5], "float64")

    def run(x, w, v):
        value, pullback = backend.vjp(cubic, x, w)
        return value, pullback(v)

    value, (d_x, d_w) = run_mode(run)(x, w, v)
    close(value, cubic(x, w), 1e-12)
    at = lambda x, w: float(np.sum(to_numpy(cubic(x, w)) * to_numpy(v)))
    rng = np.random.default_rng(1)
    for i, (a, found) in enumerate([(x, d_x), (w, d_w)]):
        by = 1e-5 * rng.normal(size=a.shape)
        ends = [
            at(*(y + s * by if j == i else y for j, y in enumerate((x, w))))
            for s in (1.0, -1.0)
        ]
        slope = (ends[0] - ends[1]) / 2.0
        assert abs(slope - np.sum(to_numpy(found) * by)) < 1e-12


@pytest.mark.parametrize("remat", [False, True])
def test_vjp_inside_a_scan_can_be_differentiated(run_mode, remat):
    """As an inner gradient is, by the outer one."""

    def inner(carry, x, shared):
        _, pullback = backend.vjp(lambda w: cubic(x, w), carry)
        (surprise,) = pullback(ops.ones_like(x[:, 0]))
        return carry - shared * surprise, surprise

    def run(carry, xs, shared):
        return loss(backend.scan(inner, carry, xs, shared, remat))

    arguments = tensors((SHARED[0], XS[0], SHARED[1]))
    found = run_mode(lambda *args: gradient(run, args))(*arguments)
    rng = np.random.default_rng(2)
    for i, g in enumerate(found):
        by = 1e-5 * rng.normal(size=g.shape)
        ends = [
            float(
                to_numpy(
                    run(
                        *(
                            x + s * by if j == i else x
                            for j, x in enumerate(arguments)
                        )
                    )
                )
            )
            for s in (1.0, -1.0)
        ]
        slope = (ends[0] - ends[1]) / 2.0
        assert abs(slope - np.sum(to_numpy(g) * by)) < 1e-10


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)
def test_an_eager_loop_leaves_no_graph_behind():
    """TensorFlow never frees the graph of a custom gradient, as silu's."""
    from tensorflow.python.framework.func_graph import FuncGraph

    def graphs():
        gc.collect()
        return sum(isinstance(found, FuncGraph) for found in gc.get_objects())

    before = graphs()
    active = lambda carry, x, shared: step(
        {"a": ops.silu(carry["a"]), "b": carry["b"]}, x, shared
    )
    backend.scan(active, *map(tensors, (CARRY, XS, SHARED)))
    assert graphs() == before


def test_inference_reads_the_weights_as_they_are():
    weight = keras.Variable([2.0, 3.0])
    kept = weight.value
    run = backend.inference(
        lambda x, state: (x * weight, {"a": state["a"] + 1}), [weight], False
    )
    ones = ops.ones((2,))
    have, state = run(ones, {"a": ones})
    close(have, np.array([2.0, 3.0]), 0)
    close(state["a"], np.array([2.0, 2.0]), 0)
    close(kept, np.array([2.0, 3.0]), 0)  # its buffer was not given away
    weight.assign([5.0, 7.0])
    have, _ = run(ones, {"a": ones})
    close(have, np.array([5.0, 7.0]), 0)
