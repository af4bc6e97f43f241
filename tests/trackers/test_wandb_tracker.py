"""A study in offline runs of Weights & Biases."""

import shutil
from pathlib import Path

import pytest

import tuning
from tests.studies import Setting
from tests.tracker_readers import wandb_runs
from tuning.api.tracking import track
from tuning.study.handle import StudyHandle

pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files of the package, such as exports that are not sent, out of the home folder."""
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-files"))


def trial_files(place: Path) -> dict[str, int]:
    """Return the times at which the files of trials were written."""
    # The hash of the study before the number may begin with 0 too.
    files = place.glob("wandb/offline-run-*/run-*-[0-9][0-9][0-9][0-9].wandb")
    return {path.name: path.stat().st_mtime_ns for path in files}


def test_study_is_written_once_with_its_export(
    copied: Setting, onnx_export: Path, tmp_path: Path
) -> None:
    place = tmp_path / "runs"
    study = tuning.load_study("s", results=copied.results.path)
    handle = StudyHandle.of(copied.results, copied.folder.name)
    track([f"wandb:{place}"], handle)
    first = trial_files(place)
    shutil.copytree(onnx_export, copied.folder.best_dir)
    for _ in range(2):
        track([f"wandb:{place}"], handle)
    assert trial_files(place) == first
    runs = wandb_runs(place)
    assert sorted(runs) == ["s", *(f"trial {number}" for number in range(8))]
    assert len({run["group"] for run in runs.values()}) == 1
    assert runs["s"]["summary"]["verdict"] == study.verdict()
    assert ["model", "s-export"] in runs["s"]["artifacts"]
    for trial in study.optuna_study.trials:
        run = runs[f"trial {trial.number}"]
        assert run["config"].items() >= trial.params.items()
        assert [row["_step"] for row in run["history"]] == [1, 2]
        values = [row["val_accuracy"] for row in run["history"]]
        assert values == pytest.approx([*trial.intermediate_values.values()])
        assert run["summary"]["value"] == trial.value
        assert run["summary"]["state"] == "complete"
