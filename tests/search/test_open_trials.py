"""Trials that are paused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fake_workers import epoch
from tuning.results import StudyDir
from tuning.search import open_trials
from tuning.search.asha import Rungs
from tuning.search.open_trials import OpenTrial, OpenTrials


def paused(folder: StudyDir, *, values: list[float]) -> OpenTrials:
    """Return trials that are paused after one epoch with these values; trial 0 is the baseline."""
    dispatcher: Any = SimpleNamespace(running=[])
    trials = OpenTrials(dispatcher, Rungs((1, 2), 1, n_trials=len(values)), folder, epochs=4)
    for number, value in enumerate(values):
        trials.rungs.record(number, 1, value)
        trial = SimpleNamespace(number=number, user_attrs={"baseline": number == 0})
        trials.pause(OpenTrial(cast("Any", trial), {}, history=[epoch(1, value)]))
        checkpoint = folder.checkpoint_path(number)
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(bytes(100))
    return trials


def test_paused_baseline_goes_on_at_any_rank(tmp_path: Path) -> None:
    """A call that Ctrl-C or its time limit ends pauses the baseline too."""
    trials = paused(StudyDir(tmp_path), values=[0.1, 0.9, 0.8, 0.7])
    assert trials.promotable() is trials.paused[0]
    assert 0 not in [opened.number for opened in trials.beyond_promotion()]
    assert 3 in [opened.number for opened in trials.beyond_promotion()]
    trials.resume(trials.paused[0])
    assert trials.promotable() is trials.paused[0]
    assert trials.paused[0].number == 1


@pytest.mark.parametrize(("max_bytes", "pruned"), [(400, []), (399, [1]), (200, [1, 2])])
def test_baseline_keeps_its_checkpoint(
    max_bytes: int, pruned: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_trials, "MAX_CHECKPOINT_BYTES", max_bytes)
    trials = paused(StudyDir(tmp_path), values=[0.1, 0.9, 0.8, 0.7])
    assert [opened.number for opened in trials.beyond_room()] == pruned


def test_baseline_counts_at_the_first_rung_by_a_better_value_before_its_training(
    tmp_path: Path,
) -> None:
    trials = paused(StudyDir(tmp_path), values=[])
    baseline = cast("Any", SimpleNamespace(number=0, user_attrs={"baseline": True}))
    for epochs, value in ((0, 0.9), (1, 0.5), (2, 0.6)):
        trials.record(baseline, epochs, value)
    assert trials.rungs.values[1] == {0: 0.9}
    assert 2 not in trials.rungs.values
