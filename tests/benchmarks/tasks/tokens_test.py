"""Tokens give the text back, and say how many bytes they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks.tokens import BytePairs
from benchmarks.tasks.tokens import Bytes

TEXTS = ["the cat sat on the mat in 1984.", "the hat on the cat, 4719 times"]
TOKENIZERS = [Bytes(), BytePairs(TEXTS, 270)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(st.text(max_size=30))
def test_any_text_comes_back(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokens.dtype == "int32"
    assert tokenizer.decode(tokens) == text
    assert tokenizer.byte_lengths[tokens].sum() == len(text.encode())
    assert tokens.max(initial=0) < tokenizer.vocabulary_size


def test_byte_pairs_are_shorter_but_for_digits():
    pairs = TOKENIZERS[1]
    assert len(pairs.encode("the cat")) < 4
    assert len(pairs.encode("4719")) == 4
    assert pairs.vocabulary_size == len(pairs.byte_lengths) <= 270


def test_a_sentence_has_the_same_tokens_wherever_it_stands():
    pairs = TOKENIZERS[1]
    whole = pairs.encode(" the cat sat. the mat.")
    apart = [pairs.encode(" the cat sat."), pairs.encode(" the mat.")]
    np.testing.assert_array_equal(whole, np.concatenate(apart))


def test_the_same_texts_give_the_same_tokens():
    again = BytePairs(TEXTS, 270)
    np.testing.assert_array_equal(
        again.encode(TEXTS[0]), TOKENIZERS[1].encode(TEXTS[0])
    )


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`vocabulary_size` .* at least 256"):
        BytePairs(TEXTS, 255)
    with pytest.raises(ValueError, match="`texts` must be an iterable"):
        BytePairs("the cat", 300)
