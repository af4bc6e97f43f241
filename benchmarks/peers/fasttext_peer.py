"""fastText as its users tune it: `train_supervised` with `autotuneValidationFile`, which tries
configurations until its time is over and trains the best one again.
"""

from __future__ import annotations

import signal
import tempfile
import time
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

    `seconds` and `cpu_seconds` begin when the texts are in memory. If the training of the best
    configuration diverges, a FloatingPointError is raised.
    """
    # If autotune does not end, the signal ends this process.
    signal.alarm(3 * seconds + SECONDS_TO_END)
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.txt" for name in ("train", "validation")}
        for name, path in paths.items():
            write_lines(path, splits.frames[name], seed=seed)
        options = {"autotuneDuration": seconds, "seed": seed, "thread": n_threads, "verbose": 0}
        try:
            model = fasttext.train_supervised(
                str(paths["train"]), autotuneValidationFile=str(paths["validation"]), **options
            )
        except RuntimeError as error:
            if "NaN" in str(error):
                raise FloatingPointError("fastText diverged") from error
            raise
    used, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    return {
        "validation_accuracy": accuracy(model, splits.frames["validation"]),
        "test_accuracy": accuracy(model, splits.frames["test"]),
        "seconds": round(used, 3),
        "cpu_seconds": round(cpu_used, 3),
        "parameters": {name: getattr(model.f.getArgs(), name) for name in PARAMETERS},
    }


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
