"""fastText as its users tune it: `train_supervised` with `autotuneValidationFile`, which tries
configurations until its time is over and trains the best one again.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import numpy.typing as npt

from benchmarks.processes import cpu_seconds
from tuning.data.tokenizer import split

LABEL = "__label__"
# The parameters that autotune searches.
PARAMETERS = ("lr", "dim", "epoch", "minn", "maxn", "wordNgrams", "bucket")

Labels = npt.NDArray[np.int64]
Split = tuple[Sequence[str], Labels]


def autotune(
    *, train: Split, validation: Split, test: Split, seconds: int, seed: int, n_threads: int
) -> dict[str, Any]:
    """Search for the best configuration on the validation split, and score its model on it and on
    the test split. Only the texts of the training split are trained.

    Returns:
        `validation_accuracy` and `test_accuracy`; `seconds` and `cpu_seconds` of the search with
        the training of the best configuration, which begin when the texts are in memory; the
        `parameters` of the best configuration; `n_trials`, the number of configurations that were
        tried; and `epochs`, the best validation accuracy so far over the time (`best_scores`).

    Raises:
        FloatingPointError: the training of the best configuration diverged.
    """
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"train": Path(folder) / "train.txt", "validation": Path(folder) / "validation.txt"}
        for path, (texts, labels) in zip(paths.values(), (train, validation), strict=True):
            write_lines(path, texts, labels, seed=seed)
        written, cpu_written = time.perf_counter() - started, cpu_seconds() - cpu_started
        printed = Path(folder) / "printed.txt"
        options = {"autotuneDuration": seconds, "seed": seed, "thread": n_threads, "verbose": 1}
        with _error_output_to(printed), _divergence():
            model = fasttext.train_supervised(
                str(paths["train"]), autotuneValidationFile=str(paths["validation"]), **options
            )
        text = printed.read_text()
    used, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    points, n_trials = best_scores(text, seconds=seconds)
    # All threads are busy for the whole time, so CPU time passes evenly.
    cpu_rate = (cpu_used - cpu_written) / (used - written)
    return {
        "validation_accuracy": accuracy(model, *validation),
        "test_accuracy": accuracy(model, *test),
        "seconds": round(used, 3),
        "cpu_seconds": round(cpu_used, 3),
        "parameters": {name: getattr(model.f.getArgs(), name) for name in PARAMETERS},
        "n_trials": n_trials,
        "epochs": [
            {
                "seconds": round(written + moment, 3),
                "cpu_seconds": round(cpu_written + cpu_rate * moment, 3),
                "val_accuracy": score,
            }
            for moment, score in points
        ],
    }


@contextlib.contextmanager
def _divergence() -> Iterator[None]:
    """Turn fastText's error about NaN into a `FloatingPointError`."""
    try:
        yield
    except RuntimeError as error:
        if "NaN" in str(error):
            raise FloatingPointError("fastText diverged") from error
        raise


@contextlib.contextmanager
def _error_output_to(path: Path) -> Iterator[None]:
    """Write the standard error output of fastText's C++ code to a file."""
    kept = os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)


def best_scores(text: str, *, seconds: float) -> tuple[list[tuple[float, float]], int]:
    """Return the seconds and values of each new best score in the lines that autotune prints, and
    the number of trials.

    The score is F1 of the most probable label, which is the accuracy of texts with one label each.
    Autotune prints every half second which share of its time is over.
    """
    points: list[tuple[float, float]] = []
    n_trials = 0
    pattern = r"Progress: +([\d.]+)% Trials: +(\d+) Best score: +([\d.]+)"
    for share, n, score in re.findall(pattern, text):
        n_trials = int(n)
        if float(score) > (points[-1][1] if points else 0.0):
            points.append((float(share) / 100 * seconds, float(score)))
    return points, n_trials


def write_lines(path: Path, texts: Sequence[str], labels: Labels, *, seed: int) -> None:
    """Write a split as fastText reads it, in random order: fastText does not shuffle, and learns
    nothing useful from a file whose texts are sorted by label.
    """
    order = np.random.default_rng(seed).permutation(len(texts))
    lines = [f"{LABEL}{labels[row]} {line(texts[row])}\n" for row in order]
    path.write_text("".join(lines), encoding="utf-8")


def line(text: str) -> str:
    """Return a text as a line of fastText: its words as this program splits them, which are lower
    case and without punctuation.
    """
    return b" ".join(split(text)).decode()


def accuracy(model: Any, texts: Sequence[str], labels: Labels) -> float:
    """Return the share of the texts whose most probable label is their own."""
    predicted, _ = model.predict([line(text) for text in texts])
    names = [f"{LABEL}{number}" for number in labels]
    right = [first[:1] == [name] for first, name in zip(predicted, names, strict=True)]
    return float(np.mean(right))
