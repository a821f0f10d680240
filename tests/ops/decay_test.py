"""Decay coefficients against the recurrence that they unroll."""

import numpy as np
import pytest
from keras import ops

from keras_titans.ops.decay import before
from keras_titans.ops.decay import chunk_decay
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy

TOKENS = 6


def gates(seed=0):
    rng = np.random.default_rng(seed)
    theta, eta, alpha = rng.uniform(0.05, 0.95, (3, 2, TOKENS))
    mask = (rng.random((2, TOKENS)) > 0.3).astype(float)
    return theta, eta, alpha, mask


def unrolled(theta, eta, alpha, mask):
    """What is left of W_0, S_0 and each surprise, by running one row.

    State and surprises are basis vectors, so that each coefficient is read
    off its own axis: W_0, S_0, g_0, g_1, ...
    """
    w, s, *g = np.eye(2 + len(theta))
    rows = []
    for t in range(len(theta)):
        if mask[t]:
            s = eta[t] * s - theta[t] * g[t]
            w = (1 - alpha[t]) * w + s
        rows.append((w, s))
    memory, momentum = map(np.stack, zip(*rows))
    return memory, momentum


def as_tensor(x):
    return None if x is None else ops.convert_to_tensor(x)


@pytest.mark.parametrize("has_momentum", [True, False])
@pytest.mark.parametrize("forgets", [True, False])
def test_equals_the_recurrence(has_momentum, forgets):
    theta, eta, alpha, mask = gates()
    log_eta = np.log(eta) if has_momentum else None
    log_keep = np.log(1 - alpha) if forgets else None
    decay = to_numpy(
        chunk_decay(*map(as_tensor, (theta, log_eta, log_keep, mask)))._asdict()
    )
    for row in range(2):
        memory, momentum = unrolled(
            theta[row],
            eta[row] if has_momentum else 0 * eta[row],
            alpha[row] if forgets else 0 * alpha[row],
            mask[row],
        )
        close(decay["memory"][row], memory[:, 0], 1e-12)
        close(decay["surprise"][row], -memory[:, 2:], 1e-12)
        if has_momentum:
            close(decay["momentum"][row], memory[:, 1], 1e-12)
            close(decay["end_momentum"][row], momentum[-1:, 1], 1e-12)
            close(decay["end_surprise"][row], -momentum[-1, 2:], 1e-12)
        else:
            assert decay["momentum"] == () == decay["end_surprise"]


def test_before_is_one_token_earlier():
    theta, eta, alpha, _ = gates()
    ones = np.ones_like(theta)
    arguments = (theta, np.log(eta), np.log(1 - alpha), ones)
    decay = chunk_decay(*map(as_tensor, arguments))
    earlier = before(decay)
    close(earlier.memory[:, 1:], decay.memory[:, :-1], 1e-15)
    close(earlier.momentum[:, 1:], decay.momentum[:, :-1], 1e-15)
    close(earlier.surprise[:, 1:], decay.surprise[:, :-1], 1e-15)
    assert np.all(to_numpy(earlier.memory[:, 0]) == 1.0)
    assert np.all(to_numpy(earlier.momentum[:, 0]) == 0.0)
    assert np.all(to_numpy(earlier.surprise[:, 0]) == 0.0)
    log_retention = as_tensor(np.log(1 - alpha))
    forgotten = before(decay._replace(log_retention=log_retention))
    keep = 1 - alpha
    close(forgotten.memory, to_numpy(earlier.memory) * keep, 1e-12)
    close(forgotten.momentum, to_numpy(earlier.momentum) * keep, 1e-12)
    close(
        forgotten.surprise, to_numpy(earlier.surprise) * keep[..., None], 1e-12
    )


@pytest.mark.parametrize("logit", [-1e4, -50.0, 50.0, 1e4])
def test_extreme_gates_and_their_gradients_are_finite(logit):
    """Logs of 0 would be infinite, and infinity times 0 is not a number."""

    def total(z):
        log_eta, log_keep = ops.log_sigmoid(z), ops.log_sigmoid(-z)
        ones = ops.ones_like(z)
        decay = chunk_decay(ones, log_eta, log_keep, ones)
        return sum(ops.sum(x) for x in decay if not isinstance(x, tuple))

    z = ops.convert_to_tensor(np.full((1, 64), logit, "float32"))
    assert np.isfinite(float(to_numpy(total(z))))
    (found,) = gradient(total, (z,))
    assert np.all(np.isfinite(to_numpy(found)))
