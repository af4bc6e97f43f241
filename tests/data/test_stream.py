"""Rows of files of every format, read one after the other."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pytest

from tuning.data import files, stream
from tuning.data.stream import MAX_CHARACTERS, problem_of, stream_rows
from tuning.data.tables import read_files
from tuning.errors import DataError


def rows_of(path: Path, **options: Any) -> list[tuple[int, str, str]]:
    return [(row.number, row.text, row.problem) for row in stream_rows(str(path), **options)]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


FRAME = pd.DataFrame({"id": ["1", "2"], "review_body": ['good, "really"\nvery', "grün"]})
GOOD = {
    "csv": FRAME.to_csv(index=False).encode(),
    "tsv": b'id\treview_body\n1\tgood, "really"\\nvery\n2\tgr\xc3\xbcn\n',
    "jsonl": FRAME.to_json(orient="records", lines=True).encode(),
    "parquet": FRAME.to_parquet(),
    "txt": 'good, "really"\\nvery\ngrün\n'.encode(),
}


def parquet_of(*values: object, dtype: Any = None) -> bytes:
    return pd.DataFrame({"text": pd.Series(values, dtype=dtype)}).to_parquet()


YEAR_10000 = parquet_of(253_402_300_800, dtype=pd.ArrowDtype(pyarrow.timestamp("s")))


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("ending", GOOD)
def test_every_format_gives_its_texts(ending: str, packed: str, tmp_path: Path) -> None:
    shares: list[float] = []
    path = write(tmp_path / f"r.{ending}{packed}", GOOD[ending])
    rows = rows_of(path, on_read=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert [text.replace("\\n", "\n") for _, text, _ in rows] == FRAME["review_body"].tolist()
    assert [(number, problem) for number, _, problem in rows] == [(1, ""), (2, "")]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("r.csv", b'text,n\ngood,1\n"",2\nfine,2\n', "no text"),
        ("r.jsonl", b'{"text":"good"}\n{"text":null}\n{"text":"fine"}\n', "no text"),
        ("r.jsonl", b'{"text":"good"}\n{"other":"a"}\n{"text":"fine"}\n', "no text"),
        ("r.jsonl", b'{"text":"good"}\n{"text":["a"]}\n{"text":"fine"}\n', "no text"),
        ("r.txt", b"good\n \nfine\n", "no text"),
        ("r.parquet", parquet_of(b"good", None, b"fine"), "no text"),
    ],
)
def test_row_without_a_text_is_named_and_the_others_stay(
    name: str, data: bytes, expected: str, tmp_path: Path
) -> None:
    first, (number, _, problem), last = rows_of(write(tmp_path / name, data))
    assert (first, last) == ((1, "good", ""), (3, "fine", ""))
    assert (number, problem) == (2, expected)


@pytest.mark.parametrize("n_rows", [1, 2, 100])
@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("r.csv.gz", '\ufefftext,n\n"good, fine",1\n', ["good, fine"]),
        ("r.csv", "\n\ntext,n\ngood,1\nfine,2\n", ["good", "fine"]),
        ("r.tsv", "\ntext\tn\ngood\t1\nfine\t2\n", ["good", "fine"]),
        # The row numbers join the predictions with the table: a line of spaces is no row.
        ("r.csv", 'id,text\n1,good\n   \n \t\n\n1,""\n1,bad\n', ["good", "", "bad"]),
        ("r.csv", "n,text,m\n1,good,2\n3,fine\n4\n", ["good", "fine", ""]),
        ("r.jsonl", '{"text": "1", "n": true}\n\n{"text": null, "n": 1.50}\n', ["1", ""]),
        ("r.jsonl", '{"text": 1e5}\n{"text": false}\n{"text": NaN}\n', ["100000.0", "0", ""]),
    ],
)
def test_rows_and_columns_are_those_that_training_reads(
    name: str,
    content: str,
    texts: list[str],
    n_rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "PART_ROWS", n_rows)
    path = write(tmp_path / name, content.encode())
    assert rows_of(path) == [
        (n, text, "" if text else "no text") for n, text in enumerate(texts, 1)
    ]
    assert read_files(str(path)).frame["text"].tolist() == texts


def test_parquet_file_that_repeats_a_large_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pd.DataFrame({"text": pd.Categorical(["a" * 100_000] * 400)})
    path = write(tmp_path / "r.parquet", texts.to_parquet())
    assert path.stat().st_size < 10_000
    assert len(rows_of(path)) == 400
    monkeypatch.setattr(files, "MIN_DECOMPRESSION_BOMB_BYTES", 2**24)
    with pytest.raises(DataError, match=r"r.parquet must unpack to at most 100 times"):
        rows_of(path)


def test_text_over_the_limit_is_named() -> None:
    assert problem_of("a" * MAX_CHARACTERS) == ""
    assert "of 100,001 characters" in problem_of("a" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("r.csv", b"id,words\n1,good\n", "id, words"),
        ("r.csv", b"", "comma-separated with a header line; it is empty"),
        ("r.tsv", b"", "tab-separated with a header line; it is empty"),
        ("r.csv", "text,n\ngood,1\n".encode("utf-16"), "must be UTF-8"),
        ("r.csv", b'text,n\n"good,1\n', "EOF inside string starting at row 1"),
        ("r.csv", b"text,n\ngood,1\nbad,1,2\n", "line 3, saw 3. Quote the commas"),
        ("r.csv", b"text;n\ngood;1\n", "Save it with commas, or with tabs as .tsv"),
        ("r.csv", b"text,n\ngood,1\nb\xe9,2\n", "must be UTF-8; .* at byte 15"),
        ("r.txt", b"good\nb\xe9\n", "must be UTF-8"),
        ("r.csv", b"text,n,text\ngood,1,\n", "r.csv must name each column once; 'text' occurs"),
        ("r.tsv", b"text\tn\ttext\ngood\t1\t\n", "must name each column once; 'text' occurs"),
        ("r.jsonl", b"", "it has none"),
        ("r.jsonl", b"junk\n", "line 1 is none"),
        ("r.jsonl", b'{"id":1}\n', "give text_column one of id"),
        ("r.parquet", b"junk", "must be a Parquet file"),
        ("r.parquet", YEAR_10000, "must be a Parquet file; reading it gave|must have texts"),
        ("r.csv.gz", b"", "header line; it is empty"),
    ],
)
def test_file_that_is_no_table_of_texts_is_refused(
    name: str, data: bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        rows_of(write(tmp_path / name, data))


def test_columns_may_have_no_name(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", b"n,text,,\n1,good,,\n")
    assert rows_of(path) == [(1, "good", "")]


def test_reviews_instead_of_a_header_are_cut_in_the_sentence(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv", ",".join(f"{n} a long review " * 50 for n in range(60)).encode() + b"\n"
    )
    with pytest.raises(DataError) as raised:
        rows_of(path)
    assert len(str(raised.value)) < 3_000
    assert "and 20 more" in str(raised.value)


def test_column_of_the_training_data_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", b"text,body\nno,good\n")
    assert rows_of(path, trained_on="body") == [(1, "good", "")]
    assert rows_of(path, trained_on="body", text_column="text") == [(1, "no", "")]
    assert rows_of(path, trained_on="data/body") == [(1, "good", "")]
    columns: list[str] = []
    assert rows_of(path, on_column=columns.append) == [(1, "no", "")]
    assert columns == ["text"]
    # Another known column, such as the text without its title, would give other labels.
    with pytest.raises(DataError, match=r"'joined', .* text_column one of text, body"):
        rows_of(path, trained_on="joined")
    assert rows_of(path, trained_on="joined", text_column="body") == [(1, "good", "")]
    assert rows_of(write(tmp_path / "r.txt", b"good\n"), trained_on="joined") == [(1, "good", "")]


def test_missing_file_names_its_own_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file must name a file"):
        stream_rows(str(tmp_path / "none.csv"))


def test_rows_of_a_pattern_say_which_file_they_are_of(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.txt", f"of {name}\n".encode())
    shares: list[float] = []
    rows = list(stream_rows(str(tmp_path / "*.txt"), on_read=shares.append))
    assert [(Path(row.file).name, row.number, row.text) for row in rows] == [
        ("a.txt", 1, "of a"),
        ("b.txt", 1, "of b"),
    ]
    assert shares == sorted(shares) and shares[-1] == 1.0
