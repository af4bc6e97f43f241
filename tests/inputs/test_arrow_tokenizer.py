"""The tokens of many texts at once are those of `TextVectorization`."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS
from tuning.inputs.arrow_tokenizer import tokenize
from tuning.inputs.tokenizer import split


def lists(texts: list[str]) -> list[list[bytes]]:
    tokens = tokenize(texts)
    words = tokens.words.take(tokens.ids).to_pylist()
    ends = [0, *tokens.lengths.cumsum()]
    return [words[start:end] for start, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ('The cat\'s 5-star "toy"!', ["the", "cats", "5star", "toy"]),
        ("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'", []),
        (" a\tb\nc\x0bd\x0ce\rf ", ["a", "b", "c", "d", "e", "f"]),
        ("ÀÉ naïve STRASSE", ["ÀÉ", "naïve", "strasse"]),
        ("a\xa0b\u2003c\x85d\x1ce", ["a\xa0b\u2003c\x85d\x1ce"]),
        ("a\0b \0", ["a\0b", "\0"]),
        ("“quoted” — 日本語 😀", ["“quoted”", "—", "日本語", "😀"]),
        ("", []),
    ],
)
def test_tokenize_splits_as_keras_does(text: str, tokens: list[str]) -> None:
    assert [[token.decode() for token in text_tokens] for text_tokens in lists([text])] == [tokens]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(TEXTS, max_size=8))
@example(["".join(map(chr, range(128))), "", "ÿ ", " "])
@example([])
def test_tokenize_gives_the_tokens_of_each_text(texts: list[str]) -> None:
    assert lists(texts) == [split(text) for text in texts]
