"""Small Parquet files that would unpack to gigabytes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from tests.texts import make_reviews
from tuning.data import files, parquet
from tuning.data.parquet import DecompressionBomb, read_batches
from tuning.data.stream import stream_rows
from tuning.data.tables import read_files
from tuning.errors import DataError

LONG = "a" * 1_000_000


def repeated_dictionary(n_rows: int) -> pyarrow.Table:
    """Return a file whose rows all contain the same text of a megabyte."""
    indices = pyarrow.array(np.zeros(n_rows, np.int32))
    return pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(indices, [LONG])})


def written(path: Path, table: pyarrow.Table, **options: object) -> Path:
    pyarrow.parquet.write_table(table, path, **{"compression": "zstd", **options})
    return path


def test_dictionary_that_unpacks_to_five_gigabytes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "large.parquet", repeated_dictionary(5_000))
    assert path.stat().st_size < 3_000
    before = pyarrow.default_memory_pool().max_memory()
    with pytest.raises(
        DataError,
        match=(
            r"large.parquet must unpack to at most 100 times its size, or to 256 MiB if that is"
            r" more; it unpacks to more. If you trust the file, write it as CSV."
        ),
    ):
        read_files(str(path))
    assert pyarrow.default_memory_pool().max_memory() <= max(before, 2**27)


def test_rows_stored_as_one_run_are_refused(tmp_path: Path) -> None:
    """The file stores 40,000,000 numbers, which are 320 MB, in a few kilobytes."""
    table = pyarrow.table(
        {"stars": np.zeros(4_000_000, np.int64), "text": pyarrow.nulls(4_000_000, pyarrow.string())}
    )
    with pyarrow.parquet.ParquetWriter(
        tmp_path / "large.parquet", table.schema, compression="zstd"
    ) as writer:
        for _ in range(10):
            writer.write_table(table)
    assert (tmp_path / "large.parquet").stat().st_size < 2**20
    with pytest.raises(DataError, match="must unpack to at most"):
        read_files(str(tmp_path / "large.parquet"))


def lying(data: bytes) -> bytes:
    """Return the file with metadata that give each column and row group 1,000 bytes."""
    group = pyarrow.parquet.ParquetFile(pyarrow.py_buffer(data)).metadata.row_group(0)
    for size in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        true, rest = b"", 2 * size
        while rest:
            true += bytes([rest & 0x7F | (0x80 if rest > 0x7F else 0)])
            rest >>= 7
        false = bytes([0x80 | 2000 & 0x7F, 0x80 | 2000 >> 7, *[0x80] * (len(true) - 3), 0])
        assert true in data
        data = data.replace(true, false)
    return data


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
@pytest.mark.parametrize("lies", [False, True])
def test_size_is_measured_and_not_read_from_the_metadata(
    encoding: str, lies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MIN_DECOMPRESSION_BOMB_BYTES", 2**24)
    table = pyarrow.table({"text": [f"{LONG}{number}" for number in range(40)]})
    path = written(
        tmp_path / "large.parquet", table, use_dictionary=False, column_encoding={"text": encoding}
    )
    assert path.stat().st_size < 20_000
    if lies:
        path.write_bytes(lying(path.read_bytes()))
        group = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
        assert (group.total_byte_size, group.column(0).total_uncompressed_size) == (1000, 1000)
    with pytest.raises(DataError, match="must unpack to at most"):
        read_files(str(path))


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": True},
        pytest.param(
            {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_values_that_repeat_a_long_text_are_unpacked_a_few_at_a_time(
    options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All values together need more memory than the child process may have."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 2**26)
    n_rows = 300
    path = written(tmp_path / "large.parquet", pyarrow.table({"text": [LONG] * n_rows}), **options)
    assert path.stat().st_size < 5_000
    n_read = 0
    for batch in read_batches(str(path), lambda names: names, n_rows=20_000):
        n_read += batch.num_rows
        assert batch.num_rows < n_rows
        assert batch["text"][0].as_py() == LONG
    assert n_read == n_rows


def test_page_that_needs_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "BATCH_BYTES", 2**26)
    table = pyarrow.table({"text": [LONG] * 300})
    path = written(tmp_path / "large.parquet", table, use_dictionary=False)
    with pytest.raises(
        DataError, match="must have pages and rows that unpack to less than 512 MiB"
    ):
        list(stream_rows(str(path)))


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string_view(),
        pyarrow.large_string(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
)
def test_text_counts_once_a_row_whatever_holds_it(kind: pyarrow.DataType, tmp_path: Path) -> None:
    path = written(
        tmp_path / "large.parquet", pyarrow.table({"text": pyarrow.array([LONG] * 50).cast(kind)})
    )
    with pytest.raises(DecompressionBomb):
        list(read_batches(str(path), lambda names: names, n_rows=20_000, max_bytes=2**25))
    batches = read_batches(str(path), lambda names: names, n_rows=20_000, max_bytes=2**26)
    assert sum(batch.num_rows for batch in batches) == 50


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False},
        {"compression": "gzip", "data_page_version": "2.0"},
        {"compression": "none", "row_group_size": 7},
        {
            "data_page_size": 200,
            "use_dictionary": False,
            "column_encoding": {"review_body": "DELTA_BYTE_ARRAY"},
        },
        {
            "dictionary_pagesize_limit": 100,
            "write_statistics": True,
            "write_page_checksum": True,
            "write_page_index": True,
        },
    ],
)
def test_any_way_of_writing_is_read_the_same(options: dict[str, object], tmp_path: Path) -> None:
    frame = make_reviews(300).assign(
        note=[None, "ü", ""] * 100,
        when=pd.Timestamp("2026-01-02"),
        kind=pd.Categorical(["x", "y", "x"] * 100),
    )
    path = written(tmp_path / "good.parquet", pyarrow.Table.from_pandas(frame), **options)
    expected = (
        frame.astype({"kind": str, "star_rating": str})
        .assign(when="2026-01-02 00:00:00")
        .fillna({"note": ""})
        .astype("str")
    )
    pd.testing.assert_frame_equal(read_files(str(path)).frame, expected)


def test_nested_columns_are_left_out_and_not_read(tmp_path: Path) -> None:
    rows = pyarrow.ListArray.from_arrays(
        pyarrow.array([0, 10_000_000]), pyarrow.nulls(10_000_000, pyarrow.int8())
    )
    path = written(
        tmp_path / "nested.parquet", pyarrow.table({"a": rows, "b": ["x"], "c": [{"b": 1}]})
    )
    assert read_files(str(path)).frame.to_dict("list") == {"b": ["x"]}


def test_column_named_twice_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "twice.parquet", pyarrow.table([["x"], ["y"]], names=["a", "a"]))
    with pytest.raises(DataError, match="two columns have the name 'a'"):
        read_files(str(path))


def test_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path / "empty.parquet", pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    )
    assert list(read_files(str(path)).frame.columns) == ["text"]


@pytest.mark.slow
def test_footer_with_a_changed_byte_is_read_or_refused(tmp_path: Path) -> None:
    """Only every thirtieth byte is changed, because each file is read by a process of its own."""
    table = pyarrow.table({"text": [f"text {number}" for number in range(9)], "stars": range(9)})
    path = written(tmp_path / "changed.parquet", table, store_schema=False)
    good = path.read_bytes()
    start, n_refused = len(good) - 8 - int.from_bytes(good[-8:-4], "little"), 0
    for place in range(start, len(good), 30):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        try:
            read_files(str(path))
        except DataError:
            n_refused += 1
    assert n_refused >= 3


def test_file_that_ends_its_reader_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "broken.parquet", pyarrow.table({"text": ["x"]}))
    (tmp_path / "python").write_text("#!/bin/sh\nkill -ABRT $$\n")
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DataError, match=r"must be a Parquet file.*pyarrow ended with signal 6"):
        read_files(str(path))
