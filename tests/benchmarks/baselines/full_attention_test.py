"""Attention computed some queries at a time."""

import numpy as np
import pytest
from keras import ops

from benchmarks.baselines.full_attention import FullAttention
from benchmarks.baselines.full_attention import causal_attention
from tests.helpers import to_numpy


@pytest.mark.parametrize("block", [4, 10])
def test_blocks_of_queries_are_the_whole(block):
    rng = np.random.default_rng(0)
    query, key, value = (
        ops.convert_to_tensor(rng.normal(size=(2, 10, 2, 4)).astype("float32"))
        for _ in range(3)
    )
    np.testing.assert_allclose(
        to_numpy(causal_attention(query, key, value, block)),
        to_numpy(causal_attention(query, key, value)),
        atol=1e-5,
    )


def test_the_block_is_kept_and_checked():
    layer = FullAttention(2, query_block=8)
    assert FullAttention.from_config(layer.get_config()).query_block == 8
    with pytest.raises(ValueError, match="query_block"):
        FullAttention(2, query_block=0)
