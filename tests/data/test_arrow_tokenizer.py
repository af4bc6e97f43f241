"""Texts in chunks: no text is lost or moved for any size of the chunks and any number of threads,
and the tokens are those of `TextVectorization`.
"""

import itertools
import threading

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS
from tuning.data.arrow_tokenizer import byte_lengths, joined, map_chunks, split_up, tokenize

SHORT_TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=12)
_LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))


def one_by_one(text: str) -> list[bytes]:
    """Return the tokens of one text, computed word by word."""
    return text.encode().translate(_LOWER, b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'").split()


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
    assert lists(texts) == [one_by_one(text) for text in texts]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(TEXTS, max_size=8))
def test_words_are_the_different_tokens_in_the_order_of_the_texts(texts: list[str]) -> None:
    tokens = [token for text in texts for token in one_by_one(text)]
    assert tokenize(texts).words.to_pylist() == list(dict.fromkeys(tokens))


@pytest.mark.parametrize("dtype", ["str", "object"])
def test_tokenize_takes_a_column(dtype: str) -> None:
    column = pd.Series(["a b", "b"], dtype=dtype, index=[7, 8])
    tokens = tokenize(column)
    assert (tokens.ids.tolist(), tokens.lengths.tolist(), str(tokens.ids.dtype)) == (
        [0, 1, 1],
        [2, 1],
        "int32",
    )


# Chunks


def column(texts: list[str]) -> pd.Series:
    return pd.Series(texts, dtype="str")


@settings(derandomize=True, deadline=None)
@given(SHORT_TEXTS, st.integers(1, 30))
def test_chunks_are_the_texts_in_their_order(texts: list[str], chunk_bytes: int) -> None:
    chunks = [chunk.tolist() for chunk in split_up(column(texts), chunk_bytes)]
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(chunks)


@settings(derandomize=True, deadline=None)
@given(SHORT_TEXTS, st.integers(1, 30))
def test_chunk_exceeds_its_size_by_less_than_one_text(texts: list[str], chunk_bytes: int) -> None:
    assert all(
        len(joined(chunk.iloc[1:], end=b"")) < chunk_bytes
        for chunk in split_up(column(texts), chunk_bytes)
    )


@settings(derandomize=True, deadline=None)
@given(SHORT_TEXTS)
def test_joined_texts_are_utf8(texts: list[str]) -> None:
    for end in (b"", b"\xff"):
        assert (
            joined(texts, end=end)
            == joined(column(texts), end=end)
            == b"".join(text.encode() + end for text in texts)
        )
    assert byte_lengths(column(texts)).tolist() == [len(text.encode()) for text in texts]


@pytest.mark.parametrize("n_threads", [1, 2, 5, None])
def test_map_chunks_keeps_the_order(n_threads: int | None) -> None:
    texts = [str(number) for number in range(100)]
    chunks = map_chunks(pd.Series.tolist, column(texts), n_threads=n_threads, chunk_bytes=3)
    assert [text for chunk in chunks for text in chunk] == texts


def test_map_chunks_holds_a_few_chunks_only() -> None:
    started: list[str] = []
    chunks = map_chunks(started.extend, column(["a"] * 100), n_threads=2, chunk_bytes=1)
    next(chunks)
    assert len(started) <= 5
    chunks.close()


def test_closed_map_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    chunks = map_chunks(len, column(["a"] * 100), n_threads=2, chunk_bytes=1)
    next(chunks)
    chunks.close()
    assert set(threading.enumerate()) == before
