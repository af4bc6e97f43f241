"""Rows of files of every format, read one after the other. Rows that can't be read are named and
kept.
"""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pytest

from tuning.data import stream
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
        ("r.csv", b"text,n\ngood,1\nbad,1,2\nfine,2\n", "line 3: 3 fields, not 2"),
        ("r.csv", b"sep=;\ntext;n\ngood;1\nbad;1;2\nfine;2\n", "line 4: 3 fields, not 2"),
        ("r.csv", b'text,n\ngood,1\n"",2\nfine,2\n', "no text"),
        ("r.csv", b"text,n\ngood,1\nb\xe9,2\nfine,2\n", "not UTF-8"),
        ("r.tsv", b"text\tn\ngood\t1\nbad\t1\t2\nfine\t2\n", "line 3: 3 fields, not 2"),
        ("r.jsonl", b'{"text":"good"}\n{"text":\n{"text":"fine"}\n', "line 2: not a JSON object"),
        ("r.jsonl", b'{"text":"good"}\n{"text":"b\xe9"}\n{"text":"fine"}\n', "line 2: not UTF-8"),
        ("r.jsonl", b'{"text":"good"}\n{"text":["a"]}\n{"text":"fine"}\n', "text is a list"),
        ("r.jsonl", b'{"text":"good"}\n{"text":null}\n{"text":"fine"}\n', "no text"),
        ("r.jsonl", b'{"text":"good"}\n{"other":"a"}\n{"text":"fine"}\n', "no text"),
        ("r.txt", b"good\n \nfine\n", "no text"),
        ("r.txt", b"good\nb\xe9\nfine\n", "not UTF-8"),
        ("r.parquet", parquet_of(b"good", None, b"fine"), "no text"),
        ("r.parquet", parquet_of(b"good", b"b\xe9", b"fine"), "not UTF-8"),
    ],
)
def test_bad_row_is_named_and_the_others_stay(
    name: str, data: bytes, expected: str, tmp_path: Path
) -> None:
    first, (number, _, problem), last = rows_of(write(tmp_path / name, data))
    assert (first, last) == ((1, "good", ""), (3, "fine", ""))
    assert (number, problem) == (2, expected)


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("r.csv", "text;n\ngood, fine;1\n", ["good, fine"]),
        ("r.csv.gz", "sep=;\ntext;n\ngood, fine;1\n", ["good, fine"]),
        ("r.csv.gz", "\ufefftext\tn\ngood; fine\t1\n", ["good; fine"]),
        ("r.csv", '"text";"n, m"\n"good; fine";"1"\n', ["good; fine"]),
        # Empty lines before the header
        ("r.csv", "\ntext,n\ngood,1\nfine,2\n", ["good", "fine"]),
        ("r.csv", "sep=;\n\n\ntext;n\ngood;1\nfine;2\n", ["good", "fine"]),
        ("r.tsv", "\ntext\tn\ngood\t1\nfine\t2\n", ["good", "fine"]),
        # The row numbers join the predictions with the table: a line of spaces is no row, and a
        # row of empty cells between tabs is one.
        ("r.csv", 'id,text\n1,good\n   \n \t\n\n1,""\n1,bad\n', ["good", "", "bad"]),
        ("r.csv", 'text\ngood\n   \n \t\n\n""\nbad\n', ["good", "", "bad"]),
        ("r.csv", "text\tn\ngood\t1\n\t\nbad\t0\n", ["good", "", "bad"]),
        # The last cells of a short row
        ("r.csv", "n,text,m\n1,good,2\n3,fine\n4\n", ["good", "fine", ""]),
        # Values that are no texts
        ("r.jsonl", '{"text": "1", "n": true}\n\n{"text": null, "n": 1.50}\n', ["1", ""]),
        ("r.jsonl", '{"text": 1e5}\n{"text": false}\n{"text": NaN}\n', ["100000.0", "0", ""]),
    ],
)
def test_rows_and_columns_are_those_that_training_reads(
    name: str, content: str, texts: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / name, content.encode())
    assert rows_of(path) == [
        (n, text, "" if text else "no text") for n, text in enumerate(texts, 1)
    ]
    frame = read_files(str(path)).frame
    for column in frame:
        rows = rows_of(path, text_column=str(column))
        assert [text for _, text, _ in rows] == frame[column].tolist()


