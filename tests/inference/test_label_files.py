"""Predictions of whole files: they are in order and written completely, and the memory does not
grow with the file.
"""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.paths import ROOT
from tuning.data.stream import Row
from tuning.errors import DataError, StorageError
from tuning.inference import label_files as streaming
from tuning.inference.load import Probabilities
from tuning.targets.classes import Classes
from tuning.targets.number import Number
from tuning.targets.target import Array, Target

NAMES = Classes(("bad", "good"))


def fake(texts: Sequence[str]) -> Array:
    """Return class probabilities: the class is good if the text contains that word."""
    good = np.array([0.9 if "good" in text else 0.2 for text in texts])
    return np.stack([1 - good, good], axis=1)


def rows_of(*texts: str) -> list[Row]:
    return [
        Row("r.csv", number, text, "" if text else "no text")
        for number, text in enumerate(texts, start=1)
    ]


def written(
    rows: list[Row],
    write: Callable[..., streaming.Counts],
    *,
    target: Target = NAMES,
    model: Probabilities = fake,
) -> tuple[list[str], streaming.Counts]:
    """Return the lines of the predictions of rows, and their counts. The text "malo" has few known
    tokens.
    """

    def problem_of(text: str) -> str:
        return "0 of 1 tokens are known" if text == "malo" else ""

    file = io.StringIO(newline="")
    labeled = streaming.label(rows, model, target, problem_of=problem_of)
    counts = write(labeled, file)
    return file.getvalue().splitlines(), counts


def test_predictions_stand_in_the_order_of_the_rows() -> None:
    texts = ["a longer text that is good", "bad", "", "so good"]
    (chunk,) = streaming.label(rows_of(*texts), fake, NAMES)
    labels = [prediction and prediction.label for _, prediction in chunk]
    assert [row.text for row, _ in chunk] == texts
    assert labels == ["good", "bad", None, "good"]
    (empty,) = streaming.label(rows_of("", ""), lambda texts: pytest.fail("called"), NAMES)
    assert [prediction for _, prediction in empty] == [None, None]


def test_text_for_which_the_model_gives_no_number_is_a_problem() -> None:
    def nan(texts: Sequence[str]) -> Array:
        return np.where(np.array([[text == "!!"] for text in texts]), np.nan, fake(texts))

    (chunk,) = streaming.label(rows_of("good", "!!"), nan, NAMES)
    assert [prediction is None for _, prediction in chunk] == [False, True]
    assert "gives NaN" in chunk[1][0].problem


def test_chunks_end_at_so_many_rows_or_characters() -> None:
    rows = rows_of("a", "a", "a", "a", "b" * 20, "a", "a", "a")
    sizes = [len(chunk) for chunk in streaming.chunks(rows, n_rows=3, n_characters=20)]
    assert sizes == [3, 2, 3]


def test_csv_names_each_row_and_what_is_wrong_with_it() -> None:
    lines, counts = written(rows_of("good", "malo", "", "bad"), streaming.write_csv_rows)
    assert [*csv.reader(lines)] == [
        ["file", "row", "label", "probability", "problem"],
        ["r.csv", "1", "good", "0.900000", ""],
        ["r.csv", "2", "bad", "0.800000", "0 of 1 tokens are known"],
        ["r.csv", "3", "", "", "no text"],
        ["r.csv", "4", "bad", "0.800000", ""],
    ]
    assert streaming.sentence(counts) == (
        "4 rows: 3 labeled (bad 2, good 1), 1 of them with few known tokens, the first: r.csv row 2"
        " (0 of 1 tokens are known), 1 with a problem, the first: r.csv row 3 (no text)."
    )


@pytest.mark.parametrize(
    ("name", "shown"), [("=1+1", "'=1+1"), ("-1", "-1"), ("+2.5", "+2.5"), ("-1e-05", "-1e-05")]
)
def test_label_that_looks_like_a_formula_is_none_in_the_csv(name: str, shown: str) -> None:
    """A number with a sign is no formula."""
    rows = [Row("=r.csv", 1, "good", "")]
    lines, _ = written(rows, streaming.write_csv_rows, target=Classes(("bad", name)))
    assert lines[1] == f"'=r.csv,1,{shown},0.900000,"


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            partial(streaming.write_csv_rows, has_bounds=True),
            [
                "file,row,label,probability,problem,low,high",
                "r.csv,1,1738270,,,1738268.5,1738271.5",
                "r.csv,2,,,no text,,",
            ],
        ),
        (
            streaming.write_json_rows,
            [
                '{"file": "r.csv", "row": 1, "label": 1738270.0, "probability": null,'
                ' "text": "good", "low": 1738268.5, "high": 1738271.5}',
                '{"file": "r.csv", "row": 2, "problem": "no text"}',
            ],
        ),
    ],
)
def test_rows_of_a_number_have_the_bounds_of_its_interval(
    write: Callable[..., streaming.Counts], expected: list[str]
) -> None:
    def model(texts: Sequence[str]) -> Array:
        return np.full((len(texts), 1), 1_738_270.0)

    lines, _ = written(rows_of("good", ""), write, target=Number(margin=1.5), model=model)
    assert lines == expected


