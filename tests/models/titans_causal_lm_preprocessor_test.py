"""Strings become tokens, labels and weights; prompts have no end."""

import keras_hub
import numpy as np
import pytest

from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansCausalLMPreprocessor
from keras_titans.models import TitansTokenizer

PAD, START, END = 256, 257, 258


def make(**options):
    return TitansCausalLMPreprocessor(
        TitansByteTokenizer(), sequence_length=6, **options
    )


def test_labels_are_the_next_tokens():
    x, y, weight = make()(["abc", "abcdefgh"])
    a = 97
    wanted = np.array(
        [
            [START, a, a + 1, a + 2, END, PAD, PAD],
            [START, a, a + 1, a + 2, a + 3, a + 4, END],
        ]
    )
    np.testing.assert_array_equal(x["token_ids"], wanted[:, :-1])
    np.testing.assert_array_equal(y, wanted[:, 1:])
    np.testing.assert_array_equal(x["padding_mask"], wanted[:, :-1] != PAD)
    np.testing.assert_array_equal(weight, wanted[:, 1:] != PAD)


def test_start_and_end_may_be_left_out():
    x, _, _ = make(add_start_token=False, add_end_token=False)(["abc"])
    np.testing.assert_array_equal(x["token_ids"], [[97, 98, 99, PAD, PAD, PAD]])


def test_a_prompt_has_no_end():
    preprocessor = make()
    x = preprocessor.generate_preprocess(["ab", "w"], sequence_length=4)
    np.testing.assert_array_equal(
        x["token_ids"], [[START, 97, 98, PAD], [START, 119, PAD, PAD]]
    )
    assert preprocessor.generate_postprocess(x) == ["ab", "w"]


@pytest.mark.parametrize("byte_pairs", [False, True])
def test_a_preset(byte_pairs, tmp_path):
    if byte_pairs:
        tokenizer = TitansTokenizer.train(["the cat the cat"], 262)
    else:
        tokenizer = TitansByteTokenizer()
    one = TitansCausalLMPreprocessor(tokenizer, sequence_length=9)
    TitansBackbone(262, 1, 4, 2, 4, mixers="attention").save_to_preset(
        str(tmp_path)
    )
    one.save_to_preset(str(tmp_path))
    for cls in (
        TitansCausalLMPreprocessor,
        keras_hub.models.CausalLMPreprocessor,
    ):
        other = cls.from_preset(str(tmp_path))
        assert type(other) is TitansCausalLMPreprocessor
        assert type(other.tokenizer) is type(tokenizer)
        assert other.sequence_length == 9
        wanted, have = (p(["the cat"])[0]["token_ids"] for p in (one, other))
        np.testing.assert_array_equal(have, wanted)
