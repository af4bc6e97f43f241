"""The result of a command, and the output of a process."""

import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """The exit status and the two output streams of a command."""

    code: int
    out: str
    err: str


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} did not come: {''.join(lines)}")
