"""The results folder: names and paths of studies."""

import os
from pathlib import Path

import pytest

from tuning.atomic_io import write_json, write_text
from tuning.errors import StudyError
from tuning.results import ResultsDir


def make_study(results: ResultsDir, name: str, *, tuned_at: float) -> None:
    study = results.study(name)
    write_json(study.config_path, {"study": name})
    write_text(study.log_path, "tuned\n")
    os.utime(study.log_path, (tuned_at, tuned_at))


@pytest.mark.parametrize("name", ["s", "S-1.2_x", "0", "a" * 100, "a..b", "best"])
def test_study_accepts_name(results: ResultsDir, name: str) -> None:
    study = results.study(name)
    assert (study.name, study.path) == (name, results.path / name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/a", "a b", "-a", ".a", "_a", "é", "a\n", "a\0", "a\\b"),
        *("a" * 101, "cache", "artifacts", "bench"),
        *("optuna.db", "optuna.db-wal", "optuna.db-shm"),
    ],
)
def test_study_refuses_name(results: ResultsDir, name: str) -> None:
    with pytest.raises(StudyError, match="name must be made of letters, digits") as error:
        results.study(name)
    assert f"received {name!r}" in str(error.value)


def test_storage_url_of_a_relative_folder_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = ResultsDir(Path("results"))
    assert results.storage_url(None) == f"sqlite:///{tmp_path}/results/optuna.db"
    assert results.storage_url("postgresql://host/db") == "postgresql://host/db"


def test_existing_is_the_named_study_or_the_one_tuned_last(results: ResultsDir) -> None:
    for name, tuned_at in (("a", 10), ("b", 30), ("c", 20)):
        make_study(results, name, tuned_at=tuned_at)
    assert results.existing("c").name == "c"
    assert results.existing(None).name == "b"


def test_latest_takes_the_configuration_where_there_is_no_log(results: ResultsDir) -> None:
    make_study(results, "a", tuned_at=10)
    write_json(results.study("b").config_path, {})
    assert results.latest().name == "b"


def test_folder_without_a_study_says_what_to_type(results: ResultsDir) -> None:
    results.path.mkdir()
    (results.path / "file").touch()
    for empty in (results, ResultsDir(results.path / "missing"), ResultsDir(results.path / "file")):
        for name in ("s", None):
            with pytest.raises(StudyError, match=r"it has none.*`make tune`"):
                empty.existing(name)
