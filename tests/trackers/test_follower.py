"""The coordinator's side of the process that writes to a tracker."""

import pytest

from tuning.trackers import follower
from tuning.trackers.follower import Follower
from tuning.trackers.process import Request

REQUEST = Request(
    results="results", study="s", storage_url="sqlite://", kind="mlflow", place="http://u:secret@h"
)
FAILS_TWICE = """
import sys
sys.stdin.read()
for is_last in ("false", "true"):
    print('{"failure": "no answer", "is_last": ' + is_last + "}")
"""


def followed(program: str) -> tuple[Follower, list[str]]:
    failures: list[str] = []
    return Follower(REQUEST, on_failure=failures.append, program=("-c", program)), failures


def test_tracker_that_fails_is_one_warning() -> None:
    writer, failures = followed(FAILS_TWICE)
    writer.changed()
    assert writer.finish(None) == "no answer"
    assert failures == ["no answer"]


def test_written_study_is_no_failure() -> None:
    writer, failures = followed('print(\'{"failure": null, "is_last": true}\')')
    assert writer.finish(None) is None
    assert not failures


def test_process_that_ends_is_a_failure_and_takes_further_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "NEWS_SECONDS", 0.0)
    writer, failures = followed("raise SystemExit(3)")
    for _ in range(100):
        writer.changed()
    assert writer.finish(None) == "its process ended (3)"
    assert failures == ["its process ended (3)"]


def test_process_that_hangs_takes_changes_without_end_and_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "NEWS_SECONDS", 0.0)
    writer, failures = followed("import time; time.sleep(1000)")
    for _ in range(20_000):  # more lines than a pipe holds
        writer.changed()
    assert writer.finish(0.1) == "the last writing took too long"
    assert failures == ["the last writing took too long"]


def test_lines_of_packages_are_logged_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    writer, _ = followed("import sys; print('reading http://u:secret@h', file=sys.stderr)")
    writer.finish(None)
    assert "mlflow:http://u:***@h: reading http://u:***@h" in caplog.text
    assert "secret" not in caplog.text
