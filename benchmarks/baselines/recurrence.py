"""Linear recurrences in pieces, so that few steps follow one another.

Legend: `B` batch, `N` tokens, `C` channels, `b` tokens of a chunk, `n` chunks.
"""

from keras import ops

from keras_titans import backend
from keras_titans.ops.alignment import pad_tokens


def chunk_layout(length, chunk_size):
    """Tokens to a chunk, and slots in all; a short sequence is one chunk."""
    if isinstance(length, int) and length < chunk_size:
        return length, length
    return chunk_size, -(-length // chunk_size) * chunk_size


def states_before(decay, added, start=None):
    """`s_t = decay_t * s_{t-1} + added_t` over axis 0.

    Args:
        decay: `(n, ...)`, broadcast to `added`.
        added: `(n, ...)`.
        start: `s` before the first step, `(...)`, or None for 0.

    Returns:
        `s` before each step, as `added`, and after the last.
    """
    start = fresh(added[0]) if start is None else start
    last, before = backend.scan(_step, start, (decay, added), remat=False)
    return before, last


def _step(state, item, _):
    decay, added = item
    return decay * state + added, state


def fresh(like):
    """Zeros that XLA does not know to be zeros.

    A product with a constant 0 (jaxlib 0.10, CPU) comes out wrong.
    """
    return 0.0 * like


def gated_sum(log_decay, added, start, chunk_size):
    """`h_t = exp(log_decay_t) * h_{t-1} + added_t`, channel by channel.

    Its gradient is written out, because it is a recurrence of the same kind,
    backwards.

    Args:
        log_decay, added: `(B, N, C)`.
        start: `h` before the first token, `(B, C)`, or None for 0.
        chunk_size: `b`.

    Returns:
        `h` after each token, `(B, N, C)`.
    """
    if start is not None:
        first = added[:, :1] + ops.exp(log_decay[:, :1]) * start[:, None]
        added = ops.concatenate([first, added[:, 1:]], axis=1)

    @ops.custom_gradient
    def run(log_decay, added):
        h = _by_chunks(log_decay, added, chunk_size)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            back = _one_later(ops.flip(log_decay, axis=1))
            d_added = _by_chunks(back, ops.flip(upstream, axis=1), chunk_size)
            d_added = ops.flip(d_added, axis=1)
            return d_added * ops.exp(log_decay) * _one_later(h), d_added

        return h, gradient

    return run(log_decay, added)


def _one_later(x):
    return ops.pad(x[:, :-1], [(0, 0), (1, 0), (0, 0)])


def _by_chunks(log_decay, added, chunk_size):
    """`gated_sum` from 0.

    All chunks at once, each from 0, token by token; then from chunk to chunk
    what each hands on. So `b + n` steps follow one another, and not `N`.
    """
    rows, length, channels = ops.shape(added)
    size, slots = chunk_layout(length, chunk_size)

    def by_place(x):
        """`(B, N, C)` to `(b, B, n, C)`."""
        x = pad_tokens(x, slots)
        x = ops.reshape(x, (rows, slots // size, size, channels))
        return ops.transpose(x, (2, 0, 1, 3))

    decay, added = ops.exp(by_place(log_decay)), by_place(added)
    carry = (fresh(added[0]), 1.0 + fresh(added[0]))
    (last, left), (own, kept) = backend.scan(
        _step_from_zero, carry, (decay, added), remat=False
    )
    chunks_first = lambda x: ops.swapaxes(x, 0, 1)
    before, _ = states_before(chunks_first(left), chunks_first(last))
    h = own + kept * chunks_first(before)
    h = ops.reshape(ops.transpose(h, (1, 2, 0, 3)), (rows, slots, channels))
    return h[:, :length]


def _step_from_zero(carry, item, _):
    """A sum that starts at 0, and what would be left of another start."""
    own, kept = carry
    decay, added = item
    after = decay * own + added, decay * kept
    return after, after
