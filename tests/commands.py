"""Commands of the program, the result of a command, and the output of a process."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.paths import ROOT


@dataclass(frozen=True)
class Ran:
    """The exit status and the two output streams of a command."""

    code: int
    out: str
    err: str


def tune_command(space: object, data: object, results: object, *flags: object) -> list[str]:
    """Return the command that tunes the study "s" with one worker, in a process of its own."""
    command = [sys.executable, "-m", "tuning", "tune", "--study", "s", "--workers", 1]
    command += ["--space", space, "--data", data, "--results", results, *flags]
    return [str(word) for word in command]


def start(command: list[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a session of its own; its two output streams come as one."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env=env,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} did not come: {''.join(lines)}")
