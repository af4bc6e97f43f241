"""A study as a Python object, opened from what a command has written."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

import tuning
from tests.paths import ROOT
from tests.studies import Setting
from tests.texts import make_reviews
from tuning.atomic_io import read_json, write_json
from tuning.errors import ArgumentError, DataError
from tuning.results import ResultsDir
from tuning.search.tune import Outcome

Finished = tuple[ResultsDir, Outcome]


@pytest.fixture
def study(finished: Finished) -> tuning.Study:
    return tuning.load_study("s", results=finished[0].path)


def test_best_has_its_configuration_and_value(study: tuning.Study, finished: Finished) -> None:
    best, expected = study.best, finished[1].summary.best
    assert best is not None
    assert expected is not None
    assert (best.number, best.value) == (expected.number, expected.value)
    assert best.hyperparameters.items() >= expected.params.items()
    assert best.hyperparameters["learning_rate"] == 0.05
    assert (best.is_confirmed, best.mean, best.interval) == (False, None, None)


def test_place_of_moved_data_must_be_a_path(study: tuning.Study) -> None:
    frame: Any = pd.DataFrame({"text": ["good"]})
    for call in (study.confirm, study.export):
        with pytest.raises(ArgumentError, match="have moved; received a DataFrame"):
            call(data=frame)
        with pytest.raises(ArgumentError, match="test must be left out: the study has no such"):
            call(test="test.csv")
        with pytest.raises(ArgumentError, match="data_dir must be the path of a folder"):
            call(data_dir=3)


def test_missing_data_have_a_place_to_name(study: tuning.Study) -> None:
    for call in (study.confirm, study.export):
        with pytest.raises(DataError, match=r"^data .*'gone\.csv'.* has moved, give its new place"):
            call(data="gone.csv")


def test_files_of_single_splits_may_have_moved(copied: Setting) -> None:
    document = read_json(copied.folder.config_path)
    document["config"]["data"]["test"] = "gone.csv"
    write_json(copied.folder.config_path, document)
    study = tuning.load_study("s", results=copied.results.path)
    for call in (study.confirm, study.export):
        with pytest.raises(DataError, match=r"^test .*'gone\.csv'.* give its new place"):
            call()
        with pytest.raises(DataError, match="test must be another file than data"):
            call(test=copied.config.data.data)


def test_trials_are_a_data_frame(study: tuning.Study) -> None:
    trials = study.trials_dataframe()
    assert isinstance(trials, pd.DataFrame)
    assert trials["number"].tolist() == [*range(8)]
    assert set(trials["state"]) == {"COMPLETE"}
    assert len(study.optuna_study.trials) == 8
    assert (study.config.train.epochs, len(study.space.searched)) == (2, 4)
    assert study.learning_curves().data and study.history().data
    assert repr(study).startswith("Study('s'") and "<table" in study._repr_html_()


def test_study_is_found_after_the_working_directory_has_changed(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished[0].path
    monkeypatch.chdir(folder.parent)
    study = tuning.load_study("s", results=folder.name)
    assert study.path == Path(folder.name) / "s"  # Messages show the path as the user gave it.
    monkeypatch.chdir(tmp_path)
    assert study.path == folder / "s"
    assert study.best is not None


VALUES = {"vocab_size": 17, "sequence_length": 9, "embedding_dim": 3, "lstm_units": 3}


@pytest.fixture
def open_study(copied: Setting) -> tuning.Study:
    """Return a study of eight trials that takes configurations."""
    return tuning.load_study(copied.folder.name, results=copied.results.path)


@pytest.mark.parametrize(
    "configurations",
    [
        [VALUES, {"vocab_size": 18}],
        pd.DataFrame([VALUES, {"vocab_size": 18, "note": "small"}]),
        pd.DataFrame([VALUES, {"vocab_size": 18}]).convert_dtypes(),
        [{name: np.int64(value) for name, value in VALUES.items()}, {"vocab_size": np.int32(18)}],
    ],
    ids=["dicts", "frame", "nullable integers", "integers of NumPy"],
)
def test_enqueue_takes_frames_and_dicts(open_study: tuning.Study, configurations: object) -> None:
    added = open_study.enqueue(configurations)
    assert (added.n_added, added.n_trials) == (2, 10)
    queued = [trial.system_attrs["fixed_params"] for trial in open_study.optuna_study.trials[8:]]
    assert [params["vocab_size"] for params in queued] == [17, 18]
    assert queued[0].items() >= VALUES.items()
    assert {name: type(queued[0][name]) for name in VALUES} == dict.fromkeys(VALUES, int)


def test_enqueue_takes_a_row_of_a_frame(open_study: tuning.Study) -> None:
    rows = pd.DataFrame([VALUES | {"vocab_size": 18}, VALUES], index=["a", "b"]).assign(seed=np.nan)
    assert open_study.enqueue(rows.loc["a"]).n_added == 1


def test_enqueue_takes_studies(open_study: tuning.Study) -> None:
    other = optuna.create_study(study_name="other", direction="maximize")
    other.enqueue_trial({**VALUES, "vocab_size": 18})
    other.optimize(lambda trial: trial.suggest_int("vocab_size", 1, 30), n_trials=1)
    assert open_study.enqueue(other).n_added == 1
    assert open_study.enqueue(open_study).n_added == 0


@pytest.mark.parametrize(("name", "reason"), [("", "has files"), ("notes.txt", "is a file")])
def test_export_into_a_folder_that_is_not_free_is_refused_before_any_work(
    name: str, reason: str, study: tuning.Study, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ArgumentError, match=f"must be empty or new; .* {reason}"):
        study.export(tmp_path / name)


def test_import_loads_no_library() -> None:
    code = (
        "import sys, tuning; dir(tuning); "
        "print(len({'keras', 'optuna', 'pandas'} & {*sys.modules}))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert loaded == "0\n"


def test_public_names_exist_and_have_docstrings() -> None:
    assert tuning.__all__ == [
        *("Comparison", "Configuration", "Data", "Export", "Limits", "Study", "TuningError"),
        *("Workers", "compare", "load_export", "load_study", "tune"),
    ]
    assert all(inspect.getdoc(getattr(tuning, name)) for name in tuning.__all__)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        tuning.other  # noqa: B018


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_examples_of_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_reviews().to_csv(tmp_path / "reviews.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names = {"tuning": tuning}
    # The searches come first: the other examples need their studies.
    searches = ["tune", "compare"]
    for name in [*searches, *(name for name in tuning.__all__ if name not in searches)]:
        (test,) = doctest.DocTestFinder(recurse=False).find(getattr(tuning, name), name)
        assert test.examples, name
        for example in test.examples:
            exec(example.source, names)
    assert {"study", "best", "export"} <= names.keys()
