"""What a study writes to a tracker, that it writes nothing twice, and what a failure does."""

import copy
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import optuna
import pytest

from tests.paths import ROOT
from tests.studies import Setting
from tests.texts import substitute
from tests.tracker_readers import output_of
from tuning.errors import TrackerError
from tuning.results import ResultsDir, StudyDir
from tuning.search.events import Outcome, SearchStarted
from tuning.study.study import read_record
from tuning.study.summary import Summary
from tuning.trackers import tracker as tracker_module
from tuning.trackers.contents import TrackedStudy, TrackedTrial, tracked_trial
from tuning.trackers.targets import KINDS, Target
from tuning.trackers.tracker import Follower, reason_of, write_study

LOG_TO = """
import json, sys
from pathlib import Path
from tuning.api.tracking import track
from tuning.results import ResultsDir
from tuning.study.handle import StudyHandle
track(sys.argv[2:], StudyHandle.of(ResultsDir(Path(sys.argv[1])), "s"))
print(json.dumps(sorted({"keras", "tensorflow"} & set(sys.modules))))
"""
TARGET = Target("mlflow", "http://me:secret@host")


class Written:
    """A tracker that keeps what it is given. It fails if `error` is set."""

    def __init__(self) -> None:
        self.studies: list[TrackedStudy] = []
        self.trials: list[TrackedTrial] = []
        self.error: Exception | None = None
        self.may_write, self.has_written = threading.Event(), threading.Event()
        self.may_write.set()

    def write_trial(self, trial: TrackedTrial) -> None:
        self.may_write.wait(60)
        if self.error:
            raise self.error
        self.trials.append(trial)
        self.has_written.set()

    def write_end(self, study: TrackedStudy) -> None:
        self.studies.append(study)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    tracker = Written()

    def opened(target: Target, study: TrackedStudy) -> Written:
        tracker.studies.append(study)
        return tracker

    monkeypatch.setattr(tracker_module, "open_tracker", opened)
    yield tracker
    tracker.may_write.set()


def test_study_has_its_verdict_and_trials_their_values_epochs_and_ends(
    written: Written, finished: tuple[ResultsDir, Outcome]
) -> None:
    write_study(TARGET, finished[0].study("s"), [finished[1].summary])
    trials = written.trials
    assert [trial.number for trial in trials] == [*range(8)]
    for trial, frozen in zip(trials, finished[1].summary.trials, strict=True):
        assert trial.state == "complete"
        assert trial.parameters.items() >= {**frozen.params, "learning_rate": 0.05}.items()
        assert trial.numbers["value"] == frozen.value
        assert [epoch.step for epoch in trial.epochs] == [1, 2]
        values = [epoch.metrics["val_accuracy"] for epoch in trial.epochs]
        assert values == pytest.approx([*frozen.intermediate_values.values()])
        assert trial.ended > trial.started
    assert trials[0].words["baseline"] == "True"
    first, study = written.studies
    assert first == study
    assert study.verdict.startswith("The best of the search, of 8 finished trials")
    assert (study.settings["train.epochs"], study.numbers["n_complete"]) == ("2", 8)
    assert (study.export, study.exported, study.confirmation) == (None, "", None)


def test_trial_is_written_once_after_the_change_that_ends_it(
    written: Written, finished: tuple[ResultsDir, Outcome]
) -> None:
    whole, n_written = finished[1].summary, []

    def changes() -> Iterator[Summary]:
        for n_trials in (0, 3, 3, 8):
            yield Summary("s", whole.metric, whole.trials[:n_trials])
            n_written.append(len(written.trials))

    write_study(TARGET, finished[0].study("s"), changes())
    assert n_written == [0, 3, 3, 8]
    assert len(written.studies) == 2


def test_open_trial_is_written_when_it_has_ended(written: Written, copied: Setting) -> None:
    study = copied.study()
    study.enqueue_trial(study.trials[0].params)
    trial = study.ask()
    for name, distribution in study.trials[0].distributions.items():
        trial._suggest(name, distribution)
    trial.report(0.5, step=1)

    def changes() -> Iterator[Summary]:
        yield Summary("s", "val_accuracy", study.trials)
        assert len(written.trials) == 8
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        # The last trial ends before it has values.
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
        yield Summary("s", "val_accuracy", study.trials)

    write_study(TARGET, copied.folder, changes())
    (last,) = written.trials[8:]
    assert (last.number, last.state, len(last.epochs)) == (8, "fail", 1)


