"""A study in a real MLflow store on SQLite."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.trial import TrialState

import tuning
from tests.studies import Setting
from tests.texts import substitute
from tests.tracker_readers import mlflow_predictions, mlflow_runs

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
pytestmark = pytest.mark.slow

TEXTS = ["good good film", "bad bad", "", "\ud800 unknown"]


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_text_whose_probabilities_are_not_numbers_has_no_label() -> None:
    from tuning.trackers.mlflow_model import TextClassifier

    model = TextClassifier()
    model._names = ["negative", "positive"]
    model._run = lambda texts: [[0.2, 0.8], [float("nan")] * 2]
    rows = model.predict(None, ["good", "?"])
    assert [label if isinstance(label, str) else None for label in rows["label"]] == [
        "positive",
        None,
    ]
    assert rows["probability"].isna().tolist() == [False, True]


def test_study_is_written_once_with_an_export_that_mlflow_loads(
    copied: Setting, onnx_export: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    (tmp_path / "store").mkdir()
    study = tuning.load_study("s", results=copied.results.path)
    study.log_to(f"mlflow:{uri}")
    first = mlflow_runs(uri, cwd=tmp_path)
    shutil.copytree(onnx_export, copied.folder.best_dir)
    shutil.copy(Path(tuning.__file__).parent / "data" / "tokenizer.py", copied.folder.best_dir)
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
    read = mlflow_predictions(uri, parent["id"], TEXTS[:3], cwd=tmp_path)
    export = tuning.load_export(tmp_path / "moved" / "s" / "best")
    expected = export.predict(TEXTS[:3]).to_dict("records")
    assert [row["label"] for row in read["rows"]] == [row["label"] for row in expected]
    assert [row["probability"] for row in read["rows"]] == pytest.approx(
        [row["probability"] for row in expected], abs=1e-6
    )
    assert read["loaded"] == []
    assert read["export"] == "export None of 2026-01-01T00:00:00+00:00"


@pytest.mark.nightly
def test_new_export_is_the_model_that_is_loaded(
    copied: Setting, onnx_export: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    study, export = tuning.load_study("s", results=copied.results.path), copied.folder.best_dir
    shutil.copytree(onnx_export, export)
    shutil.copy(Path(tuning.__file__).parent / "data" / "tokenizer.py", export)
    for number in (1, 2):
        substitute(export / "export.json", "2026-01-01", f"2026-01-0{number}")
        study.log_to(f"mlflow:{uri}")
        run_id = mlflow_runs(uri, cwd=tmp_path)["s"]["id"]
        read = mlflow_predictions(uri, run_id, TEXTS[:1], cwd=tmp_path)
        assert read["export"] == f"export None of 2026-01-0{number}T00:00:00+00:00"
        substitute(export / "export.json", f"2026-01-0{number}", "2026-01-01")


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_names_are_those_that_mlflow_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """KerasTuner and Optuna accept every name. MLflow's own check refuses a name in a batch."""
    from mlflow.utils.validation import _validate_batch_log_data

    from tuning.trackers import mlflow_tracker
    from tuning.trackers.contents import TrackedEpoch, TrackedTrial

    written: dict[str, object] = {}

    class Client(SimpleNamespace):
        def log_batch(self, run_id: str, *, metrics: Any = (), params: Any = (), tags: Any = ()):
            _validate_batch_log_data(metrics, params, tags)
            written.update({entry.key: entry.value for entry in (*metrics, *params)})

    client = Client(
        create_run=lambda *args, **options: SimpleNamespace(info=SimpleNamespace(run_id="r")),
        set_terminated=lambda *args, **options: None,
    )
    monkeypatch.setattr(mlflow_tracker, "MlflowClient", lambda **options: client)
    trial = TrackedTrial(
        number=9,
        state="complete",
        started=0.0,
        ended=1.0,
        parameters={"units[0]": 1, "units(0)": 2, "lr": 4},
        epochs=[TrackedEpoch(step=1, seconds=1.0, metrics={"val_f1@1": 0.5})],
        numbers={},
        words={},
    )
    study = SimpleNamespace(name="s", identity="0")
    mlflow_tracker.MlflowTracker("sqlite://").write_trial(cast("Any", study), trial)
    assert written == {"units_0_": "1", "units_0__": "2", "lr": "4", "val_f1_1": 0.5}


@pytest.mark.nightly
def test_trial_that_goes_on_gets_its_new_epochs_alone(copied: Setting, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    study, tracked = copied.study(), tuning.load_study("s", results=copied.results.path)
    study.enqueue_trial(study.trials[0].params)
    trial = study.ask()
    for name, distribution in study.trials[0].distributions.items():
        trial._suggest(name, distribution)
    trial.report(0.25, step=1)
    tracked.log_to(f"mlflow:{uri}")
    assert mlflow_runs(uri, cwd=tmp_path)["trial 8"]["status"] == "RUNNING"
    trial.report(0.5, step=2)
    study.tell(trial, state=TrialState.PRUNED)
    tracked.log_to(f"mlflow:{uri}")
    run = mlflow_runs(uri, cwd=tmp_path)["trial 8"]
    assert run["status"] == "KILLED"
    assert run["tags"]["state"] == "pruned"
    assert run["metrics"]["val_accuracy"] == [[1, 0.25], [2, 0.5]]
