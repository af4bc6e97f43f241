"""A study in a real MLflow store on SQLite."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

import tuning
from tests.studies import Setting
from tests.tracker_readers import mlflow_predictions, mlflow_runs

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
    # MLflow's tables, with SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

TEXTS = ["good good film", "bad bad", ""]
NAN = float("nan")
STARS = [[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]]
TAGS = [[0.9, 0.2, 0.5], [0.1, 0.2, 0.3]]


@pytest.mark.parametrize(
    ("kind", "names", "thresholds", "outputs", "labels", "probabilities"),
    [
        ("number", "", [], [[2.5], [-1.0]], [2.5, -1.0], [NAN, NAN]),
        ("order", "123", [], STARS, ["2", "3"], [0.3, 0.7]),  # the median
        ("order", "123", [1.95, 2.7], STARS, ["1", "2"], [0.4, 0.2]),  # The means are 1.9 and 2.6.
        ("classes", "np", [], [[0.2, 0.8], [NAN, NAN]], ["p", None], [0.8, NAN]),
        ("classes", "np", [0.3], [[0.7, 0.3], [0.8, 0.2]], ["p", "n"], [0.3, 0.8]),
        ("labels", "abc", [], TAGS, ["a;c", ""], [0.9 * 0.8 * 0.5, 0.9 * 0.8 * 0.7]),
    ],
)
def test_label_is_decided_as_its_kind_decides(
    kind: str,
    names: str,
    thresholds: list[float],
    outputs: list[list[float]],
    labels: list[Any],
    probabilities: list[float],
) -> None:
    from tuning.trackers.mlflow_model import TextClassifier

    model = TextClassifier()
    model._names, model._kind, model._thresholds = np.array([*names]), kind, thresholds
    model._run = lambda texts: outputs
    rows = model.predict(None, ["good", "bad"])
    assert [None if pd.isna(label) else label for label in rows["label"]] == labels
    assert rows["probability"].tolist() == pytest.approx(probabilities, nan_ok=True)


def test_study_is_written_once_with_an_export_that_mlflow_loads(
    copied: Setting, onnx_export: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    (tmp_path / "store").mkdir()
    study = tuning.load_study("s", results=copied.results.path)
    study.log_to(f"mlflow:{uri}")
    first = mlflow_runs(uri, cwd=tmp_path)
    shutil.copytree(onnx_export, copied.folder.best_dir)
    shutil.copy(Path(tuning.__file__).parent / "inputs" / "tokenizer.py", copied.folder.best_dir)
    for _ in range(2):
        study.log_to(f"mlflow:{uri}")
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
    models = [*(tmp_path / "store" / "mlartifacts" / "models").iterdir()]
    assert len(models) == 1
    assert not [*models[0].rglob("*.pkl")]
    # The results are not needed any more.
    shutil.move(copied.results.path, tmp_path / "moved")
    read = mlflow_predictions(uri, parent["id"], TEXTS, cwd=tmp_path)
    export = tuning.load_export(tmp_path / "moved" / "s" / "best")
    expected = export.predict(TEXTS).to_dict("records")
    assert [row["label"] for row in read["rows"]] == [row["label"] for row in expected]
    assert [row["probability"] for row in read["rows"]] == pytest.approx(
        [row["probability"] for row in expected], abs=1e-6
    )
    assert read["loaded"] == []
    assert read["export"] == "export None of 2026-01-01T00:00:00+00:00"


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
        study = tuning.load_study("s", results=copied.results.path)
        study.log_to(f"mlflow:sqlite:///{tmp_path / 'study.db'}")
        assert dict(os.environ) == before
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert mlflow.get_tracking_uri() == own
    assert sorted(mlflow_runs(own, cwd=tmp_path)) == ["own"]
    assert mlflow_runs(own, cwd=tmp_path)["own"]["metrics"] == {}
