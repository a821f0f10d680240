"""The recall matrix against a loop over tokens."""

import numpy as np
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from keras_titans.ops.recall import recall_matrix
from tests.helpers import close


def by_loop(read, value):
    rows, tokens, heads, _ = read.shape
    result = np.zeros((rows, tokens, tokens))
    for b in range(rows):
        for t in range(tokens):
            for j in range(t + 1):
                likeness = [
                    np.dot(read[b, t, h], value[b, j, h])
                    / np.linalg.norm(read[b, t, h])
                    / np.linalg.norm(value[b, j, h])
                    for h in range(heads)
                ]
                result[b, t, j] = np.mean(likeness)
    return result


@settings(max_examples=5, deadline=None)
@given(
    shape=st.tuples(
        st.integers(1, 2), st.integers(1, 6), st.integers(1, 3), st.just(4)
    )
)
def test_is_the_loop(shape):
    rng = np.random.default_rng(0)
    read, value = rng.normal(size=(2, *shape))
    found = recall_matrix(
        ops.convert_to_tensor(read), ops.convert_to_tensor(value)
    )
    close(found, by_loop(read, value), 1e-5)


def test_what_was_written_is_found_and_nothing_is_foreseen():
    rng = np.random.default_rng(1)
    value = rng.normal(size=(1, 5, 2, 8)).astype("float32")
    found = ops.convert_to_numpy(recall_matrix(value, value))[0]
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-5)
    assert np.all(found[np.triu_indices(5, 1)] == 0.0)
