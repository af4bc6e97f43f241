"""Texts in chunks: no text is lost or moved for any size of chunks and any number of threads."""

import threading

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.data.text_bytes import byte_lengths, joined, map_chunks, split_up

SHORT_TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=12)


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
