"""Texts in chunks: no text is lost or moved for any size of chunks."""

import threading
from unittest import mock

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.data import text_bytes
from tuning.data.text_bytes import byte_lengths, joined, map_chunks, split_up

SHORT_TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=12)


def column(texts: list[str]) -> pd.Series:
    return pd.Series(texts, dtype="str")


@given(SHORT_TEXTS, st.integers(1, 30))
def test_chunks_are_the_texts_in_their_order_and_near_the_size(
    texts: list[str], chunk_bytes: int
) -> None:
    with mock.patch.object(text_bytes, "CHUNK_BYTES", chunk_bytes):
        chunks = [*split_up(column(texts))]
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(map(len, chunks))
    assert all(len(joined(chunk.iloc[1:], end=b"")) < chunk_bytes for chunk in chunks)


@given(SHORT_TEXTS)
def test_joined_texts_are_utf8(texts: list[str]) -> None:
    for end in (b"", b"\xff"):
        assert (
            joined(texts, end=end)
            == joined(column(texts), end=end)
            == b"".join(text.encode() + end for text in texts)
        )
    assert byte_lengths(column(texts)).tolist() == [len(text.encode()) for text in texts]


def test_map_chunks_holds_a_few_chunks_only_and_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_bytes, "available_cores", lambda: 2)
    monkeypatch.setattr(text_bytes, "CHUNK_BYTES", 3)
    before, started = set(threading.enumerate()), list[str]()
    chunks = map_chunks(started.extend, column(["long"] * 100))
    next(chunks)
    assert len(started) <= 5
    chunks.close()
    assert set(threading.enumerate()) == before
