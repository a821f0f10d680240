"""The loop and the inner gradient on TensorFlow."""

import tensorflow as tf
from keras import tree


def eager():
    """A scope whose operations are carried out at once."""
    return tf.init_scope()


def scan(step, carry, xs, shared=(), remat=True):
    """Fold `step(carry, x, shared) -> (carry, y)` over axis 0 of `xs`.

    See `jax_engine.scan` for the arguments. The number of steps may be
    unknown until run time. With `remat` both directions are forward loops, so
    that XLA never has to stack what a loop's own gradient would ask for.
    """
    if not remat:
        last, ys, _ = _loop(step, carry, xs, shared)
        return last, ys
    arguments = (carry, xs, shared)

    @tf.custom_gradient
    def run(*flat):
        carry, xs, shared = tree.pack_sequence_as(arguments, list(flat))
        last, ys, starts = _loop(step, carry, xs, shared, keep_starts=True)
        run.outputs = (last, ys)

        def gradient(*upstream):
            d_last, d_ys = tree.pack_sequence_as((last, ys), list(upstream))
            return _reverse_loop(step, starts, xs, shared, d_last, d_ys)

        return tree.flatten((last, ys)), gradient

    flat_outputs = run(*tree.flatten(arguments))
    return tree.pack_sequence_as(run.outputs, flat_outputs)


def with_rows(x, batch_size, message):
    """`x` of a known batch size; an error with the message for another.

    Args:
        x: A tensor with the batch on axis 0.
        batch_size: What it must be.
        message: What the error says.
    """
    if x.shape[0] is None:
        check = tf.debugging.assert_equal(tf.shape(x)[0], batch_size, message)
        with tf.control_dependencies([] if check is None else [check]):
            x = tf.identity(x)
    # XLA drops assertions, and checks this one.
    return tf.ensure_shape(x, (batch_size, *x.shape[1:]))


def _loop(step, carry, xs, shared, keep_starts=False):
    if tf.executing_eagerly() and tree.flatten(xs)[0].shape[0]:
        return _eager_loop(step, carry, xs, shared, keep_starts)
    columns, count = _columns(xs)
    y_spec = _y_spec(step, carry, xs, shared)
    ys = _empty_columns(y_spec, count)
    starts = _empty_columns(carry, count) if keep_starts else ()

    def body(i, carry, ys, starts):
        x = tree.pack_sequence_as(xs, [column.read(i) for column in columns])
        if keep_starts:
            starts = _write(starts, i, carry)
        after, y = step(carry, x, shared)
        after = tree.map_structure(_keep_shape, after, carry)
        return i + 1, after, _write(ys, i, y), starts

    _, last, ys, starts = tf.while_loop(
        lambda i, *_: i < count,
        body,
        (tf.constant(0), carry, ys, starts),
        maximum_iterations=count,  # lets XLA differentiate the plain loop
    )
    ys = tree.pack_sequence_as(y_spec, [column.stack() for column in ys])
    return last, ys, starts


def _eager_loop(step, carry, xs, shared, keep_starts):
    """Traces nothing: TensorFlow keeps a custom gradient's graph for ever."""
    stack = lambda columns: tree.map_structure(
        lambda *column: tf.stack(column), *columns
    )
    starts, ys = [], []
    for i in range(tree.flatten(xs)[0].shape[0]):
        if keep_starts:
            starts.append(carry)
        x = tree.map_structure(lambda column, i=i: column[i], xs)
        carry, y = step(carry, x, shared)
        ys.append(y)
    columns = _columns(stack(starts))[0] if keep_starts else ()
    return carry, stack(ys), columns


