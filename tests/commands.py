"""Commands of the program, the result of a command, and the output of a process."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.numbered import TWO
from tests.paths import ROOT


@dataclass(frozen=True)
class Ran:
    """The exit status and the two output streams of a command."""

    code: int
    out: str
    err: str


def tune_command(
    space: object, data: object, results: object, *flags: object, folds: object = 1
) -> list[str]:
    """Return the command that tunes the study "s" with one worker, in a process of its own."""
    command = [sys.executable, "-m", "tuning", "tune", "--study", "s", "--workers", 1]
    command += ["--folds", folds, "--space", space, "--data", data, "--results", results, *flags]
    return [str(word) for word in command]


def output_of(*command: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Return the output of a command that succeeds."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


def check_prediction(answer: Mapping[str, Any], export: Path) -> None:
    """Check the JSON that `predict --json` writes for a text against the model of the export."""
    import keras
    import tensorflow as tf

    outputs = keras.models.load_model(export / "model.keras").predict_on_batch(
        tf.constant([answer["text"]])
    )
    (probabilities,) = TWO.predictions(np.asarray(outputs))
    predicted = int(probabilities.argmax())
    assert answer["label"] == ("negative", "positive")[predicted]
    assert answer["probability"] == pytest.approx(probabilities[predicted], abs=1e-5)
