"""Byte pairs as tokens."""

import json
import os
from collections.abc import Iterable

import keras
import keras_hub
import tokenizers
from tokenizers import pre_tokenizers

from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.models.titans_byte_tokenizer import SPECIAL
from keras_titans.validation import check_positive_integer

# What a token may span. KerasHub cuts text in one way inside a `tf.data`
# pipeline and in another outside. No token spans a cut of either, so both find
# the same ones; and each digit is a token of its own.
PIECES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s"
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


@keras.saving.register_keras_serializable("keras_titans")
class TitansTokenizer(keras_hub.tokenizers.BytePairTokenizer):
    """A byte-pair tokenizer, which `train` makes from any texts.

    Any text can be tokenized and comes back unchanged: what no longer
    token covers is covered byte by byte.

    Args:
        vocabulary: A dictionary of each token and its id, or a JSON file's
            name. It has the tokens `"<|pad|>"`, `"<|start|>"` and
            `"<|end|>"`.
        merges: A list of merge rules, or a file's name.
        **kwargs: As `keras_hub.tokenizers.BytePairTokenizer`.

    Example:

    ```python
    from keras_titans.models import TitansTokenizer

    texts = ["the cat sat on the mat", "the hat on the cat"]
    tokenizer = TitansTokenizer.train(texts, vocabulary_size=270)
    ids = tokenizer("the cat")
    text = tokenizer.detokenize(ids)
    ```

    References:
        - [Neural Machine Translation of Rare Words with Subword Units](
            https://arxiv.org/abs/1508.07909)
    """

    backbone_cls = TitansBackbone

    def __init__(self, vocabulary=None, merges=None, **kwargs):
        for name, token in SPECIAL.items():
            self._add_special_token(token, name)
        _check_parts(vocabulary, merges)
        super().__init__(vocabulary=vocabulary, merges=merges, **kwargs)
        self.built = True  # there is nothing to build

    @classmethod
    def train(cls, texts, vocabulary_size, **kwargs):
        """Make a tokenizer whose tokens are what is frequent in texts.

        Args:
            texts: An iterable of strings.
            vocabulary_size: How many tokens, the 3 special ones and the 256
                bytes included. Fewer if the texts give no more.
            **kwargs: For the constructor.

        Returns:
            A `TitansTokenizer`.
        """
        vocabulary_size = check_positive_integer(
            "vocabulary_size", vocabulary_size
        )
        smallest = len(SPECIAL) + len(ALPHABET)
        if vocabulary_size < smallest:
            raise ValueError(
                f"Argument `vocabulary_size` must be at least {smallest}: the "
                f"special tokens and the bytes. Received: {vocabulary_size}."
            )
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise ValueError(
                "Argument `texts` must be an iterable of strings. Received: "
                f"texts={texts!r:.60}."
            )
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(PIECES), "isolated"),
                pre_tokenizers.ByteLevel(
                    add_prefix_space=False, use_regex=False
                ),
            ]
        )
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=list(SPECIAL.values()),
            initial_alphabet=ALPHABET,
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        trained = json.loads(model.to_str())["model"]
        merges = [
            merge if isinstance(merge, str) else " ".join(merge)
            for merge in trained["merges"]
        ]
        if not merges:
            raise ValueError(
                "Arguments `texts` and `vocabulary_size` must leave a pair of "
                "tokens to merge. Received: vocabulary_size="
                f"{vocabulary_size}, and {smallest} tokens are the least."
            )
        return cls(trained["vocab"], merges, **kwargs)


def _check_parts(vocabulary, merges):
    """Raise a ValueError but for both of them, or none to be loaded later."""
    for name, value, kind, what, other in (
        ("vocabulary", vocabulary, dict, "a dictionary", merges),
        ("merges", merges, list | tuple, "a list", vocabulary),
    ):
        missing = value is None and other is not None
        if missing or not isinstance(value, kind | str | None):
            raise ValueError(
                f"Argument `{name}` must be {what} or a file's name, or None "
                f"where the other is. Received: {name}={value!r:.60}."
            )
        if isinstance(value, str) and not os.path.isfile(value):
            raise ValueError(
                f"Argument `{name}` must name a file that exists. "
                f"Received: {name}={value!r}."
            )