def _reverse_loop(step, starts, xs, shared, d_last, d_ys):
    columns, count = _columns(xs)
    d_y_columns, _ = _columns(d_ys)
    d_xs = _empty_columns(xs, count, skip=1)
    zeros = tree.map_structure(tf.zeros_like, shared)

    def body(i, d_after, d_shared, d_xs):
        start = tree.pack_sequence_as(d_last, [s.read(i) for s in starts])
        x = tree.pack_sequence_as(xs, [column.read(i) for column in columns])
        d_y = [column.read(i) for column in d_y_columns]
        # Without a graph, one tensor in two places would count twice.
        start, x, shared_here = tree.map_structure(
            tf.identity, (start, x, shared)
        )
        sources = tree.flatten((start, x, shared_here))
        with tf.GradientTape() as tape:
            tape.watch(sources)
            targets = tree.flatten(step(start, x, shared_here))
        flat = tape.gradient(
            targets,
            sources,
            output_gradients=tree.flatten(d_after) + d_y,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        d_start, d_x, d_here = tree.pack_sequence_as((start, x, shared), flat)
        d_start = tree.map_structure(_keep_shape, d_start, d_after)
        d_shared = tree.map_structure(tf.add, d_shared, d_here)
        return i - 1, d_start, d_shared, _write(d_xs, i, d_x)

    _, d_carry, d_shared, d_xs = tf.while_loop(
        lambda i, *_: i >= 0,
        body,
        (count - 1, d_last, zeros, d_xs),
        maximum_iterations=count,
    )
    return (
        tree.flatten(d_carry)
        + [column.stack() for column in d_xs]
        + tree.flatten(d_shared)
    )


def _columns(xs):
    """One readable array for each tensor of `xs`, and their common length."""
    flat = tree.flatten(xs)
    count = flat[0].shape[0]
    if count is None:
        count = tf.shape(flat[0])[0]
    arrays = [
        tf.TensorArray(x.dtype, count, element_shape=x.shape[1:]).unstack(x)
        for x in flat
    ]
    return arrays, count


def _empty_columns(structure, count, skip=0):
    return tuple(
        tf.TensorArray(x.dtype, count, element_shape=x.shape[skip:])
        for x in tree.flatten(structure)
    )


def _write(arrays, i, structure):
    values = tree.flatten(structure)
    return tuple(a.write(i, v) for a, v in zip(arrays, values, strict=True))


def _keep_shape(x, like):
    return tf.ensure_shape(x, like.shape)


def _y_spec(step, carry, xs, shared):
    """What one step puts out, from a trace that computes nothing."""
    spec_of = lambda t: tf.TensorSpec(t.shape, t.dtype)
    found = []

    def put_out(*arguments):
        _, y = step(*arguments)
        found.append(tree.map_structure(spec_of, y))

    # A function's graph, because in a plain one `==` compares identities.
    tf.function(put_out, autograph=False).get_concrete_function(
        tree.map_structure(spec_of, carry),
        tree.map_structure(lambda x: tf.TensorSpec(x.shape[1:], x.dtype), xs),
        tree.map_structure(spec_of, shared),
    )
    return found[-1]


def vjp(fn, *primals):
    """The value of `fn` at `primals`, and its vector-Jacobian product."""
    with tf.GradientTape() as tape:
        tape.watch(primals)
        value = fn(*primals)

    def pullback(cotangent):
        return tuple(
            tape.gradient(
                value,
                primals,
                output_gradients=cotangent,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        )

    return value, pullback


def known(flag):
    """A boolean tensor's truth; in a graph the tensor itself."""
    return bool(flag) if tf.executing_eagerly() else flag


def inference(fn, variables, jit_compile):
    """A function that is compiled, and that threads may share.

    See `jax_engine.inference` for the arguments.
    """
    return tf.function(
        fn, autograph=False, jit_compile=jit_compile, reduce_retracing=True
    )


def when(flag, function, gradient, keep, tensors):
    """See `branch.when`."""
    if isinstance(flag, bool):
        return function(keep, tensors) if flag else tensors

    @tf.custom_gradient
    def run(*tensors):
        def pull(*upstream):
            return _if(flag, gradient, keep, list(upstream))

        return _if(flag, function, keep, list(tensors)), pull

    return run(*tensors)


def _if(flag, function, keep, tensors):
    return tf.cond(flag, lambda: function(keep, tensors), lambda: tensors)
