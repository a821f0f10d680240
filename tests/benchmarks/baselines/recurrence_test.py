"""Linear recurrences in chunks against the loop over tokens."""

import numpy as np
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from benchmarks.baselines.recurrence import gated_sum
from benchmarks.baselines.recurrence import states_before
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import traced

ROWS, CHANNELS = 2, 3


def tensors(*arrays):
    return [ops.convert_to_tensor(x) for x in arrays]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def loop(log_decay, added, start):
    h, after = start, np.zeros_like(added)
    for t in range(added.shape[1]):
        h = np.exp(log_decay[:, t]) * h + added[:, t]
        after[:, t] = h
    return after


@settings(max_examples=8)
@given(
    tokens=st.integers(1, 14),
    chunk_size=st.integers(1, 6),
    from_zero=st.booleans(),
)
def test_gated_sum_equals_the_loop(tokens, chunk_size, from_zero):
    log_decay = -np.abs(draw(ROWS, tokens, CHANNELS))
    added = draw(ROWS, tokens, CHANNELS, seed=1)
    start = draw(ROWS, CHANNELS, seed=2) * (not from_zero)
    arguments = tensors(log_decay, added, *([] if from_zero else [start]))
    have = traced(
        lambda log_decay, added, start=None: gated_sum(
            log_decay, added, start, chunk_size
        )
    )(*arguments)
    close(have, loop(log_decay, added, start), 1e-13)


def test_gated_sum_has_the_gradient_of_the_loop():
    """By complex steps, one at each number that goes in."""
    log_decay = -np.abs(draw(ROWS, 11, CHANNELS))
    added = draw(ROWS, 11, CHANNELS, seed=1)
    start = draw(ROWS, CHANNELS, seed=2)
    weight = draw(ROWS, 11, CHANNELS, seed=3)
    arguments = (log_decay, added, start)
    want = []
    for i, argument in enumerate(arguments):
        g = np.zeros_like(argument)
        for index in np.ndindex(*argument.shape):
            nudged = [x.astype(complex) for x in arguments]
            nudged[i][index] += 1e-30j
            g[index] = np.sum(weight * loop(*nudged)).imag / 1e-30
        want.append(g)

    @traced
    def slope(weight, *arguments):
        return gradient(
            lambda *x: ops.sum(weight * gated_sum(*x, 4)), arguments
        )

    close(list(slope(*tensors(weight, *arguments))), want, 1e-12)


def test_a_decay_of_zero_forgets_all():
    """Where a product of decays underflows, its quotient would be lost."""
    log_decay = np.full((1, 12, 1), -800.0)
    added = np.arange(12.0).reshape(1, 12, 1)
    have = traced(lambda *x: gated_sum(*x, None, 4))(*tensors(log_decay, added))
    close(have, added, 0)


def test_states_before_are_shifted_sums():
    decay, added = draw(5, 1, CHANNELS), draw(5, ROWS, CHANNELS, seed=1)
    before, last = traced(states_before)(*tensors(decay, added))
    state = np.zeros((ROWS, CHANNELS))
    for t in range(5):
        close(before[t], state, 1e-13)
        state = decay[t] * state + added[t]
    close(last, state, 1e-13)
