"""What a command gives, and what a process prints."""

import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What a command gave: its exit status and its two streams."""

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
