"""How many floating-point operations the memory layer is, counted on paper.

A product of `(m, k)` and `(k, n)` counts `2 m k n`; elementwise work (norms,
activations, gates, the coefficients' exponentials) counts nothing, as is usual
for a share of a machine's matrix-product rate. Whole `b x b` matrices count
though half of each is zero: that is what a matrix unit computes.

Legend: `D` width of the layer's input, `H` heads, `d` head width, `b` chunk,
`(i, o)` the widths of each of the memory's dense maps. Per token:

    projections   2 D (H d) x 5   query, key, value, output gate, output
                  2 D H x 3       learning rate, momentum, forgetting
                  2 K (H d) x 3   short convolutions of width K
    each head's memory, summed over its maps:
      write       2 i o           the keys through the memory at its anchor
                  2 i o           the deltas back, all maps but the first
      read        2 i o x 2       the queries through W_0 and through S_0
                  2 b (i + o)     (x X^T * C) D
      carry       2 i o x 2       X^T D into the memory and into the momentum
      decay       2 b^2           C, once, not for each map
    and with anchor="token", for the last map only:
                  2 i o           the keys through S_0
                  2 b i           X X^T
                  b o             the triangular system, by substitution

Forward + backward counts three times the forward: each product has two in its
gradient. What is computed again to save memory, or as larger products because
they run faster (the triangular system), is work, but not useful work, and does
not count.
"""


def memory_maps(head_dim, depth, expansion):
    """The widths of each dense map of an MLP memory."""
    hidden = head_dim * expansion
    widths = [head_dim] + [hidden] * (depth - 1) + [head_dim]
    return list(zip(widths[:-1], widths[1:], strict=True))


def projections(dim, heads, head_dim, kernel=4):
    """What the layer does to one token outside its memory."""
    inner = heads * head_dim
    return 5 * 2 * dim * inner + 3 * 2 * dim * heads + 3 * 2 * kernel * inner


def memory(heads, maps, chunk, anchor):
    """What the memory does for one token, all heads."""
    last_in, last_out = maps[-1]
    all_maps = sum(2 * i * o for i, o in maps)
    write = all_maps + sum(2 * i * o for i, o in maps[1:])
    read = 2 * all_maps + sum(2 * chunk * (i + o) for i, o in maps)
    carry = 2 * all_maps
    decay = 2 * chunk * chunk
    total = write + read + carry + decay
    if anchor == "token":
        total += 2 * last_in * last_out + 2 * chunk * last_in
        total += chunk * last_out
    return heads * total


def memory_layer(dim, heads, head_dim, depth, expansion, chunk, anchor, mode):
    """Operations per token of one layer; `mode` is "forward" or "train"."""
    maps = memory_maps(head_dim, depth, expansion)
    forward = projections(dim, heads, head_dim)
    forward += memory(heads, maps, chunk, anchor)
    return forward * (3 if mode == "train" else 1)


def attention(dim, heads, head_dim, length, mode, with_projections):
    """Operations per token of causal attention over `length` tokens.

    The mean token sees half of them: `2 * 2 * (length / 2) * inner`. As for
    the memory, what the backward computes again does not count.
    """
    inner = heads * head_dim
    products = 2 * length * inner
    if mode == "train":
        products *= 3
    dense = 4 * 2 * dim * inner * (3 if mode == "train" else 1)
    return products + (dense if with_projections else 0)
