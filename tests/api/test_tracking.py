"""Trackers that follow a search or get a whole study."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.commands import Ran, start, tune_command, wait_for
from tests.studies import Setting
from tests.tracker_readers import mlflow_runs, tensorboard_run
from tuning.api.tracking import Tracking, require_trackers, track
from tuning.errors import ArgumentError, TrackerError
from tuning.results import ResultsDir
from tuning.search.tune import Outcome, TuneHooks
from tuning.trackers import follower, targets


class Fails:
    """A follower whose tracker fails at the start."""

    made: list["Fails"]

    def __init__(self, request: Any, *, on_failure: Callable[[str], None]) -> None:
        self.place, self.n_changes, self.seconds = request.place, 0, -1.0
        self.n_reports = 0
        Fails.made.append(self)
        on_failure("Connection refused.")

    def changed(self) -> None:
        self.n_changes += 1

    def report(self) -> None:
        self.n_reports += 1

    def close(self) -> None:
        pass

    def finish(self, seconds: float) -> None:
        self.seconds = seconds


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    Fails.made = []
    monkeypatch.setattr(follower, "Follower", Fails)
    monkeypatch.setattr(targets, "find_spec", lambda name: name)


def search_of(n_changes: int) -> Callable[..., Outcome]:
    """Return a search that starts, changes and ends."""

    def search(*, hooks: TuneHooks) -> Outcome:
        hooks.on_start(cast("Any", None), cast("Any", None))
        for _ in range(n_changes):
            hooks.on_change(cast("Any", None))
        hooks.then(cast("Any", None), cast("Any", None))
        return cast("Outcome", SimpleNamespace(n_trials=n_changes))

    return search


@pytest.mark.usefixtures("failing")
def test_tracker_that_fails_is_one_warning_and_the_search_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ResultsDir(tmp_path)
    trackers = ["mlflow:http://me:secret@host", "tensorboard:runs"]
    shown: list[object] = []
    hooks = TuneHooks(on_start=lambda *_: None, on_change=shown.append)
    with Tracking(trackers, root.study("s"), root, storage_url="sqlite://") as made:
        outcome = made.followed(search_of(3))(hooks=hooks)
        assert made.ended(True)
    assert (outcome.n_trials, len(shown)) == (3, 3)
    # The end of the search is reported before its confirmation.
    assert [(fails.place, fails.n_changes, fails.n_reports) for fails in Fails.made] == [
        ("http://me:secret@host", 3, 1),
        ("runs", 3, 1),
    ]
    assert all(3 < fails.seconds <= follower.FINISH_SECONDS for fails in Fails.made)
    warnings = capsys.readouterr().err
    assert warnings.count("warning:") == 2
    assert "mlflow:http://me:***@host could not be written: Connection refused. The" in " ".join(
        warnings.split()
    )
    assert "secret" not in warnings


@pytest.mark.usefixtures("failing")
def test_interrupted_search_does_not_wait_long(tmp_path: Path) -> None:
    root = ResultsDir(tmp_path)

    def interrupted() -> None:
        with Tracking(["wandb:w"], root.study("s"), root, storage_url="sqlite://") as made:
            made.followed(search_of(1))(hooks=TuneHooks())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(0 <= fails.seconds <= follower.INTERRUPTED_SECONDS for fails in Fails.made)


def test_search_without_trackers_is_the_search_itself(tmp_path: Path) -> None:
    root = ResultsDir(tmp_path)
    search = search_of(1)
    assert Tracking([], root.study("s"), root, storage_url="").followed(search) is search


def test_single_text_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be a list of trackers"):
        require_trackers("tensorboard:runs")


def test_no_tracker_is_refused(tmp_path: Path) -> None:
    root = ResultsDir(tmp_path)
    with pytest.raises(ArgumentError, match="log_to must name a tracker"):
        track([], root.study("s"), root, storage_url="sqlite://")


def test_wrong_value_is_refused_before_a_search(run_cli: Callable[..., Ran]) -> None:
    ran = run_cli("tune", "--study", "s", "--log-to", "neptune:x", "--n-trials", 1)
    assert ran.code == 1
    assert "error: log_to must be mlflow:URI, tensorboard:DIR or wandb:DIR" in ran.err


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
        track(
            ["mlflow:http://127.0.0.1:9"],
            setting.folder,
            setting.results,
            storage_url=setting.results.storage_url(None),
        )


@pytest.mark.nightly
def test_killed_search_that_goes_on_is_written_once(setting: Setting, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    uri, runs = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "runs"
    command = tune_command(
        *(setting.config.space, setting.config.data.data, setting.results.path),
        *("--n-trials", 4, "--epochs", 2, "--no-confirm", "--pruner", "none"),
        *("--log-to", f"mlflow:{uri}", "--log-to", f"tensorboard:{runs}"),
    )
    first = start(command)
    wait_for(first, "trial 1 epoch 1")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    second = start(command)
    output, _ = second.communicate(timeout=250)
    assert second.returncode == 0, output
    assert "warning:" not in output
    trials = setting.study().trials
    written = mlflow_runs(uri, cwd=tmp_path)
    assert sorted(written) == ["s", *(f"trial {trial.number}" for trial in trials)]
    (folder,) = runs.iterdir()
    for trial in trials:
        run = written[f"trial {trial.number}"]
        assert run["tags"]["state"] == trial.state.name.lower()
        steps = [*trial.intermediate_values]
        assert [step for step, _ in run["metrics"].get("val_accuracy", [])] == steps
        scalars, _ = tensorboard_run(folder / f"trial-{trial.number:04d}")
        assert [step for step, _ in scalars.get("val_accuracy", [])] == steps
