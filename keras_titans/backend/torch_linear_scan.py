"""A linear scan on PyTorch: into buffers, without a graph for each chunk."""

import torch
from torch.autograd.function import once_differentiable


def linear_scan(read, target, write, decay, state):
    """See `keras_titans.ops.linear_scan`.

    Rows and heads become one axis, which is what `baddbmm` takes.
    """
    chunks = len(target)
    flat = lambda x: x.reshape(chunks, -1, *x.shape[3:])
    errors, states, last = _LinearScan.apply(
        flat(read),
        flat(target),
        flat(write),
        state.reshape(-1, *state.shape[2:]),
        *(flat(x) for x in decay),
    )
    return (
        errors.reshape(target.shape),
        states.reshape(chunks, *state.shape),
        last.reshape(state.shape),
    )


class _LinearScan(torch.autograd.Function):
    """`read (n, BH, b, i)` and so on; `decay` is one or three `(n, BH)`."""

    @staticmethod
    def forward(ctx, read, target, write, state, *decay):
        errors = torch.empty_like(target, memory_format=torch.contiguous_format)
        states = state.new_empty(len(read) + 1, *state.shape)
        states[0] = state
        columns = _columns(read, target, write, errors, states, states[1:])
        parts, passed = _parts(states, len(decay)), _column(decay[1:2])
        own = _column(decay[::2])
        for c, (r, v, w, error, before, after) in enumerate(columns):
            torch.baddbmm(v, r, before, alpha=-1, out=error)
            torch.mul(parts[c], own[c], out=parts[c + 1])
            if len(decay) > 1:
                parts[c + 1][:, :1].addcmul_(parts[c][:, 1:], passed[c])
            after.baddbmm_(w.mT, error)
        ctx.save_for_backward(read, write, errors, states, *decay)
        ctx.set_materialize_grads(False)
        # Not a view: it would hold all states for as long as it is held.
        return errors, states[:-1], states[-1].clone()

    @staticmethod
    def backward(ctx, *upstream):
        if torch.is_grad_enabled():
            # Then a second derivative is an error also where nothing that
            # comes from above depends on the arguments.
            upstream = tuple(
                x if x is None else x.detach().requires_grad_()
                for x in upstream
            )
        return _backward(ctx, *upstream)


@once_differentiable
def _backward(ctx, d_errors, d_states, d_last):
    read, write, errors, states, *decay = ctx.saved_tensors
    needs = ctx.needs_input_grad
    if d_errors is None:
        d_errors = torch.zeros_like(errors)
    if d_states is None:
        d_states = torch.zeros_like(states[:-1])
    d_error, d_state = torch.empty_like(errors), torch.empty_like(states)
    d_state[-1] = 0.0 if d_last is None else d_last
    columns = _columns(
        d_errors, d_states, read, write, d_error, d_state, d_state[1:]
    )
    parts, passed = _parts(d_state, len(decay)), _column(decay[1:2])
    own = _column(decay[::2])
    for c in reversed(range(len(read))):
        from_error, from_state, r, w, d_here, d_before, d_after = columns[c]
        torch.baddbmm(from_error, w, d_after, out=d_here)
        torch.baddbmm(from_state, r.mT, d_here, alpha=-1, out=d_before)
        parts[c].addcmul_(parts[c + 1], own[c])
        if len(decay) > 1:
            parts[c][:, 1:].addcmul_(parts[c + 1][:, :1], passed[c])
    d_read = None
    if needs[0]:
        flat = lambda x: x.reshape(-1, *x.shape[2:])
        d_read = torch.empty_like(read, memory_format=torch.contiguous_format)
        torch.baddbmm(
            flat(d_read),
            flat(d_error),
            flat(states[:-1]).mT,
            beta=0,
            alpha=-1,
            out=flat(d_read),
        )
    return (
        d_read,
        d_error,
        torch.matmul(errors, d_state[1:].mT) if needs[2] else None,
        d_state[0].clone() if needs[3] else None,
        *_decay_gradients(d_state, states, needs[4:]),
    )


def _columns(*arrays):
    """What each chunk has of the arrays: one unbind of each, no slices."""
    return list(zip(*(x.unbind() for x in arrays)))


def _parts(states, coefficients):
    """Of each chunk, the memory and the momentum as one row: `(BH, 2, i o)`.

    Without momentum `(BH, 1, i o)`. Long rows, which are scaled faster.
    """
    count = 1 if coefficients == 1 else 2
    return states.view(*states.shape[:2], count, -1).unbind()


def _column(decay):
    """Of each chunk, the coefficients as a column, `(BH, 1 or 2, 1)`."""
    return torch.stack(decay, dim=-1)[..., None].unbind() if decay else ()


def _decay_gradients(d_state, states, needs):
    """Of one or three coefficients, as far as they are needed."""
    d_memory, *d_momentum = _rows(d_state[1:], len(needs))
    memory, *momentum = _rows(states[:-1], len(needs))
    pairs = [(d_memory, memory)]
    for x, dx in zip(momentum, d_momentum, strict=True):
        pairs += [(d_memory, x), (dx, x)]
    # Not as a contraction: that would be one small product for each row.
    return [
        (dx * x).sum(-1) if needed else None
        for needed, (dx, x) in zip(needs, pairs, strict=True)
    ]


def _rows(states, coefficients):
    """The memory and the momentum of all chunks, `(n, BH, i o)` each."""
    count = 1 if coefficients == 1 else 2
    return states.view(*states.shape[:2], count, -1).unbind(2)
