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
OPEN = TrackedTrial(
    number=3,
    state="running",
    started=2_000.0,
    ended=None,
    parameters={"units": 8, "rate": 0.5, "cell": "lstm", "fused": True},
    epochs=EPOCHS[:1],
    numbers={},
    words={},
)
OVER = replace(OPEN, state="complete", ended=2_009.0, epochs=EPOCHS, numbers={"value": 0.5})


def test_open_trial_is_appended_to_and_a_second_writing_changes_nothing(tmp_path: Path) -> None:
    from tuning.trackers.tensorboard_tracker import TensorBoardTracker

    (tracker, second) = (TensorBoardTracker(str(tmp_path)) for _ in range(2))
    folder = tmp_path / "s-0123abcd" / "trial-0003"
    tracker.write_trial(STUDY, OPEN)
    (path,) = folder.iterdir()
    before = path.read_bytes()
    assert tensorboard_run(folder) == ({"val_accuracy": [(1, 0.25)]}, {})
    tracker.write_trial(STUDY, OVER)
    after = path.read_bytes()
    assert after.startswith(before)
    second.write_trial(STUDY, OVER)
    assert path.read_bytes() == after
    scalars, texts = tensorboard_run(folder)
    assert scalars == {"val_accuracy": [(1, 0.25), (2, 0.5)], "trial/value": [(2, 0.5)]}
    assert "| state | complete |" in texts["trial"]


def test_file_that_was_cut_is_completed(tmp_path: Path) -> None:
    from tuning.trackers.tensorboard_tracker import TensorBoardTracker

    tracker = TensorBoardTracker(str(tmp_path))
    tracker.write_trial(STUDY, OVER)
    (path,) = (tmp_path / "s-0123abcd" / "trial-0003").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    tracker.write_trial(STUDY, OVER)
    assert path.read_bytes() == whole


def test_hyperparameters_are_those_of_the_page_hparams(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    from tuning.trackers.tensorboard_tracker import TensorBoardTracker

    TensorBoardTracker(str(tmp_path)).write_trial(STUDY, OVER)
    read = EventAccumulator(str(tmp_path / "s-0123abcd" / "trial-0003")).Reload()
    contents = read.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        contents["_hparams_/session_start_info"]
    ).session_start_info
    assert start.hparams["units"].number_value == 8
    assert start.hparams["cell"].string_value == "lstm"
    assert start.hparams["fused"].bool_value
    assert "_hparams_/session_end_info" in contents


def test_study_has_its_verdict(tmp_path: Path) -> None:
    from tuning.trackers.tensorboard_tracker import TensorBoardTracker

    TensorBoardTracker(str(tmp_path)).write_study(STUDY, is_last=True)
    scalars, texts = tensorboard_run(tmp_path / "s-0123abcd" / "study")
    assert scalars == {"best_value": [(0, 0.5)]}
    assert texts["verdict"] == "Use trial 0."
    assert r"| data.data | a\|b.csv |" in texts["settings"]
