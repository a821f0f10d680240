"""A scan over chunks whose step is linear in the state.

Legend: `n` chunks, `B` batch, `H` heads, `b` tokens of a chunk, `i, o` the
widths of a matrix memory.

This is all of a matrix memory that must run in order. A step has two matrix
products that wait for each other, and so has its gradient.
"""

from keras import ops

from keras_titans import backend


def linear_scan(read, target, write, decay, state):
    """Run the chunks' steps one after another.

    With the memory `W` and the momentum `S`, a chunk's step is

        D  = target - read @ [W; S]
        W' = kept * W + passed * S + (write.T @ D)[:i]
        S' = momentum_kept * S     + (write.T @ D)[i:]

    Without momentum the state is `W` alone:

        D  = target - read @ W
        W' = kept * W + write.T @ D

    The backward pass keeps `read`, `write`, `decay` and what is returned. It
    cannot be differentiated again.

    Args:
        read: `(n, B, H, b, 2 i)`. Without momentum `(n, B, H, b, i)`.
        target: `(n, B, H, b, o)`.
        write: Shaped like `read`.
        decay: The tuple `(kept, passed, momentum_kept)`, each `(n, B, H)`.
            Without momentum `(kept,)`.
        state: `(B, H, 2 i, o)`: the rows of the memory, then those of the
            momentum. Without momentum `(B, H, i, o)`.

    Returns:
        `D` of every chunk, `(n, B, H, b, o)`; the state before every chunk,
        `(n, B, H, 2 i, o)`; the state after the last one.
    """
    rows, width = state.shape[-2:]
    if len(decay) not in (1, 3):
        raise ValueError(
            "Argument `decay` must be `(kept,)` or `(kept, passed, "
            f"momentum_kept)`. Received: {len(decay)} tensors."
        )
    if len(decay) == 3 and rows % 2:
        raise ValueError(
            "Argument `state` must have as many rows of momentum as of "
            f"memory. Received: state.shape={tuple(state.shape)}."
        )
    for name, x, last in (
        ("read", read, rows),
        ("target", target, width),
        ("write", write, rows),
    ):
        if len(x.shape) != 5 or x.shape[-1] != last:
            raise ValueError(
                f"Argument `{name}` must have the shape (chunks, batch, "
                f"heads, tokens, {last}). Received: {name}.shape="
                f"{tuple(x.shape)}, state.shape={tuple(state.shape)}."
            )
    return backend.linear_scan(read, target, write, tuple(decay), state)


def stacked_state(memory, momentum):
    """The state of a scan from `(B, H, i, o)` tensors; momentum may be `()`."""
    if isinstance(momentum, tuple):
        return memory
    return ops.concatenate([memory, momentum], axis=-2)


def split_state(state, has_momentum):
    """The memory and the momentum of a state; `()` where there is none."""
    if not has_momentum:
        return state, ()
    half = state.shape[-2] // 2
    return state[..., :half, :], state[..., half:, :]
