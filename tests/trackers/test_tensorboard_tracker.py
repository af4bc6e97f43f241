"""A study in event files that TensorBoard reads."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tracker_readers import tensorboard_run
from tuning.trackers.contents import TrackedEpoch, TrackedStudy, TrackedTrial

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
pytestmark = pytest.mark.slow

STUDY = TrackedStudy(
    name="s",
    identity="0123abcd",
    created=1_000.0,
    settings={"data.data": "a|b.csv"},
    numbers={"best_value": 0.5},
    verdict="Use trial 0.",
    confirmation=None,
    export=None,
    exported="",
)
EPOCHS = [
    TrackedEpoch(step=n, seconds=float(n), metrics={"epoch": n, "val_accuracy": n / 4})
    for n in (1, 2)
]
TRIAL = TrackedTrial(
    number=3,
    state="complete",
    started=2_000.0,
    ended=2_009.0,
    parameters={"units": 8, "rate": 0.5, "cell": "lstm", "fused": True},
    epochs=EPOCHS,
    numbers={"value": 0.5},
    words={},
)


def written_by(folder: Path, *, study: TrackedStudy = STUDY) -> Path:
    """Write a study and its trial, and return the study's folder."""
    from tuning.trackers.tensorboard_tracker import TensorBoardTracker

    tracker = TensorBoardTracker(str(folder), study)
    tracker.write_trial(TRIAL)
    tracker.write_end(study)
    return folder / "s-0123abcd"


def test_place_may_be_below_the_user_s_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written_by(Path("~/runs"))
    assert (tmp_path / "runs" / "s-0123abcd" / "trial-0003").is_dir()


def test_trial_has_its_metrics_and_hyperparameters_and_is_not_written_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    folder = written_by(tmp_path) / "trial-0003"
    (path,) = folder.iterdir()
    before = path.stat().st_mtime_ns
    scalars, texts = tensorboard_run(folder)
    assert scalars == {"val_accuracy": [(1, 0.25), (2, 0.5)], "trial/value": [(2, 0.5)]}
    assert "| state | complete |" in texts["trial"]
    contents = EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        contents["_hparams_/session_start_info"]
    ).session_start_info
    assert start.hparams["units"].number_value == 8
    assert start.hparams["cell"].string_value == "lstm"
    assert start.hparams["fused"].bool_value
    assert "_hparams_/session_end_info" in contents
    written_by(tmp_path)
    assert [*folder.iterdir()] == [path]
    assert path.stat().st_mtime_ns == before


def test_study_has_its_verdict_of_the_last_writing(tmp_path: Path) -> None:
    written_by(tmp_path, study=replace(STUDY, verdict="Use trial 1."))
    scalars, texts = tensorboard_run(written_by(tmp_path) / "study")
    assert scalars == {"best_value": [(0, 0.5)]}
    assert texts["verdict"] == "Use trial 0."
    assert r"| data.data | a\|b.csv |" in texts["settings"]
