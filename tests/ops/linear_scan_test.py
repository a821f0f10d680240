"""The linear scan against a plain loop that the engine differentiates."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_titans import backend
from keras_titans.ops.linear_scan import linear_scan
from tests.helpers import close
from tests.helpers import compiled
from tests.helpers import gradient

engine = keras.backend.backend()


def arguments(momentum=True, chunks=3, rows=2, seed=0):
    """Random arguments, with keys of 3 and values of 4."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: ops.convert_to_tensor(0.5 * rng.normal(size=shape))
    lead, width = (chunks, rows, 2), 6 if momentum else 3
    return [
        draw(*lead, 5, width),
        draw(*lead, 5, 4),
        draw(*lead, 5, width),
        [draw(*lead) for _ in range(3 if momentum else 1)],
        draw(rows, 2, width, 4),
    ]


def plain(read, target, write, decay, state):
    """The definition, on the memory and the momentum apart."""
    half = 3

    def step(state, x, _):
        read, target, write, decay = x
        kept, *rest = (c[..., None, None] for c in decay)
        error = target - ops.matmul(read, state)
        written = ops.matmul(ops.swapaxes(write, -1, -2), error)
        memory = kept * state[..., :half, :] + written[..., :half, :]
        if not rest:
            return memory, (error, state)
        passed, momentum_kept = rest
        momentum = state[..., half:, :]
        memory = memory + passed * momentum
        momentum = momentum_kept * momentum + written[..., half:, :]
        return ops.concatenate([memory, momentum], axis=-2), (error, state)

    xs = (read, target, write, decay)
    last, (errors, states) = backend.scan(step, state, xs, remat=False)
    return errors, states, last


def loss(scan):
    return lambda *args: sum(
        ops.sum(ops.sin(x + 0.1 * i)) for i, x in enumerate(scan(*args))
    )


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("momentum", [True, False])
def test_equals_a_plain_loop(momentum, chunks, run_mode):
    args = arguments(momentum, chunks)
    want = run_mode(plain)(*args)
    close(list(run_mode(linear_scan)(*args)), list(want), 1e-12)
    found, wanted = (
        run_mode(lambda args, f=f: gradient(loss(f), args))(args)
        for f in (linear_scan, plain)
    )
    close(found, wanted, 1e-12)


@pytest.mark.parametrize("momentum", [True, False])
def test_two_products_in_a_row_each_way(momentum):
    assert products_of_a_chunk(arguments(momentum)) == [2, 2]


def products_of_a_chunk(args):
    """The products in the loop's body: forward, and backward."""
    run = lambda args: gradient(loss(linear_scan), args)
    if engine == "jax":
        return jax_bodies(run, args)
    if engine == "tensorflow":
        return tensorflow_bodies(run, args)
    counts = [torch_calls(arguments(len(args[3]) == 3, n)) for n in (2, 3)]
    return [more - less for less, more in zip(*counts, strict=True)]


def jax_bodies(run, args):
    import jax

    def products(jaxpr):
        found = 0
        for eqn in jaxpr.eqns:
            found += eqn.primitive.name == "dot_general"
            if "jaxpr" in eqn.params:
                found += products(eqn.params["jaxpr"].jaxpr)
        return found

    eqns = jax.make_jaxpr(run)(args).jaxpr.eqns
    loops = [eqn for eqn in eqns if eqn.primitive.name == "scan"]
    return [products(eqn.params["jaxpr"].jaxpr) for eqn in loops]


def tensorflow_bodies(run, args):
    import tensorflow as tf

    graph = tf.function(run, autograph=False).get_concrete_function(args).graph
    bodies = graph.as_graph_def().library.function
    counts = {
        f.signature.name: sum("MatMul" in node.op for node in f.node_def)
        for f in bodies
    }
    loops = [op for op in graph.get_operations() if "While" in op.type]
    return [counts[op.get_attr("body").name] for op in loops]


def torch_calls(args):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += "mm" in func.__name__
            return func(*args, **(kwargs or {}))

    args = keras.tree.map_structure(lambda x: x.requires_grad_(), args)
    with Count() as forward:
        value = loss(linear_scan)(*args)
    with Count() as backward:
        torch.autograd.grad(value, keras.tree.flatten(args))
    return forward.calls, backward.calls


@pytest.mark.skipif(engine != "torch", reason="PyTorch's own")
def test_torch_keeps_little_and_says_what_it_cannot():
    import torch
    from torch.utils.checkpoint import checkpoint

    args = arguments()
    with torch.no_grad():
        close(list(linear_scan(*args)), list(plain(*args)), 1e-12)

    wanted = gradient(loss(plain), args)
    run = lambda *args: checkpoint(
        loss(linear_scan), *args, use_reentrant=False
    )
    close(gradient(run, args), wanted, 1e-12)

    # Only some of them need a gradient, and only some results have one.
    state = args[-1].requires_grad_()
    errors, _, _ = linear_scan(*args)
    (found,) = torch.autograd.grad(errors.sum(), state, create_graph=True)
    (want,) = torch.autograd.grad(plain(*args)[0].sum(), state)
    close(found, want, 1e-12)
    with pytest.raises(RuntimeError, match="twice"):
        found.sum().backward()


@pytest.mark.skipif(engine != "tensorflow", reason="TensorFlow's own")
def test_tensorflow_needs_to_know_neither_chunks_nor_rows():
    import tensorflow as tf

    args = arguments()
    flat = keras.tree.flatten(args)
    unknown = [2] * 6 + [1]
    specs = [
        tf.TensorSpec([*[None] * n, *x.shape[n:]], x.dtype)
        for n, x in zip(unknown, flat, strict=True)
    ]
    run = lambda args: (linear_scan(*args), gradient(loss(linear_scan), args))
    specs = keras.tree.pack_sequence_as(args, specs)
    function = tf.function(run, input_signature=[specs], autograph=False)
    close(function(args), compiled(run)(args), 1e-12)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({0: (3, 2, 2, 5, 3)}, "`read` must have the shape"),
        ({1: (3, 2, 2, 5, 3)}, "`target` must have the shape"),
        ({2: (3, 2, 5, 6)}, "`write` must have the shape"),
        ({4: (2, 2, 5, 4)}, "as many rows of momentum as of memory"),
    ],
)
def test_refuses_other_shapes(wrong, message):
    args = arguments()
    for i, shape in wrong.items():
        args[i] = ops.zeros(shape)
    with pytest.raises(ValueError, match=message):
        linear_scan(*args)


def test_refuses_half_a_momentum():
    read, target, write, decay, state = arguments()
    with pytest.raises(ValueError, match="`decay` must be .* Received: 2"):
        linear_scan(read, target, write, decay[:2], state)
