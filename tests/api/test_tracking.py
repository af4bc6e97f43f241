"""Trackers that follow a search or get a whole study."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.commands import Ran
from tests.studies import Setting
from tuning.api.tracking import require_trackers, track, watching
from tuning.errors import ArgumentError, TrackerError
from tuning.results import ResultsDir, StudyDir
from tuning.search.events import Event, Outcome, Progressed, SearchEnded, SearchStarted, Subscriber
from tuning.study.handle import StudyHandle
from tuning.study.summary import Summary
from tuning.trackers import targets, tracker
from tuning.trackers.contents import TrackedStudy
from tuning.trackers.targets import Target


@pytest.fixture
def search(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Return a search that starts, changes twice and ends. Its trackers can't be opened."""

    def fail(target: Target, study: TrackedStudy) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    def run(subscribers: Sequence[Subscriber]) -> None:
        opened, outcome = cast("Any", None), finished[1]
        changed = Progressed(outcome.summary, 8, 1.0, 1.0)
        for event in (SearchStarted(opened), changed, changed, SearchEnded(opened, outcome)):
            for subscriber in subscribers:
                subscriber(event)

    monkeypatch.setattr(tracker, "open_tracker", fail)
    monkeypatch.setattr(targets, "find_spec", lambda name: name)
    return run


@contextlib.contextmanager
def followers_of(folder: StudyDir, *trackers: str) -> Iterator[list[Subscriber]]:
    """Give the trackers alone of the subscribers of a search."""
    with watching(folder, metric="val_accuracy", log_to=trackers) as subscribers:
        yield [one for one in subscribers if isinstance(one, tracker.Follower)]


def test_tracker_that_fails_is_one_warning_and_the_search_goes_on(
    search: Callable[..., None],
    finished: tuple[ResultsDir, Outcome],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[Event] = []
    trackers = ["mlflow:http://me:secret@host", "tensorboard:runs"]
    with followers_of(finished[0].study("s"), *trackers) as followers:
        search([*followers, shown.append])
    assert len(shown) == 4
    warnings = capsys.readouterr().err
    assert warnings.count("warning:") == 2
    assert "mlflow:http://me:***@host could not be written: Connection refused. The" in " ".join(
        warnings.split()
    )
    assert "secret" not in warnings


def test_search_is_written_after_an_interrupt(
    search: Callable[..., None],
    finished: tuple[ResultsDir, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []

    def write(target: Target, folder: StudyDir, summaries: Iterable[Summary]) -> None:
        written.extend(summary.n_finished for summary in summaries)

    def interrupted() -> None:
        with followers_of(finished[0].study("s"), "wandb:w") as followers:
            search(followers)
            raise KeyboardInterrupt

    monkeypatch.setattr(tracker, "write_study", write)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert set(written) == {8}


def test_search_that_does_not_start_is_not_written(
    search: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with followers_of(StudyDir(tmp_path / "s"), "wandb:w"):
        pass
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "s").exists()


def test_single_text_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be a list of trackers"):
        require_trackers("tensorboard:runs")
    with pytest.raises(ArgumentError, match=r"must be texts, .* received \['tensorboard:runs'\]"):
        require_trackers([["tensorboard:runs"]])  # type: ignore[list-item]


@pytest.mark.parametrize("command", [["compare", "--spaces", "text ngrams"], ["export-best"]])
@pytest.mark.usefixtures("copied_results")
def test_variable_names_several_trackers(
    command: list[str], monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Ran]
) -> None:
    monkeypatch.setenv("LOG_TO", "neptune:x tensorboard:y")
    ran = run_cli(*command, "--study", "s")
    assert "received the kind 'neptune'" in ran.err


def test_each_tracker_that_was_written_is_named(
    copied: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(target: Target, folder: StudyDir, summaries: Iterable[Summary]) -> None:
        if target.kind == "wandb":
            raise TrackerError("the disk is full")

    monkeypatch.setattr(tracker, "write_study", write)
    monkeypatch.setattr(targets, "find_spec", lambda name: name)
    with pytest.raises(TrackerError, match=r"^wandb:w could not be written: the disk is full\.$"):
        track(
            ["wandb:w", "mlflow:http://me:secret@host"],
            StudyHandle.of(copied.results, copied.folder.name),
        )
    out = capsys.readouterr().out
    assert "s is written to mlflow:http://me:***@host\n" in out
    assert "s is written to wandb" not in out


@pytest.mark.slow
def test_unreachable_server_is_given_up_with_its_reason(copied: Setting) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    with pytest.raises(TrackerError, match=r"Connection refused\.$"):
        track(["mlflow:http://127.0.0.1:9"], StudyHandle.of(copied.results, copied.folder.name))
