"""Which earlier tokens a memory gives back.

B  batch   T  tokens   H  heads   d  head width
"""

from keras import ops

from keras_titans.ops.unit import unit


def recall_matrix(read, value):
    """How much what is read at each token is like each earlier value.

        R[t, j] = mean over heads of cos(read_t, value_j)    for j <= t

    and 0 for later tokens, which the memory cannot have seen.

    Args:
        read: `(batch, tokens, num_heads, head_dim)`: what was read.
        value: As `read`: what was written.

    Returns:
        `(batch, tokens, tokens)`, between -1 and 1.
    """
    tokens, heads = ops.shape(read)[1:3]
    read, value = (ops.transpose(unit(x), (0, 2, 1, 3)) for x in (read, value))
    like = ops.matmul(read, ops.transpose(value, (0, 1, 3, 2)))  # (B, H, T, T)
    like = ops.sum(like, axis=1) / heads
    place = ops.arange(tokens, dtype="int32")
    return ops.where(place[:, None] >= place[None, :], like, 0.0)
