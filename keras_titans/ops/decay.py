"""How much of each earlier token is left at each later one.

Legend: `b` tokens of a chunk, `t >= j >= i` tokens in it, counted from the
chunk's start. Over one chunk the two recurrences of a memory

    S_t = eta_t S_{t-1} - theta_t g_t            momentum
    W_t = (1 - alpha_t) W_{t-1} + S_t            memory

are linear in the chunk's start and in its surprises `g_i`:

    W_t = a[t] W_0 + p[t] S_0 - sum_i C[t, i] g_i
    S_t = e[t] S_0            - sum_i F[t, i] g_i

Everything here is a coefficient of these two lines.
"""

from typing import Any, NamedTuple

from keras import ops


class Decay(NamedTuple):
    """The coefficients of one chunk; `()` where there is no momentum.

    Attributes:
        memory: `a`, shape `(..., b)`: what is left of `W_0` after token `t`.
        momentum: `p`, shape `(..., b)`: what of `S_0` has reached `W_t`.
        surprise: `C`, shape `(..., b, b)`: what of `g_i` has reached `W_t`.
        end_momentum: `e` at the last token, shape `(..., 1)`.
        end_surprise: `F` at the last token, shape `(..., b)`.
        initial: What of the learned initial memory has reached `W_t`, shape
            `(..., b)`; `()` for nothing.
        log_retention: The masked `log(1 - alpha)`, shape `(..., b)`, where a
            token's own forgetting comes before its gradient is taken; `()`
            where it comes after.
    """

    memory: Any
    momentum: Any
    surprise: Any
    end_momentum: Any
    end_surprise: Any
    initial: Any = ()
    log_retention: Any = ()


def chunk_decay(learning_rate, log_momentum, log_retention, mask):
    """The coefficients of a chunk from the gates of its tokens.

    Logarithms, because a product of many gates underflows and its quotient,
    which the coefficients are, does not.

    Args:
        learning_rate: `theta`, shape `(..., b)`.
        log_momentum: `log(eta)`, shape `(..., b)`, or None for no momentum.
        log_retention: `log(1 - alpha)`, shape `(..., b)`, or None for no
            forgetting.
        mask: Shape `(..., b)`, 1 where the token is real. A token that is
            not leaves memory and momentum as they were.

    Returns:
        A `Decay`.
    """
    theta = learning_rate * mask
    ones = ops.ones_like(theta)
    causal = _causal(theta)
    if log_retention is None:
        memory, retained = ones, causal * ones[..., None]
    else:
        memory, retained = _products(log_retention * mask, causal)
    if log_momentum is None:
        return Decay(memory, (), retained * theta[..., None, :], (), ())
    kept, passed_on = _products(log_momentum * mask, causal)
    # A masked token adds no momentum to the memory: its column falls out.
    retained = retained * mask[..., None, :]
    surprises = passed_on * theta[..., None, :]
    return Decay(
        memory=memory,
        momentum=ops.squeeze(ops.matmul(retained, kept[..., None]), -1),
        surprise=ops.matmul(retained, surprises),
        end_momentum=kept[..., -1:],
        end_surprise=surprises[..., -1, :],
    )


def before(decay):
    """The coefficients before each token's own write.

    Where the decay has a `log_retention`, the token's own forgetting has
    already happened, its write has not.

    Args:
        decay: A `Decay`.

    Returns:
        `decay` with `memory`, `momentum`, `initial` and `surprise` one token
        earlier.
    """
    memory = _one_later(decay.memory, axis=-1, first=ops.ones_like)
    surprise = _one_later(decay.surprise, axis=-2)
    momentum, initial = decay.momentum, decay.initial
    if has(momentum):
        momentum = _one_later(momentum, axis=-1)
    if has(initial):
        initial = _one_later(initial, axis=-1)
    if has(decay.log_retention):
        retention = ops.exp(decay.log_retention)
        memory = memory * retention
        surprise = surprise * retention[..., None]
        if has(momentum):
            momentum = momentum * retention
        if has(initial):
            initial = initial * retention
    return decay._replace(
        memory=memory, momentum=momentum, surprise=surprise, initial=initial
    )


def has(coefficient):
    """Whether a `Decay` has a coefficient, and not `()` in its place."""
    return not isinstance(coefficient, tuple)


def _one_later(x, axis, first=ops.zeros_like):
    head = ops.take(x, [0], axis=axis)
    rest = x[..., :-1] if axis == -1 else x[..., :-1, :]
    return ops.concatenate([first(head), rest], axis=axis)


def _causal(x):
    """Ones where `t >= j`, shape `(b, b)`."""
    index = ops.arange(x.shape[-1])
    return ops.cast(index[:, None] >= index[None, :], x.dtype)


def _products(log_gate, causal):
    """`prod_{l <= t}` and the matrix of `prod_{j < l <= t}` of a gate."""
    total = ops.cumsum(log_gate, axis=-1)
    # Masked before the exponential: above the diagonal it would overflow, and
    # an infinity times zero poisons the gradient.
    exponent = (total[..., :, None] - total[..., None, :]) * causal
    return _exp(total), _exp(exponent) * causal


def _exp(x):
    """`exp(x)`, but no less than 4e-18, which is rounding beside 1.

    Products of smaller numbers become denormal, and CPUs are slow at those.
    """
    return ops.exp(ops.maximum(x, -40.0))
