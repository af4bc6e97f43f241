"""Trackers that follow a search or get a whole study."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.commands import Ran, start, tune_command
from tests.studies import Setting
from tuning.api import tracking
from tuning.api.tracking import following, require_trackers, track
from tuning.errors import ArgumentError, TrackerError
from tuning.results import ResultsDir
from tuning.search.tune import Outcome, TuneHooks
from tuning.study.handle import StudyHandle
from tuning.study.summary import Summary
from tuning.trackers import targets, tracker
from tuning.trackers.contents import TrackedStudy
from tuning.trackers.targets import Target


@pytest.fixture
def search(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Return a search that starts, changes twice and ends. Its trackers can't be opened."""

    def fail(target: Target, study: TrackedStudy) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    def run(*, hooks: TuneHooks) -> Outcome:
        outcome = finished[1]
        hooks.on_start(cast("Any", None), cast("Any", None))
        for _ in range(2):
            hooks.on_change(cast("Any", SimpleNamespace(summary=outcome.summary)))
        hooks.then(cast("Any", None), outcome)
        return outcome

    monkeypatch.setattr(Target, "open", fail)
    monkeypatch.setattr(targets, "find_spec", lambda name: name)
    return run


def test_tracker_that_fails_is_one_warning_and_the_search_goes_on(
    search: Callable[..., Outcome],
    finished: tuple[ResultsDir, Outcome],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[object] = []
    hooks = TuneHooks(on_start=lambda *_: shown.append("start"), on_change=shown.append)
    trackers = ["mlflow:http://me:secret@host", "tensorboard:runs"]
    with following(trackers, finished[0].study("s")) as follow:
        search(hooks=follow(hooks))
    assert len(shown) == 3
    warnings = capsys.readouterr().err
    assert warnings.count("warning:") == 2
    assert "mlflow:http://me:***@host could not be written: Connection refused. The" in " ".join(
        warnings.split()
    )
    assert "secret" not in warnings


def test_search_is_written_before_its_confirmation_and_after_an_interrupt(
    search: Callable[..., Outcome],
    finished: tuple[ResultsDir, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[object] = []

    class Follows:
        def __init__(self, target: Target, folder: object, **_: object) -> None:
            steps.append(str(target))

        def changed(self, summary: Summary) -> None:
            steps.append(summary.n_finished)

        def close(self) -> None:
            steps.append("closed")

        def finish(self, seconds: float) -> None:
            assert 0 < seconds <= tracking.FINISH_SECONDS

    def interrupted() -> None:
        hooks = TuneHooks(then=lambda *_: steps.append("confirmation"))
        with following(["wandb:w"], finished[0].study("s")) as follow:
            search(hooks=follow(hooks))
            raise KeyboardInterrupt

    monkeypatch.setattr(tracker, "Follower", Follows)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["wandb:w", 8, 8, 8, "confirmation", "closed"]


def test_single_text_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be a list of trackers"):
        require_trackers("tensorboard:runs")


def test_machine_that_joins_writes_to_no_tracker(run_cli: Callable[..., Ran]) -> None:
    ran = run_cli("tune", "--study", "s", "--join", "--log-to", "tensorboard:x", "--pool", "ray")
    assert ran.code == 1
    assert "error: log_to must be given on the machine that created the study" in ran.err


def test_variable_names_several_trackers(
    monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Ran]
) -> None:
    monkeypatch.setenv("LOG_TO", "neptune:x tensorboard:y")
    ran = run_cli("track", "--study", "s")
    assert "received 'neptune:'" in ran.err


@pytest.mark.slow
def test_unreachable_server_is_one_warning_and_nothing_is_lost(
    setting: Setting, tmp_path: Path
) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    command = tune_command(
        *(setting.config.space, setting.config.data.data, setting.results.path),
        *("--n-trials", 3, "--epochs", 2, "--no-confirm", "--pruner", "none"),
        *("--log-to", "mlflow:http://me:secret@127.0.0.1:9"),
        *("--log-to", f"tensorboard:{tmp_path / 'runs'}"),
    )
    process = start(command)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    assert output.count("warning:") == 1
    sentence = "mlflow:http://me:***@127.0.0.1:9 could not be written: Connection refused."
    assert sentence in " ".join(output.split())
    assert "secret" not in output + setting.folder.log_path.read_text()
    assert len(setting.study().trials) == 3
    (folder,) = (tmp_path / "runs").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "study",
        *(f"trial-{number:04d}" for number in range(3)),
    ]
    with pytest.raises(TrackerError, match=r"Connection refused\.$"):
        track(["mlflow:http://127.0.0.1:9"], StudyHandle.of(setting.results, setting.folder.name))