def test_identity_is_that_of_one_study(
    written: Written, copied: Setting, finished: tuple[ResultsDir, Outcome]
) -> None:
    write_study(TARGET, copied.folder, [finished[1].summary])
    substitute(copied.folder.config_path, read_record(copied.folder).created, "2020-01-01")
    write_study(TARGET, copied.folder, [finished[1].summary])
    assert written.studies[0].identity != written.studies[-1].identity


def test_two_calls_do_not_write_at_the_same_time(
    written: Written, finished: tuple[ResultsDir, Outcome]
) -> None:
    folder, summary = finished[0].study("s"), finished[1].summary

    def changes() -> Iterator[Summary]:
        yield summary
        with pytest.raises(TrackerError, match="another call"):
            write_study(TARGET, folder, [summary])

    write_study(TARGET, folder, changes())
    assert len(written.trials) == 8


def test_failure_is_told_and_logged_without_the_password(
    written: Written,
    finished: tuple[ResultsDir, Outcome],
    caplog: pytest.LogCaptureFixture,
) -> None:
    written.error = RuntimeError("no answer from http://me:secret@host/api\nin 10 s")
    with pytest.raises(TrackerError, match=r"^no answer from http://me:\*\*\*@host/api$"):
        write_study(TARGET, finished[0].study("s"), [finished[1].summary])
    assert "mlflow:http://me:***@host: no answer" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.slow
def test_packages_of_trackers_import_neither_keras_nor_tensorflow(
    copied: Setting, tmp_path: Path
) -> None:
    for package in KINDS:
        pytest.importorskip(package, reason=f"the extra `{package}` is not installed")
    places = [f"mlflow:sqlite:///{tmp_path}/m.db", f"tensorboard:{tmp_path}/t", f"wandb:{tmp_path}"]
    assert output_of(LOG_TO, str(copied.results.path), *places, cwd=ROOT) == []


def test_reason_of_a_failed_connection_is_its_innermost_cause() -> None:
    def request() -> None:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise RuntimeError("API request to http://host failed with a long text") from error

    with pytest.raises(RuntimeError) as raised:
        request()
    assert reason_of(raised.value) == "Connection refused"
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(PermissionError(13, "Permission denied", "runs")).endswith("denied: 'runs'")


def following(folder: StudyDir, changes: Iterable[Summary]) -> tuple[Follower, list[str]]:
    """Return a follower that has got changes, and the list of its failures."""
    failures: list[str] = []
    follower = Follower(TARGET, folder, on_failure=failures.append)
    follower(SearchStarted(cast("Any", None)))
    for summary in changes:
        follower.changed(summary)
    return follower, failures


def test_search_is_followed_while_it_runs(
    written: Written, finished: tuple[ResultsDir, Outcome]
) -> None:
    whole = finished[1].summary
    early = Summary("s", whole.metric, whole.trials[:3])
    follower, failures = following(finished[0].study("s"), [early])
    assert written.has_written.wait(60)
    for _ in range(100):
        follower.changed(early)
    follower.changed(whole)
    follower.close()
    follower.finish(60)
    assert not failures
    assert [trial.number for trial in written.trials] == [*range(8)]
    assert [study.numbers["n_complete"] for study in written.studies] == [3, 8]


def test_tracker_that_hangs_takes_changes_without_end_and_is_one_failure(
    written: Written, finished: tuple[ResultsDir, Outcome]
) -> None:
    written.may_write.clear()
    written.error = RuntimeError("no answer")
    follower, failures = following(finished[0].study("s"), [finished[1].summary] * 100)
    assert follower._changes.qsize() <= 1
    follower.close()
    follower.finish(0.1)
    assert failures == ["the last writing took too long"]
    written.may_write.set()
    follower._thread.join(60)
    assert failures == ["the last writing took too long"]


def test_duplicate_of_trial_0_names_it(finished: tuple[ResultsDir, Outcome]) -> None:
    trial = copy.deepcopy(finished[1].summary.trials[1])
    trial.set_user_attr("same_as", 0)
    trial.set_user_attr("baseline", False)
    folder = finished[0].study("s")
    made = tracked_trial(trial, finished[1].space, folder, metric="val_accuracy")
    assert made is not None
    assert made.words.get("same_as") == "0"
    assert "baseline" not in made.words
