"""Prompts that are continued: what `generate_step` is made of."""

from keras import ops

from keras_titans.validation import check_padding_mask


def prompts_of(inputs):
    """Token ids, which of them are a prompt's, and how many all rows have."""
    token_ids = ops.convert_to_tensor(inputs["token_ids"], "int32")
    padding_mask = ops.cast(inputs["padding_mask"], "bool")
    check_padding_mask(padding_mask, token_ids)
    row_lengths = ops.sum(ops.cast(padding_mask, "int32"), axis=-1)
    return token_ids, padding_mask, ops.maximum(ops.min(row_lengths), 1)


def continued(
    model, step, token_ids, padding_mask, cache, index, hidden, stop_token_ids
):
    """Let a model's sampler continue prompts.

    Args:
        model: A `keras_hub.models.CausalLM`.
        step: `step(token_ids, cache, place) -> logits, hidden states, cache`,
            of one token a row.
        token_ids: `(batch, length)`, prompts at the front.
        padding_mask: `(batch, length)`, true at prompts.
        cache: After the first `index - 1` tokens. The sampler begins with the
            last token that all rows have, and it must not be read twice.
        index: How many tokens all rows have.
        hidden: Hidden states of the first tokens, for samplers that look at
            them, or None.
        stop_token_ids: Ids of which one ends a row; None for none.

    Returns:
        A dictionary of `"token_ids"` and `"padding_mask"`.
    """

    def next(prompt, cache, index):
        token = token_at(prompt, index - 1)
        logits, hidden, cache = step(token, cache, index - 1)
        return logits[:, 0], hidden[:, 0], cache

    token_ids = model.sampler(
        next=next,
        prompt=token_ids,
        cache=cache,
        index=index,
        mask=padding_mask,
        stop_token_ids=stop_token_ids,
        hidden_states=hidden,
        model=model,
    )
    return {
        "token_ids": token_ids,
        "padding_mask": _up_to_stop(token_ids, padding_mask, stop_token_ids),
    }


def token_at(token_ids, index):
    """`(batch, 1)`: each row's token at one place."""
    rows = ops.shape(token_ids)[0]
    return ops.slice(token_ids, (0, index), (rows, 1))


def _up_to_stop(token_ids, padding_mask, stop_token_ids):
    """Where there is a prompt or what followed, the first stop included."""
    if stop_token_ids is None:
        return ops.ones_like(token_ids, dtype="bool")
    stops = ops.zeros_like(padding_mask)
    for stop in stop_token_ids:
        stops = ops.logical_or(stops, token_ids == stop)
    stops = ops.logical_and(stops, ops.logical_not(padding_mask))
    stops = ops.cast(stops, "int32")
    return ops.cumsum(stops, axis=-1) - stops == 0
