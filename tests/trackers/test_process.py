"""The loop of the process that writes to a tracker, with fakes in this process."""

import io
from collections.abc import Callable
from typing import cast

import pytest

from tuning.trackers import process
from tuning.trackers.process import Changes, Report, follow, reason_of
from tuning.trackers.tracker import StudyWriting


class Writing:
    """A writing whose first `failures` calls fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.n_opened, self.n_closed = failures, 0, 0
        self.written: list[bool] = []

    def write(self, *, is_last: bool) -> None:
        if len(self.written) < self.failures:
            self.written.append(is_last)
            raise RuntimeError("no answer\nfrom the server")
        self.written.append(is_last)

    def close(self) -> None:
        self.n_closed += 1

    def open(self) -> StudyWriting:
        self.n_opened += 1
        return cast("StudyWriting", self)


class Steps(Changes):
    """Changes without a thread: the given number, and then the end."""

    def __init__(self, n: int) -> None:
        self.left, self.rests = n, list[float]()

    def wait(self) -> bool:
        self.left -= 1
        return self.left < 0

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)


def followed(writing: Writing, n_changes: int) -> tuple[list[Report], Steps]:
    reports: list[Report] = []
    steps = Steps(n_changes)
    follow(writing.open, steps, reports.append)
    return reports, steps


def test_study_is_written_after_changes_and_at_the_end() -> None:
    writing = Writing()
    reports, steps = followed(writing, 2)
    assert writing.written == [False, False, True]
    assert (writing.n_opened, writing.n_closed) == (1, 1)
    assert reports[-1] == Report(failure=None, is_last=True)
    assert steps.rests == [process.PAUSE_SECONDS] * 2


def test_failed_tracker_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RETRY_SECONDS", 0.0)
    writing = Writing(failures=1)
    reports, _ = followed(writing, 2)
    assert [report.failure for report in reports] == ["no answer", None, None]
    assert (writing.n_opened, writing.n_closed) == (2, 2)


def test_end_soon_after_a_failure_does_not_try_again() -> None:
    writing = Writing(failures=1)
    reports, steps = followed(writing, 1)
    assert writing.written == [False]
    assert reports == [Report(failure="no answer", is_last=last) for last in (False, True)]
    assert steps.rests == [process.RETRY_SECONDS]


def test_tracker_that_can_t_be_opened_is_a_failure() -> None:
    def fails() -> StudyWriting:
        raise OSError(13, "Permission denied")

    reports: list[Report] = []
    follow(fails, Steps(0), reports.append)
    assert reports == [Report(failure="[Errno 13] Permission denied", is_last=True)]


def test_end_of_the_input_is_the_end() -> None:
    ended: list[str] = []
    changes = Changes(io.StringIO("changed\nchanged\n"), at_end=lambda: ended.append("end"))
    while not changes.wait():
        pass
    assert ended == ["end"]
    changes.rest(60)


@pytest.mark.parametrize("make", [lambda: ConnectionRefusedError(111, "Connection refused")])
def test_reason_of_a_failed_connection_is_its_innermost_cause(
    make: Callable[[], Exception],
) -> None:
    def request() -> None:
        try:
            raise make()
        except OSError as error:
            raise RuntimeError("API request to http://host failed with a long text") from error

    with pytest.raises(RuntimeError) as raised:
        request()
    assert reason_of(raised.value) == "Connection refused"
    assert reason_of(ValueError()) == "ValueError"
