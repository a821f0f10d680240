"""Byte pairs: any text comes back, and what is frequent is one token."""

import keras_hub
import numpy as np
import pytest

from keras_titans.models import TitansBackbone
from keras_titans.models import TitansTokenizer

CORPUS = [
    "the cat sat on the mat, the cat's mat: 1984.",
    "  the  hat\tis on\n\nthe (cat) in 2001!",
] * 3
# Kinds of spaces, digits, signs and scripts that cutting could disagree on.
HARD = [
    *CORPUS[:2],
    "the the  the   the\n the \n\n  the\r\n the ",
    "a1b22 333 4444-55555, (6) x_y 'tis they're",
    "naïve 東京 \N{GRINNING FACE} \N{NO-BREAK SPACE}x",
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return TitansTokenizer.train(iter(CORPUS), vocabulary_size=270)


def test_any_text_comes_back(tokenizer):
    ids = tokenizer(HARD)
    assert tokenizer.detokenize(ids) == HARD
    assert all(0 <= id < 270 for row in ids for id in np.array(row))


def test_what_is_frequent_is_one_token(tokenizer):
    assert tokenizer.vocabulary_size() == 270
    assert len(tokenizer(" the")) == 1
    assert len(tokenizer(" xyz")) == 4
    assert len(tokenizer("1984")) == 4


def test_special_tokens(tokenizer):
    special = {
        tokenizer.pad_token_id,
        tokenizer.start_token_id,
        tokenizer.end_token_id,
    }
    assert special == {0, 1, 2} == set(tokenizer.special_token_ids)
    assert list(np.array(tokenizer("<|end|>"))) == [tokenizer.end_token_id]


def test_pipelines_find_the_same_tokens(tokenizer):
    """`fit` tokenizes inside a `tf.data` pipeline, `generate` outside."""
    tf = pytest.importorskip("tensorflow")
    texts = tf.data.Dataset.from_tensor_slices(HARD[:4])
    for have, text in zip(texts.map(tokenizer), HARD, strict=False):
        assert list(have.numpy()) == list(np.array(tokenizer(text))), text


def test_a_preset(tokenizer, tmp_path):
    TitansBackbone(270, 1, 4, 2, 4, mixers="attention").save_to_preset(
        str(tmp_path)
    )
    tokenizer.save_to_preset(str(tmp_path))
    for cls in (TitansTokenizer, keras_hub.models.Tokenizer):
        again = cls.from_preset(str(tmp_path))
        assert type(again) is TitansTokenizer
        for text in HARD:
            assert list(again(text)) == list(tokenizer(text))


@pytest.mark.parametrize(
    "texts, size, names",
    [
        (["a"], 258, "vocabulary_size.*259.*258"),
        (["a"], 0, "vocabulary_size"),
        ("a text", 300, "texts"),
    ],
)
def test_bad_arguments_are_named(texts, size, names):
    with pytest.raises(ValueError, match=names):
        TitansTokenizer.train(texts, size)


@pytest.mark.parametrize("missing", ["vocabulary", "merges"])
def test_a_missing_file_is_named(missing, tmp_path):
    files = {name: tmp_path / name for name in ("vocabulary", "merges")}
    for name, file in files.items():
        if name != missing:
            file.write_text("{}")
    names = {name: str(file) for name, file in files.items()}
    with pytest.raises(ValueError, match=f"`{missing}`.*file that exists"):
        TitansTokenizer(**names)
