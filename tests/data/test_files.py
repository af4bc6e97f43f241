"""Tables that are read from files: every format, plain and gzipped, and the messages about broken
files.
"""

import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuning.config import DataConfig
from tuning.data import tables
from tuning.data.files import FORMATS, PREDICTION_COLUMNS, text_files
from tuning.data.sources import load_reviews
from tuning.data.tables import read_files
from tuning.errors import DataError

ROWS = [
    {"review_body": 'Great, "really"', "star_rating": "5"},
    {"review_body": "Naïve — 日本語 \U0001f600", "star_rating": "1"},
    {"review_body": "", "star_rating": "3"},
]


def csv_bytes(rows: list[dict[str, str]]) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False).encode()


def tsv_bytes(rows: list[dict[str, str]]) -> bytes:
    return "".join(
        "\t".join(line) + "\n" for line in [list(rows[0]), *(list(row.values()) for row in rows)]
    ).encode()


def jsonl_bytes(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet_bytes(rows: list[dict[str, str]]) -> bytes:
    return pd.DataFrame(rows).to_parquet()


WRITERS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    ".csv": csv_bytes,
    ".tsv": tsv_bytes,
    ".jsonl": jsonl_bytes,
    ".ndjson": jsonl_bytes,
    ".parquet": parquet_bytes,
}


