"""Parquet files of any kind, and small ones that unpack to more than the limit."""

import contextlib
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from tests.texts import make_reviews
from tuning.data import files
from tuning.data.tables import read_files
from tuning.errors import DataError


def written(path: Path, table: pyarrow.Table, **options: object) -> Path:
    pyarrow.parquet.write_table(table, path, **{"compression": "zstd", **options})
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string_view(),
        pyarrow.large_string(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
)
def test_file_that_unpacks_to_more_than_the_limit_is_refused(
    kind: pyarrow.DataType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row repeats the text of a dictionary, and counts whatever holds it."""
    table = pyarrow.table({"text": pyarrow.array(["a" * 1_000_000] * 50).cast(kind)})
    path = written(tmp_path / "large.parquet", table)
    assert path.stat().st_size < 3_000
    for n_bytes in (51_000_000, 50_000_000):
        monkeypatch.setattr(files, "MIN_DECOMPRESSION_BOMB_BYTES", n_bytes)
        expected = pytest.raises(DataError, match=r"large.parquet must unpack to at most 100 times")
        with contextlib.nullcontext() if n_bytes > 50_000_000 else expected:
            read_files(str(path))


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
        raw=["né".encode(), b"x", None] * 100,
        liked=[True, False, None] * 100,
    )
    path = written(tmp_path / "good.parquet", pyarrow.Table.from_pandas(frame), **options)
    expected = (
        frame.astype({"kind": str, "star_rating": str})
        .assign(when="2026-01-02 00:00:00", raw=["né", "x", ""] * 100, liked=["1", "0", ""] * 100)
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


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("csv", "text,label,text\nx,1,y\n"),
        ("tsv", "text\tlabel\ttext\nx\t1\ty\n"),
    ],
)
def test_column_named_twice_in_a_header_is_refused(
    ending: str, content: str, tmp_path: Path
) -> None:
    path = tmp_path / f"twice.{ending}"
    path.write_text(content)
    with pytest.raises(DataError, match=r"'(text|label)' occurs more than once"):
        read_files(str(path))


def test_columns_without_a_name_and_many_columns_are_read(tmp_path: Path) -> None:
    """The last of the names that are compared may be cut."""
    path = tmp_path / "many.csv"
    names = [f"column{number}" for number in range(10_000)]
    path.write_text(",".join(names) + "\n")
    assert len(read_files(str(path)).frame.columns) == 10_000
    path = tmp_path / "spam.csv"
    path.write_text("label,text,,\nham,x,,\n")
    assert read_files(str(path)).frame.iloc[0].tolist() == ["ham", "x", "", ""]


def test_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path / "empty.parquet", pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    )
    assert list(read_files(str(path)).frame.columns) == ["text"]


def test_footer_with_a_changed_byte_is_read_or_refused(tmp_path: Path) -> None:
    """Only every thirtieth byte is changed: pyarrow may end its process at other broken files."""
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


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_lists_are_read_as_json_if_they_are_asked_for(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"text": ["x", "y", "z"], "tags": [["a", "é"], [], ["b"]]})
    path = tmp_path / f"a.{ending}"
    if ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.assign(pairs=[{"a": 1, "b": [2]}] * 3).to_parquet(path)
    without = read_files(str(path))
    assert (list(without.frame), without.lists) == (["text"], ("tags",))
    read = read_files(str(path), with_lists=True)
    table = read.frame
    assert read.lists == ()
    assert table.to_dict("list") == {"text": ["x", "y", "z"], "tags": ['["a", "é"]', "[]", '["b"]']}