def test_json_rows_hold_text_or_problem() -> None:
    lines, _ = written(rows_of("good", "malo"), streaming.write_json_rows)
    first, few = map(json.loads, lines)
    assert first == {"file": "r.csv", "row": 1, "label": "good", "probability": 0.9, "text": "good"}
    assert few["problem"] == "0 of 1 tokens are known"


def test_output_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("earlier")

    def write_half() -> None:
        with streaming.whole_file(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    for wrong in (tmp_path / "none" / "p.csv", path / "p.csv", tmp_path / ("p" * 249)):
        with (
            pytest.raises(StorageError, match="output must name a file"),
            streaming.whole_file(wrong),
        ):
            pytest.fail("opened")
    with pytest.raises(StorageError, match="output must name a file"):
        streaming.check_output(tmp_path / ("p" * 256), str(path))


def test_output_may_be_a_pipe_or_a_link(tmp_path: Path) -> None:
    """Such as /dev/stdout; a rename would put a file in the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    with streaming.whole_file(pipe) as file:
        file.write("rows")
    reader.join(10)
    assert received == ["rows"] and pipe.is_fifo()
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("earlier")
    link.symlink_to(target)
    with streaming.whole_file(link) as file:
        file.write("rows")
        file.flush()
        assert target.read_text() == "earlier"
    assert link.is_symlink() and target.read_text() == "rows"
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "target.csv", "link.csv"}


def test_output_to_standard_output_goes_through_a_redirection(tmp_path: Path) -> None:
    code = (
        "import pathlib; from tuning.inference.label_files import whole_file\n"
        "with whole_file(pathlib.Path('/dev/stdout')) as file: file.write('rows')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, cwd=ROOT)
    assert (tmp_path / "out").read_text() == "rows"


def test_output_must_not_be_a_folder_or_the_input(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("text\ngood\n")
    for output, words in (
        (tmp_path, "is a folder"),
        (Path(), "is a folder"),
        (path, "that is read"),
    ):
        with pytest.raises(DataError, match=words):
            streaming.check_output(output, str(tmp_path / "*.csv"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reviews.csv", "reviews.predictions.csv"),
        ("a.b.jsonl.gz", "a.b.predictions.csv"),
        ("*.csv", "predictions.csv"),
    ],
)
def test_output_is_called_after_its_input(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name.replace("*", "other")).touch()
    for given in (str(tmp_path / name), f"~/{name}"):
        assert str(streaming.default_output(given)) == expected


PEAK = """
import re, sys
import numpy as np
from tuning.inference import label_files as streaming
from tuning.data.stream import stream_rows
from tuning.targets.kinds import target_of

def fake(texts):
    return np.full((len(texts), 2), 0.5)

with streaming.whole_file(streaming.Path(sys.argv[1] + ".out")) as file:
    labelled = streaming.label(stream_rows(sys.argv[1]), fake, target_of(("bad", "good")))
    counts = streaming.write_csv_rows(labelled, file)
print(counts.n_rows, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_memory_does_not_grow_with_the_rows(ending: str, tmp_path: Path) -> None:
    peaks = []
    # With fewer rows the memory pools are still growing.
    for n_rows in (100_000, 280_000):
        path = tmp_path / f"{n_rows}.{ending}"
        texts = [f"review {number} {'of so many words ' * 20}" for number in range(n_rows)]
        if ending == "parquet":
            pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=20_000)
        else:
            path.write_bytes(gzip.compress("\n".join(["text", *texts]).encode(), compresslevel=1))
        command = [sys.executable, "-c", PEAK, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        counted, peak = map(int, done.stdout.split())
        assert counted == n_rows
        peaks.append(peak / 1024)
    # The unit is MiB. The 180,000 additional texts alone have 60 MiB.
    assert peaks[1] < peaks[0] + 30, peaks
