"""One step of a linear scan, forward and backward, for engines that compile.

See `keras_titans.ops.linear_scan` for the arguments and the equations. `xs` is
the tuple `(read, target, write, decay)`, and `decay` the tuple of the three
coefficients, or of the first alone.
"""

from keras import ops


def forward_step(state, x):
    """The state after a chunk; and the error, with the state before it."""
    read, target, write, decay = x
    error = target - ops.matmul(read, state)
    after = _decayed(state, decay) + ops.matmul(_transpose(write), error)
    return after, (error, state)


def backward_step(d_after, x):
    """The gradient of the state before a chunk; and that of the error.

    Args:
        d_after: The gradient of the state after the chunk.
        x: `read`, `write` and `decay` of the chunk, and what comes to its
            error and to the state before it from their readers.
    """
    read, write, decay, d_error, d_state = x
    d_error = d_error + ops.matmul(write, d_after)
    d_before = d_state + _decayed_gradient(d_after, decay)
    d_before = d_before - ops.matmul(_transpose(read), d_error)
    return d_before, (d_error, d_after)


def gradients(errors, states, d_errors, d_after, decay):
    """The gradients of `read, target, write, decay`, over all chunks."""
    d_read = -ops.matmul(d_errors, _transpose(states))
    d_write = ops.matmul(errors, _transpose(d_after))
    if len(decay) == 1:
        return d_read, d_errors, d_write, (_dot(d_after, states),)
    memory, momentum = _halves(states)
    d_memory, d_momentum = _halves(d_after)
    d_decay = (
        _dot(d_memory, memory),
        _dot(d_memory, momentum),
        _dot(d_momentum, momentum),
    )
    return d_read, d_errors, d_write, d_decay


def _decayed(state, decay):
    kept, *rest = (x[..., None, None] for x in decay)
    if not rest:
        return kept * state
    passed, momentum_kept = rest
    memory, momentum = _halves(state)
    after = kept * memory + passed * momentum
    return ops.concatenate([after, momentum_kept * momentum], axis=-2)


def _decayed_gradient(d_after, decay):
    kept, *rest = (x[..., None, None] for x in decay)
    if not rest:
        return kept * d_after
    passed, momentum_kept = rest
    d_memory, d_momentum = _halves(d_after)
    d_momentum = passed * d_memory + momentum_kept * d_momentum
    return ops.concatenate([kept * d_memory, d_momentum], axis=-2)


def _halves(state):
    half = state.shape[-2] // 2
    return state[..., :half, :], state[..., half:, :]


def _dot(x, y):
    return ops.einsum("...io,...io->...", x, y)


def _transpose(x):
    return ops.swapaxes(x, -1, -2)
