"""A study in a real MLflow store on SQLite."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import tuning
from tests.studies import Setting
from tests.tracker_readers import mlflow_runs
from tuning.api.tracking import track
from tuning.study.handle import StudyHandle

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
pytestmark = [
    pytest.mark.slow,
    # MLflow's tables, with SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


def test_study_is_written_once_with_its_export(
    copied: Setting, onnx_export: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    (tmp_path / "store").mkdir()
    study = tuning.load_study("s", results=copied.results.path)
    handle = StudyHandle.of(copied.results, copied.folder.name)
    track([f"mlflow:{uri}"], handle)
    first = mlflow_runs(uri, cwd=tmp_path)
    shutil.copytree(onnx_export, copied.folder.best_dir)
    for _ in range(2):
        track([f"mlflow:{uri}"], handle)
    runs = mlflow_runs(uri, cwd=tmp_path)
    assert sorted(runs) == ["s", *(f"trial {number}" for number in range(8))]
    assert {name: run for name, run in runs.items() if name != "s"} == {
        name: run for name, run in first.items() if name != "s"
    }
    parent = runs["s"]
    assert parent["status"] == "FINISHED"
    assert parent["tags"]["mlflow.note.content"] == study.verdict()
    assert parent["params"]["metric"] == "val_accuracy"
    for trial in study.optuna_study.trials:
        run = runs[f"trial {trial.number}"]
        assert run["status"] == "FINISHED"
        assert run["tags"]["mlflow.parentRunId"] == parent["id"]
        assert run["params"].items() >= {n: str(v) for n, v in trial.params.items()}.items()
        assert [step for step, _ in run["metrics"]["val_accuracy"]] == [1, 2]
        values = [value for _, value in run["metrics"]["val_accuracy"]]
        assert values == pytest.approx([*trial.intermediate_values.values()])
        assert run["metrics"]["value"] == [[2, trial.value]]
    # The folder of a run with artifacts, of which the study's run alone has some.
    (best,) = (tmp_path / "store" / "mlartifacts").rglob("best")
    expected = {
        path.relative_to(copied.folder.best_dir): path.read_bytes()
        for path in files_of(copied.folder.best_dir)
    }
    assert {path.relative_to(best): path.read_bytes() for path in files_of(best)} == expected
    assert parent["tags"]["keras_text_tuning.export"]


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def tracker_and_trial(uri: str) -> tuple[Any, Any]:
    """Return the tracker of a study without a folder, and a trial with unusual names, which
    KerasTuner and Optuna accept.
    """
    from tuning.trackers.contents import TrackedEpoch, TrackedTrial
    from tuning.trackers.mlflow_tracker import MlflowTracker

    trial = TrackedTrial(
        number=9,
        state="pruned",
        started=1.0,
        ended=2.0,
        parameters={"units[0]": 1, "lr": 4},
        epochs=[TrackedEpoch(step=1, seconds=1.0, metrics={"val_f1@1": 0.5})],
        numbers={"n_epochs": 1.0},
        words={"reason": "r"},
    )
    study = SimpleNamespace(name="s", identity="0", created=0.5)
    return MlflowTracker(uri, cast("Any", study)), trial


def test_run_that_was_cut_off_is_written_again_under_names_that_mlflow_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, trial = tracker_and_trial(uri)
    with monkeypatch.context() as cut:
        cut.setattr(tracker, "_end", lambda *args, **options: None)
        tracker.write_trial(trial)
    for _ in range(2):
        tracker, trial = tracker_and_trial(uri)
        tracker.write_trial(trial)
    runs = mlflow_runs(uri, cwd=tmp_path)
    assert sorted(runs) == ["s", "trial 9"]
    run = runs["trial 9"]
    assert run["params"] == {"units_0_": "1", "lr": "4"}
    assert run["metrics"] == {"val_f1_1": [[1, 0.5]], "n_epochs": [[1, 1.0]]}
    assert run["tags"].items() >= {"state": "pruned", "reason": "r"}.items()
    assert (run["status"], run["seconds"]) == ("KILLED", 1.0)


def test_mlflow_of_a_notebook_is_as_before(
    copied: Setting, onnx_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    shutil.copytree(onnx_export, copied.folder.best_dir)
    own = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.set_tracking_uri(own)
    mlflow.create_experiment("own", artifact_location=str(tmp_path / "own"))
    mlflow.set_experiment("own")
    with mlflow.start_run(run_name="own") as run:
        before = dict(os.environ)
        handle = StudyHandle.of(copied.results, copied.folder.name)
        track([f"mlflow:sqlite:///{tmp_path / 'study.db'}"], handle)
        assert dict(os.environ) == before
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert mlflow.get_tracking_uri() == own
    assert sorted(mlflow_runs(own, cwd=tmp_path)) == ["own"]
    assert mlflow_runs(own, cwd=tmp_path)["own"]["metrics"] == {}
