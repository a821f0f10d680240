"""What a memory reads, as rows of token ids."""

import keras
import numpy as np

from keras_titans.validation import check_padding_mask


def rows_of_tokens(inputs, preprocessor=None):
    """`(batch, length)` ids, and which of them are tokens.

    Args:
        inputs: As `MemoryKeeper.memorize`'s.
        preprocessor: A KerasHub preprocessor, whose tokenizer splits texts.
    """
    if isinstance(inputs, dict):
        token_ids = _as_array(inputs["token_ids"]).astype("int32")
        mask = _as_array(inputs["padding_mask"]).astype(bool)
        check_padding_mask(mask, token_ids)
        return token_ids, mask
    if isinstance(inputs, str):
        inputs = [inputs]
    if isinstance(inputs, list | tuple) and inputs:
        if isinstance(inputs[0], str):
            inputs = [_tokens(text, preprocessor) for text in inputs]
        elif np.ndim(inputs[0]) == 0:
            inputs = [inputs]
    else:
        inputs = _as_array(inputs)
        inputs = inputs[None] if inputs.ndim == 1 else inputs
    return _padded([_as_array(row) for row in inputs])


def _tokens(text, preprocessor):
    if preprocessor is None:
        raise ValueError(
            "A text takes a model with a preprocessor, and this one has "
            f"none: pass token ids. Received: inputs={text!r}."
        )
    return preprocessor.tokenizer(text)


def _as_array(x):
    return x if isinstance(x, np.ndarray) else _numpy(x)


def _numpy(x):
    if isinstance(x, list | tuple) or not keras.ops.is_tensor(x):
        return np.asarray(x)
    return keras.ops.convert_to_numpy(x)


def _padded(rows):
    """Rows of any lengths as one array, and where they are."""
    for row in rows:
        if row.ndim != 1 or not (row.size == 0 or row.dtype.kind in "iu"):
            raise ValueError(
                "Argument `inputs` must be texts or rows of token ids. "
                f"Received: {row.dtype} of shape {row.shape}."
            )
    lengths = np.array([len(row) for row in rows])
    if not lengths.size or not lengths.max():
        raise ValueError(
            "Argument `inputs` must hold at least one token. Received: none."
        )
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    token_ids = np.zeros(mask.shape, "int32")
    token_ids[mask] = np.concatenate(rows)
    return token_ids, mask
