"""Rows of CSV files as configurations."""

from pathlib import Path

import pytest

from tuning.errors import StudyError
from tuning.spaces.foreign_trials import read_rows
from tuning.spaces.ranges import Hyperparameter

SPACE = (
    Hyperparameter(name="units", kind="int", default=8, low=4, high=16),
    Hyperparameter(name="rate", kind="float", default=0.1, low=0.0, high=1.0),
    Hyperparameter(name="deep", kind="choice", default=False, choices=(False, True)),
    Hyperparameter(name="size", kind="choice", default="1", choices=("1", "two")),
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "values.csv"
    path.write_text(text)
    return path


def test_read_rows_gives_each_cell_the_type_of_its_hyperparameter(tmp_path: Path) -> None:
    text = "\ufeffunits,rate,deep,size\n5,0.25,True,1\n,1e-3,false,two\n4.5, 1 ,maybe,\n"
    trials, left_out = read_rows(write(tmp_path, text), SPACE)
    assert [(trial.name, trial.values) for trial in trials] == [
        ("row 1", {"units": 5, "rate": 0.25, "deep": True, "size": "1"}),
        ("row 2", {"rate": 0.001, "deep": False, "size": "two"}),
        ("row 3", {"units": 4.5, "rate": 1, "deep": "maybe"}),
    ]
    assert left_out == []


def test_read_rows_names_columns_that_are_no_hyperparameters(tmp_path: Path) -> None:
    trials, (sentence,) = read_rows(write(tmp_path, "units,note,value\n5,good,0.9\n"), SPACE)
    assert [trial.values for trial in trials] == [{"units": 5}]
    assert sentence == "Columns that are not hyperparameters are left out: note, value."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("note,value\n1,2\n", "values.csv has note, value, and the space has units, rate, deep"),
        ("", "values.csv has no columns"),
        ('units\n"5', "must be a CSV file"),
    ],
    ids=["no known column", "empty", "open quote"],
)
def test_read_rows_refuses_a_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        read_rows(write(tmp_path, text), SPACE)


def test_read_rows_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"must be a CSV file .* No such file"):
        read_rows(tmp_path / "gone.csv", SPACE)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00units")
    with pytest.raises(StudyError, match="must be a CSV file"):
        read_rows(path, SPACE)
