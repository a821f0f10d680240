"""Bytes as tokens."""

import keras
import keras_hub

from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.validation import check_bool

BYTES = 256
SPECIAL = {
    "pad_token": "<|pad|>",
    "start_token": "<|start|>",
    "end_token": "<|end|>",
}
SPECIAL_IDS = {token: BYTES + i for i, token in enumerate(SPECIAL.values())}


@keras.saving.register_keras_serializable("keras_titans")
class TitansByteTokenizer(keras_hub.tokenizers.ByteTokenizer):
    """A tokenizer that needs no files: a token for each byte of UTF-8.

    Token ids are the bytes, 0 to 255, and three that no text contains: 256
    for padding, 257 for the start and 258 for the end.

    Args:
        lowercase: Whether capitals are made small first.
        **kwargs: As `keras_hub.tokenizers.ByteTokenizer`.

    Example:

    ```python
    from keras_titans.models import TitansByteTokenizer

    tokenizer = TitansByteTokenizer()
    ids = tokenizer("Hello")
    text = tokenizer.detokenize(ids)
    ```
    """

    backbone_cls = TitansBackbone

    def __init__(self, lowercase=False, **kwargs):
        for name, token in SPECIAL.items():
            self._add_special_token(token, name)
        lowercase = check_bool("lowercase", lowercase)
        super().__init__(lowercase=lowercase, **kwargs)
        self.built = True  # there is nothing to build

    def vocabulary_size(self):
        """How many token ids there are."""
        return BYTES + len(SPECIAL)

    def get_vocabulary(self):
        """A dictionary of each token and its id."""
        return {chr(i): i for i in range(BYTES)} | SPECIAL_IDS

    def token_to_id(self, token):
        """The id of a character below 256 or of a special token."""
        if token in SPECIAL_IDS:
            return SPECIAL_IDS[token]
        if len(token) != 1 or ord(token) >= BYTES:
            raise ValueError(
                "Argument `token` must be a character below 256 or one of "
                f"{list(SPECIAL_IDS)}. Received: token={token!r}."
            )
        return ord(token)

    def id_to_token(self, id):
        """The character of a byte, or the special token."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(
                f"Argument `id` must be from 0 to {self.vocabulary_size() - 1}."
                f" Received: id={id}."
            )
        return chr(id) if id < BYTES else [*SPECIAL_IDS][id - BYTES]

    def detokenize(self, inputs):
        """Text from ids, one sequence or several. Special ids say nothing."""
        if not self._use_tf_workflow():
            inputs = _bytes_only(inputs)
        return super().detokenize(inputs)

    def save_assets(self, dir_path):
        """There are none."""

    def load_assets(self, dir_path):
        """There are none."""

    def load_preset_assets(self, preset):
        """There are none."""


def _bytes_only(ids):
    """Nested lists of the ids that are bytes."""
    if keras.ops.is_tensor(ids):
        ids = keras.ops.convert_to_numpy(ids)
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    elif hasattr(ids, "to_list"):  # ragged
        ids = ids.to_list()
    if isinstance(ids, int):
        ids = [ids]
    return [
        _bytes_only(x) if not isinstance(x, int) else x
        for x in ids
        if not isinstance(x, int) or x < BYTES
    ]