def save(path: Path, content: bytes | str) -> str:
    """Write a file, gzipped if its name ends in .gz, and return its path for `read_files`."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return str(path)


def refusal(pattern: str) -> str:
    with pytest.raises(DataError) as error:
        read_files(pattern)
    return str(error.value)


# What can be read


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("ending", FORMATS)
def test_read_files_gives_the_rows_of(
    tmp_path: Path, ending: str, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PART_ROWS", 2)
    told: list[tuple[str, float]] = []
    path = save(tmp_path / f"reviews{ending}{packed}", WRITERS[ending](ROWS))
    table = read_files(path, progress=lambda *both: told.append(both))
    assert table.frame.to_dict("records") == ROWS
    labels, shares = zip(*told, strict=True)
    assert {*labels} == {f"reading reviews{ending}{packed}"}
    assert [*shares] == sorted(shares) and shares[-1] == 1


def test_read_files_joins_files_of_a_pattern_by_name(tmp_path: Path) -> None:
    """The files may have their columns in another order."""
    for number, row in enumerate(ROWS):
        columns = sorted(row, reverse=number == 1)
        save(
            tmp_path / f"part-{2 - number}.csv", csv_bytes([{name: row[name] for name in columns}])
        )
    table = read_files(str(tmp_path / "part-*.csv"))
    assert table.frame.to_dict("records") == ROWS[::-1]
    assert table.frame.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_read_files_skips_a_byte_order_mark_and_takes_windows_line_ends(
    tmp_path: Path, ending: str
) -> None:
    content = WRITERS[ending](ROWS)
    of_windows = content.replace(b"\n", b"\r\n").rstrip(b"\n")
    for changed in (b"\xef\xbb\xbf" + content, of_windows):
        table = read_files(save(tmp_path / f"reviews{ending}", changed))
        assert table.frame.to_dict("records") == ROWS


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        *((name, name) for name in ("REVIEWS.CSV", "Reviews.Csv.GZ", "reviews[1].csv")),
        ("a/b/deep.csv", "**/*.csv"),
        ("reviews.csv", "~/reviews.csv"),
    ],
)
def test_read_files_finds(
    tmp_path: Path, name: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    save(tmp_path / name, csv_bytes(ROWS))
    path = pattern if pattern.startswith("~") else str(tmp_path / pattern)
    assert len(read_files(path).frame) == 3


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.csv", "text,label\n", {"text": [], "label": []}),
        ("a.csv", '\n"text\nof a review",label\n', {"text\nof a review": [], "label": []}),
        ("a.csv", "text;note,label\n", {"text;note": [], "label": []}),
        ("a.csv", "text\ngood; but slow\na\tb\n", {"text": ["good; but slow", "a\tb"]}),
        ("a.csv.gz", "\ufefftext,n\ngood,1\n", {"text": ["good"], "n": ["1"]}),
        (
            "a.csv",
            "n,text,m\n1,good,2\n3,fine\n4\n",
            {"n": ["1", "3", "4"], "text": ["good", "fine", ""], "m": ["2", "", ""]},
        ),
        ("a.csv", "text\nNA\nnull\nNone\n007\n", {"text": ["NA", "null", "None", "007"]}),
        ("a.csv", 'text,n\n"one\r\ntwo",1.50\n', {"text": ["one\r\ntwo"], "n": ["1.50"]}),
        (
            "a.tsv",
            'text\tn\n"open\t1\n5" screen\t2\n""\t3\n',
            {"text": ['"open', '5" screen', '""'], "n": ["1", "2", "3"]},
        ),
        ("a.tsv", "text\tn\na\u2028b\x85c\t1\n", {"text": ["a\u2028b\x85c"], "n": ["1"]}),
        ("a.tsv", "text\tn\ngood\n", {"text": ["good"], "n": [""]}),
        (
            "a.jsonl",
            '\n{"text": "a", "n": 1}\n  \n{"text": "b"}\n{"n": null, "text": "c"}\n\n',
            {"text": ["a", "b", "c"], "n": ["1", "", ""]},
        ),
        (
            "a.jsonl",
            '{"text": "a", "n": 5.0, "images": [1], "x": {}}',
            {"text": ["a"], "n": ["5.0"]},
        ),
        ("a.jsonl", '{"text": "x\\ud800", "yes": true}', {"text": ["x?"], "yes": ["1"]}),
        # `json.dumps` writes NaN for the missing values of a data frame.
        (
            "a.jsonl",
            '{"text": NaN, "label": "pos"}\n{"text": "x", "label": NaN}\n',
            {"text": ["", "x"], "label": ["pos", ""]},
        ),
    ],
)
def test_values_are_kept_as_they_are_written(
    tmp_path: Path, name: str, content: str, columns: dict[str, list[str]]
) -> None:
    table = read_files(save(tmp_path / name, content))
    assert table.frame.to_dict("list") == columns


# Lines that are broken


@pytest.mark.parametrize("line", ['{"text": ', "[1, 2]", "[" * 100_000, "text,label"])
def test_line_that_is_no_json_object_is_named(tmp_path: Path, line: str) -> None:
    path = save(tmp_path / "a.jsonl", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n')
    assert refusal(path) == (
        f"{path} must contain a JSON object in each line; line 2 is none. Mend or remove the line."
    )


# Files that can't be read


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "\n", "must be comma-separated .*; it is empty"),
        # More fields than the header has
        ("a.csv", "text,label\nok,1\nfine, but slow,0\n", ".* line 3, saw 3. Quote the commas"),
        ("a.csv", "text,label\nfine, but slow,0\nok,1\n", "must be comma-separated"),
        ("a.csv", "text,label\nslow,0,x\nok,1,y\n", "must be comma-separated"),
        ("a.csv", "text;label\nfine;0\n", "must be comma-.* 'text;label'. Save it with commas"),
        ("a.csv", "text\tlabel\nfine\t0\n", "must be comma-.* Save it with commas, or with tabs"),
        ("a.csv", "sep=;\ntext;label\nfine;0\n", "must be comma-.* 'sep=;'. Save it with commas"),
        ("a.tsv", "text\tlabel\nok\t1\na\tb\t0\n", "must be tab-separated .* line 3, saw 3"),
        ("a.csv", 'text,label\n"never closed,1\n', "must be comma-separated"),
        ("a.tsv", "text\ttext\tlabel\na\tb\t1\n", "must name each column once; 'text'"),
        ("a.parquet", b"not Parquet", r"must be a Parquet file; .*[^.]\.$"),
        ("a.parquet", csv_bytes(ROWS), "must be a Parquet file"),
        ("a.parquet", parquet_bytes(ROWS)[:-20], "must be a Parquet file"),
        ("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "must be a Parquet file"),
    ],
)
def test_file_of_another_format_is_refused(
    tmp_path: Path, name: str, content: bytes | str, says: str
) -> None:
    with pytest.raises(DataError, match=f"{name} {says}"):
        read_files(save(tmp_path / name, content))


@pytest.mark.parametrize(
    "name", ["missing.csv", "*.csv", "x" * 300 + ".csv", "nul\0.csv", "~no_such_user_here/a.csv"]
)
def test_name_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(name if name.startswith("~") else str(tmp_path / name))
    assert "must name a file that exists" in message
    assert f"The working directory is {Path.cwd()}." in message


def test_directory_or_link_to_no_file_is_refused(tmp_path: Path) -> None:
    assert f"Use a pattern such as '{tmp_path}/*.csv'" in refusal(str(tmp_path))
    save(tmp_path / "a.csv", csv_bytes(ROWS))
    (tmp_path / "b.csv").symlink_to(tmp_path / "none.csv")
    assert f"'{tmp_path}/b.csv' leads to none" in refusal(str(tmp_path / "*.csv"))
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.csv").mkdir()
    assert "is a directory" in refusal(str(tmp_path / "*.csv"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        *((name, "Rename the file after its format") for name in ("a.txt", "a", "a.gz", "a.json")),
        *((name, "Unpack it") for name in ("a.csv.zip", "a.csv.bz2", "a.tgz", "A.XZ")),
        ("a.xlsx", "Save it in Excel as 'CSV UTF-8'"),
    ],
)
def test_wrong_ending_is_refused_also_beside_other_files(
    tmp_path: Path, name: str, remedy: str
) -> None:
    save(tmp_path / "0.csv", csv_bytes(ROWS))
    path = save(tmp_path / name, csv_bytes(ROWS))
    for pattern in (path, str(tmp_path / "*")):
        message = refusal(pattern)
        assert f"received {name!r}" in message
        assert remedy in message


def test_files_with_different_columns_show_both(tmp_path: Path) -> None:
    save(tmp_path / "a.csv", "text,label\nx,1\n")
    save(tmp_path / "b.csv", "text,stars\nx,1\n")
    message = refusal(str(tmp_path / "*.csv"))
    assert message.endswith("a.csv has text, label, b.csv has text, stars.")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_empty_file_is_refused(tmp_path: Path, ending: str, packed: str, content: bytes) -> None:
    message = refusal(save(tmp_path / f"a{ending}{packed}", content))
    start = "must contain a JSON object" if ending in (".jsonl", ".ndjson") else "must be"
    assert f"a{ending}{packed} {start}" in message


@pytest.mark.parametrize("ending", FORMATS)
def test_packed_file_that_is_not_whole_is_refused(tmp_path: Path, ending: str) -> None:
    path, plain = tmp_path / f"a{ending}.gz", WRITERS[ending](ROWS * 1000)
    packed = gzip.compress(plain)
    damaged = bytearray(packed)
    damaged[-8] ^= 0xFF
    for content in (packed[: len(packed) // 2], damaged, plain):
        path.write_bytes(content)
        assert "must be a whole gzip file" in refusal(str(path))


@pytest.mark.parametrize(
    ("name", "line"),
    [("a.csv", "naïve é,{}\n"), ("a.tsv", "naïve é\t{}\n"), ("a.jsonl", '{{"naïve é": {}}}\n')],
)
def test_file_that_is_not_utf_8_is_refused(tmp_path: Path, name: str, line: str) -> None:
    content = "".join(line.format(number) for number in range(20_000))
    place = len(content[: content.index("15000")].encode())
    later = bytearray(content.encode())
    later[place] = 0xFF
    for encoded, position, encoding in (
        (content.encode("cp1252"), content.index("ï"), "WINDOWS-1252"),
        (content.encode("utf-16"), 0, "UTF-16"),
        (later, place, "WINDOWS-1252"),
    ):
        message = refusal(save(tmp_path / name, bytes(encoded)))
        assert message.startswith(f"{tmp_path / name} must be UTF-8; ")
        assert f" at byte {position}. " in message
        assert message.endswith(f"or convert it: `iconv -f {encoding} -t UTF-8 OLD > NEW`.")


@pytest.mark.parametrize(
    "other",
    [
        pyarrow.array([b"\xff", None]),
        pyarrow.array([253_402_300_800, None], pyarrow.timestamp("s")),  # the year 10000
        pyarrow.array([[datetime.date(2026, 1, 2)], []]),
    ],
    ids=["bytes", "date", "dates in a list"],
)
def test_column_of_a_parquet_file_that_can_t_be_text_is_left_out(
    tmp_path: Path, other: pyarrow.Array
) -> None:
    table = pyarrow.table({"text": [b"good", b"bad"], "other": other, "label": [1, 0]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    read = read_files(str(tmp_path / "a.parquet"), with_lists=True)
    assert [*read.frame.columns] == ["text", "label"] and read.left_out == ("other",)
    assert read.frame["text"].to_list() == ["good", "bad"]


def test_column_that_was_left_out_and_is_needed_is_named(tmp_path: Path) -> None:
    rows = pyarrow.table({"text": [b"caf\xe9"] * 60, "label": [0, 1] * 30})
    pyarrow.parquet.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"are not UTF-8 texts, numbers or dates .* out: text"):
        load_reviews(DataConfig(data=str(tmp_path / "a.parquet")))


# Any bytes

SIGNS = (*'",\t{}:1é\r\0[\\\ufeff\ud83d ', '"a"')
LINES = st.lists(st.lists(st.sampled_from(SIGNS), max_size=8).map("".join), max_size=8).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)

TABLES = st.lists(
    st.lists(
        st.sampled_from(
            ["a", "1", "é", "", '"b\nc"', '{"a": 1}', '{"b": "x", "a": null}', '"', "{}"]
        ),
        min_size=1,
        max_size=3,
    ),
    max_size=7,
)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
@settings(max_examples=150)
@given(
    content=st.one_of(
        LINES,
        st.binary(max_size=200),
        TABLES.flatmap(
            lambda t: st.sampled_from([",", "\t"]).map(lambda s: "\n".join(map(s.join, t)).encode())
        ),
    )
)
@example(content=b"a,a\n1,2,3")
@example(content=b'{"a": "\\ud800"}')
@example(content=b'{"\\ud800": 1}')
@example(content=b'{"a": ' + b"9" * 5000 + b"}")
@example(content=b"\xef\xbb\xbf")
@example(content=b"a,b\n1,2\n3,4\n5,6,7\n8,9")
@example(content=b'{"a": 1}\n{}\n{"b": 2}\nnone\n{"a": 3, "c": null}')
def test_any_bytes_are_the_same_table_or_data_error_in_parts_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, ending: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"parts{ending}"
    path.write_bytes(content)
    outcomes = []
    for rows in (1, 2, 1000):
        with mock.patch.object(tables, "PART_ROWS", rows):
            try:
                table = read_files(str(path))
                outcomes.append(
                    (
                        table.frame.to_csv(index=False),
                        dict(table.frame.dtypes),
                        table.frame.index.tolist(),
                    )
                )
            except DataError as error:
                outcomes.append(str(error))
    assert outcomes == [outcomes[-1]] * 3


def test_pattern_of_texts_leaves_out_earlier_predictions(tmp_path: Path) -> None:
    header = ",".join(PREDICTION_COLUMNS)
    for name, first in {
        "a.csv": "text",
        "a.predictions.csv": header,
        "b.predictions.csv": "text",
        "my_predictions.csv": header,
        "predictions.csv": header,
    }.items():
        (tmp_path / name).write_text(f"{first}\ngood\n")
    names = [path.name for path in text_files(str(tmp_path / "*.csv"))]
    assert names == ["a.csv", "b.predictions.csv", "my_predictions.csv"]
    own = [tmp_path / name for name in ("a.predictions.csv", "predictions.csv")]
    assert text_files(str(own[1])) == own[1:]
    assert text_files(str(tmp_path / "[!bm]*dictions.csv")) == own
