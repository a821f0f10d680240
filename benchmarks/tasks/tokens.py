"""Text as tokens: bytes, or byte pairs that are learned from texts.

Both give any text back unchanged, and know how many bytes each token stands
for, which is what makes models with different tokens comparable.
"""

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from benchmarks.tasks.task import check_count

# No token spans two of these, so a number is always cut into its digits and a
# sentence into the same tokens wherever it stands.
PIECES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s"
NUM_BYTES = 256


class Bytes:
    """A token for each byte of UTF-8."""

    vocabulary_size = NUM_BYTES
    byte_lengths = np.ones(NUM_BYTES, "int64")

    def encode(self, text):
        return np.frombuffer(text.encode(), "uint8").astype("int32")

    def decode(self, tokens):
        return np.asarray(tokens, "uint8").tobytes().decode(errors="replace")


class BytePairs:
    """Byte pairs that are frequent in texts; what is not, byte by byte.

    Args:
        texts: What to learn from: the training half of a task's.
        vocabulary_size: Tokens at most, at least the 256 bytes.
    """

    def __init__(self, texts, vocabulary_size):
        check_count("vocabulary_size", vocabulary_size, least=NUM_BYTES)
        if isinstance(texts, str):
            raise ValueError(
                "Argument `texts` must be an iterable of strings. Received: "
                "a string."
            )
        self._model = tokenizers.Tokenizer(tokenizers.models.BPE())
        self._model.decoder = tokenizers.decoders.ByteLevel()
        self._model.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(PIECES), "isolated"),
                pre_tokenizers.ByteLevel(
                    add_prefix_space=False, use_regex=False
                ),
            ]
        )
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            # Sorted, so that the same texts give the same ids.
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self._model.train_from_iterator(texts, trainer)
        self.vocabulary_size = self._model.get_vocab_size()
        # Each byte is one character in the way byte-level BPE writes tokens.
        written = map(self._model.id_to_token, range(self.vocabulary_size))
        self.byte_lengths = np.array([len(token) for token in written])

    def encode(self, text):
        return np.array(self._model.encode(text).ids, "int32")

    def decode(self, tokens):
        return self._model.decode([int(token) for token in tokens])
