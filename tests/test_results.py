"""The results folder: names and paths of studies."""

import os
from pathlib import Path

import pytest

from tuning.atomic_io import write_json, write_text
from tuning.errors import StudyError
from tuning.results import ResultsDir, StudyDir


def make_study(results: ResultsDir, name: str, *, tuned_at: float) -> StudyDir:
    study = results.study(name)
    write_json(study.config_path, {"study": name})
    write_text(study.log_path, "tuned\n")
    os.utime(study.log_path, (tuned_at, tuned_at))
    return study


# Names


@pytest.mark.parametrize("name", ["s", "S-1.2_x", "0", "a" * 100, "a..b", "best"])
def test_study_accepts_name(tmp_path: Path, name: str) -> None:
    study = ResultsDir(tmp_path).study(name)
    assert (study.name, study.path) == (name, tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/a",
        "a b",
        "-a",
        ".a",
        "_a",
        "é",
        "a\n",
        "a\0",
        "a" * 101,
        "cache",
        "artifacts",
        "bench",
        "a\\b",
    ],
)
def test_study_refuses_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        StudyError, match=r"A study's name must be made of letters, digits"
    ) as error:
        ResultsDir(tmp_path).study(name)
    assert f"received {name!r}" in str(error.value)


@pytest.mark.parametrize("name", ["optuna.db", "optuna.db-wal", "optuna.db-shm"])
def test_study_refuses_name_of_the_database_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="A study's name must"):
        ResultsDir(tmp_path).study(name)


def test_files_of_a_study_stand_below_its_folder(tmp_path: Path) -> None:
    study = ResultsDir(tmp_path).study("s")
    paths = {
        study.config_path: "study.json",
        study.space_path: "search_space.json",
        study.log_path: "tuning.log",
        study.lock_path: "owner.lock",
        study.report_path: "report.html",
        study.trials_csv_path: "trials.csv",
        study.best_dir: "best",
        study.history_path(17): "trials/0017/history.csv",
        study.error_path(17): "trials/0017/error.txt",
        study.history_path(12345): "trials/12345/history.csv",
    }
    assert {p.relative_to(tmp_path / "s").as_posix(): name for p, name in paths.items()} == {
        name: name for name in paths.values()
    }


def test_results_dir_lays_out_what_studies_share(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    shared = (results.database_path, results.cache_dir("abc"))
    assert [p.relative_to(tmp_path).as_posix() for p in shared] == [
        "optuna.db",
        "cache/abc",
    ]


def test_storage_url_is_the_given_one(tmp_path: Path) -> None:
    assert ResultsDir(tmp_path).storage_url("postgresql://host/db") == "postgresql://host/db"


def test_storage_url_of_a_relative_folder_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        ResultsDir(Path("results")).storage_url(None) == f"sqlite:///{tmp_path}/results/optuna.db"
    )


# Which studies there are


def test_existing_gives_the_named_study(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    make_study(results, "a", tuned_at=2)
    make_study(results, "b", tuned_at=1)
    assert results.existing("b").name == "b"


def test_existing_without_a_name_gives_the_study_tuned_last(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    for name, tuned_at in (("a", 10), ("b", 30), ("c", 20)):
        make_study(results, name, tuned_at=tuned_at)
    assert results.existing(None).name == "b"


def test_latest_takes_the_configuration_where_there_is_no_log(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    make_study(results, "a", tuned_at=10)
    write_json(results.study("b").config_path, {})
    assert results.latest().name == "b"


def test_existing_lists_the_studies_there_are(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    for name in "fbdace":
        make_study(results, name, tuned_at=1)
    with pytest.raises(StudyError, match=r"Study 'other' must be in .*; it has a, b, c, d, e, f"):
        results.existing("other")


def test_existing_in_an_empty_folder_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="it has none; type `make tune` first"):
        ResultsDir(tmp_path).existing("s")


def test_latest_in_an_empty_folder_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"must contain a study; it has none. Type `make tune` first"
    ):
        ResultsDir(tmp_path / "missing").latest()


def test_existing_below_a_regular_file_says_there_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="it has none"):
        ResultsDir(tmp_path / "file" / "results").existing("s")
