"""fastText as its users tune it: `train_supervised` with `autotuneValidationFile`, which tries
configurations until its time is over and trains the best one again.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pandas as pd

from benchmarks.processes import cpu_seconds
from tuning.data.splits import SplitReviews
from tuning.inputs.tokenizer import split

LABEL = "__label__"
# Time that autotune may take after its search, beside twice the time of the search.
SECONDS_TO_END = 60
# The parameters that autotune searches.
PARAMETERS = ("lr", "dim", "epoch", "minn", "maxn", "wordNgrams", "bucket")


def autotune(*, splits: SplitReviews, seconds: int, seed: int, n_threads: int) -> dict[str, Any]:
    """Score the best configuration of the validation split on it and on the test split.

    `seconds` and `cpu_seconds` begin when the texts are in memory, and `epochs` are the best scores
    over the time (`best_scores`). If the training of the best configuration diverges, a
    FloatingPointError is raised.
    """
    # If autotune does not end, the signal ends this process.
    signal.alarm(3 * seconds + SECONDS_TO_END)
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.txt" for name in ("train", "validation")}
        for name, path in paths.items():
            write_lines(path, splits.frames[name], seed=seed)
        written, cpu_written = time.perf_counter() - started, cpu_seconds() - cpu_started
        printed = Path(folder) / "printed.txt"
        options = {"autotuneDuration": seconds, "seed": seed, "thread": n_threads, "verbose": 1}
        try:
            with _error_output_to(printed):
                model = fasttext.train_supervised(
                    str(paths["train"]), autotuneValidationFile=str(paths["validation"]), **options
                )
        except RuntimeError as error:
            if "NaN" in str(error):
                raise FloatingPointError("fastText diverged") from error
            raise
        text = printed.read_text()
    used, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    points, n_trials = best_scores(text, seconds=seconds)
    # All threads are busy for the whole time, so CPU time passes evenly.
    cpu_rate = (cpu_used - cpu_written) / (used - written)
    return {
        "validation_accuracy": accuracy(model, splits.frames["validation"]),
        "test_accuracy": accuracy(model, splits.frames["test"]),
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
def _error_output_to(path: Path) -> Iterator[None]:
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


def write_lines(path: Path, frame: pd.DataFrame, *, seed: int) -> None:
    # fastText does not shuffle, and learns nothing from a file that is sorted by label.
    rows = frame.sample(frac=1, random_state=seed).itertuples()
    lines = [f"{LABEL}{row.label} {line(str(row.text))}\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def line(text: str) -> str:
    """Return the words of a text as this program splits them, in lower case and without
    punctuation.
    """
    return b" ".join(split(text)).decode()


def accuracy(model: Any, frame: pd.DataFrame) -> float:
    predicted, _ = model.predict([line(text) for text in frame["text"]])
    names = [f"{LABEL}{number}" for number in frame["label"]]
    right = [first[:1] == [name] for first, name in zip(predicted, names, strict=True)]
    return float(np.mean(right))
