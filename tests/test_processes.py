"""Functions in a child process: results, messages, errors, and ends without a result."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.paths import ROOT
from tuning import processes
from tuning.errors import DataError
from tuning.processes import ChildFailed, child_environment, run_child, send


def answers(*values: object) -> dict[str, object]:
    """Return the arguments, the pid and a variable, after messages and the output of a library."""
    print("a progress bar " * 10_000)
    for value in values:
        send(value)
    return {"values": values, "pid": os.getpid(), "variable": os.environ.get("VARIABLE")}


def refuses(reason: str) -> None:
    raise DataError(reason)


def breaks(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "killed while it writes":
        assert processes._channel
        os.write(processes._channel.fileno(), b'{"result": [0.5, ')
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "late":
        time.sleep(60)
    raise ValueError("a bug\nof two lines")


def test_child_returns_its_result_after_its_messages() -> None:
    messages: list[object] = []
    values = ["\ud800 é", 2, [None, 0.5], "x" * 200_000]
    answer = run_child(answers, *values, on_message=messages.append, VARIABLE="set")
    assert answer["values"] == values == messages
    assert answer["pid"] != os.getpid()
    assert answer["variable"] == "set"


def test_error_of_the_user_is_raised_again() -> None:
    with pytest.raises(DataError, match=r"^the file 'é' is empty$"):
        run_child(refuses, "the file 'é' is empty")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("killed", "its process ended with signal 9, perhaps because memory ran out"),
        (
            "killed while it writes",
            "its process ended with signal 9, perhaps because memory ran out",
        ),
        ("exit", "its process ended with exit status 3"),
        ("bug", "of two lines"),
    ],
)
def test_end_without_a_result_has_its_reason(how: str, reason: str) -> None:
    with pytest.raises(ChildFailed) as error:
        run_child(breaks, how)
    assert str(error.value) == reason


def test_child_ends_after_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(ChildFailed, match="ended after 2 seconds"):
        run_child(breaks, "late", timeout=2)
    assert time.monotonic() - began < 20


def test_interrupt_of_the_parent_ends_the_child() -> None:
    def interrupt(message: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(answers, "go", on_message=interrupt)


def test_child_ends_after_a_parent_that_was_killed() -> None:
    code = "from tests.test_processes import breaks; from tuning.processes import run_child;"
    command = [sys.executable, "-c", f"{code} run_child(breaks, 'late')"]
    with subprocess.Popen(command, cwd=ROOT, env=child_environment()) as parent:
        while not (children := psutil.Process(parent.pid).children()):
            time.sleep(0.05)
        while children[0].status() != psutil.STATUS_SLEEPING or children[0].num_threads() < 2:
            time.sleep(0.05)
        parent.kill()
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_messages_outside_a_child_go_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    send("nobody reads this")
    assert capsys.readouterr().out == ""