def test_quote_that_is_never_closed_names_its_lines_and_ends_at_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r.csv", b'text,n\ngood,1\n"open,2\nswallowed,3\n')
    assert rows_of(path) == [(1, "good", ""), (2, "", "lines 3 to 4: a quote is not closed")]
    monkeypatch.setattr(stream, "MAX_FIELD", 40)
    path = write(tmp_path / "r.csv", b'text,n\n"open,2\n' + b"swallowed,3\n" * 5 + b"good,4\n")
    rows = rows_of(path)
    assert "is a quote not closed?" in rows[0][2]
    assert rows[-1][1:] == ("good", "")


def test_quotes_that_open_in_each_line_make_no_record_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_RECORD", 100)
    path = write(tmp_path / "a.csv", b"text\n" + b'"a\n",' * 50 + b"\ngood\n")
    problems = [problem for _, _, problem in rows_of(path)]
    assert "a record of more than 100 characters" in problems[0]
    assert len(problems) > 1  # and it goes on


def test_long_rows_of_json_are_not_all_peeked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_RECORD", 100)
    path = write(
        tmp_path / "a.jsonl",
        b"".join(b'{"text": "row %d %s"}\n' % (n, b"x" * 60) for n in range(20)),
    )
    assert [text.split()[1] for _, text, _ in rows_of(path)] == [str(n) for n in range(20)]


def test_line_over_the_limit_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LINE", 50)
    path = write(
        tmp_path / "r.jsonl", b'{"text":"good"}\n{"text":"' + b"a" * 200 + b'"}\n{"text":"fine"}\n'
    )
    problems = [problem for _, _, problem in rows_of(path)]
    assert problems == ["", "line 2: longer than 50 characters", ""]


def test_parquet_file_that_repeats_a_large_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is known after each 256 rows."""
    texts = pd.DataFrame({"text": pd.Categorical(["a" * 100_000] * 400)})
    path = write(tmp_path / "r.parquet", texts.to_parquet())
    assert path.stat().st_size < 10_000
    assert len(rows_of(path)) == 400
    monkeypatch.setattr(stream, "MAX_BATCH_BYTES", 2**24)
    with pytest.raises(DataError, match=r"r.parquet must unpack to at most 16 MiB in each 256"):
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
        ("r.csv", b'text,"n\ngood,1\n', "a quote in it is not closed"),
        ("r.csv", b"text,n,text\ngood,1,\n", "r.csv must name each column once; 'text' occurs"),
        ("r.tsv", b"text\tn\ttext\ngood\t1\t\n", "must name each column once; 'text' occurs"),
        ("r.jsonl", b"", "it has none"),
        ("r.jsonl", b"junk\n", r"have no columns \(line 1: not a JSON object\)"),
        ("r.jsonl", b'{"id":1}\n', "give text_column one of id"),
        ("r.parquet", b"junk", "must be a Parquet file"),
        ("r.parquet", YEAR_10000, "must be a Parquet file; reading it gave: date value"),
        ("r.csv.gz", b"", "header line; it is empty"),
    ],
)
def test_file_that_is_no_table_of_texts_is_refused(
    name: str, data: bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        rows_of(write(tmp_path / name, data))


def test_other_columns_may_have_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", b"n,text,n,,\n1,good,2,,\n")
    assert rows_of(path) == [(1, "good", "")]


def test_reviews_instead_of_a_header_are_cut_in_the_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", ",".join(["a long review " * 50] * 60).encode() + b"\n")
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
