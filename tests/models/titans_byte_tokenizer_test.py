"""Bytes in, the same bytes out, to KerasHub's contract."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer

TEXTS = ["Ab c!", "naïve 東京 \N{GRINNING FACE}", ""]


def test_text_comes_back():
    tokenizer = TitansByteTokenizer()
    ids = tokenizer(TEXTS)
    assert [list(row) for row in ids] == [list(t.encode()) for t in TEXTS]
    assert tokenizer.detokenize(ids) == TEXTS
    assert list(np.array(tokenizer("Ab"))) == [65, 98]
    assert tokenizer.detokenize([65, 98]) == "Ab"


def test_special_tokens_are_beside_the_bytes():
    tokenizer = TitansByteTokenizer()
    special = [
        tokenizer.pad_token_id,
        tokenizer.start_token_id,
        tokenizer.end_token_id,
    ]
    assert special == [256, 257, 258]
    assert sorted(tokenizer.special_token_ids) == special
    assert tokenizer.vocabulary_size() == 259
    vocabulary = tokenizer.get_vocabulary()
    assert len(vocabulary) == len(set(vocabulary.values())) == 259
    for token, id in vocabulary.items():
        assert tokenizer.token_to_id(token) == id
        assert tokenizer.id_to_token(id) == token
    ids = np.array([[257, 65, 98, 258, 256], [257, 258, 256, 256, 256]])
    assert tokenizer.detokenize(ids) == ["Ab", ""]
    assert tokenizer.detokenize(keras.ops.convert_to_tensor(ids[0])) == "Ab"


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda t: t.token_to_id("ab"), "token"),
        (lambda t: t.token_to_id("\N{GREEK SMALL LETTER PI}"), "token"),
        (lambda t: t.id_to_token(259), "id"),
        (lambda t: t.id_to_token(-1), "id"),
    ],
)
def test_bad_arguments_are_named(call, names):
    with pytest.raises(ValueError, match=f"Argument `{names}`"):
        call(TitansByteTokenizer())


def test_a_preset(tmp_path):
    tokenizer = TitansByteTokenizer(lowercase=True)
    TitansBackbone(259, 1, 4, 2, 4, mixers="attention").save_to_preset(
        str(tmp_path)
    )
    tokenizer.save_to_preset(str(tmp_path))
    for cls in (TitansByteTokenizer, keras_hub.models.Tokenizer):
        again = cls.from_preset(str(tmp_path))
        assert type(again) is TitansByteTokenizer
        assert list(np.array(again("AB"))) == [97, 98]
