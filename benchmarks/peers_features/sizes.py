"""How large what is tried is, and what counts as the same."""

WIDTH, HEADS, CHUNK, TOKENS = 32, 2, 16, 64
SAME = 1e-4  # of the largest value: other sums in float32
