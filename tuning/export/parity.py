"""Prove a form of an export: loaded in a fresh process that has its runtime alone, it gives the
trained model's probabilities.

`python -m tuning.export.parity FOLDER FORM` is that process. It reads a manifest and texts from
standard input, and writes their probabilities, in one batch and each text alone, and what loading
and answering took, as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tuning.errors import ExportError, TuningError
from tuning.evaluation.metrics import Array
from tuning.inference.load import load
from tuning.inference.runtimes import FORMS

RUNTIMES = ("tensorflow", "keras", "onnxruntime", "ai_edge_litert")
TRAINING = ("onnx", "tf2onnx", "optuna", "keras_tuner")  # what no form may need
MAX_SECONDS = 900  # of a proof; the slowest form that was seen, on a busy machine, took a minute
N_CALLS, N_WARM_UP_CALLS = 30, 3  # of a single text


def prove(
    folder: Path, form: str, manifest: dict[str, Any], texts: list[str], expected: Array
) -> tuple[Array, dict[str, Any]]:
    """A form's probabilities of the texts, and what it measured: `max_difference` to the expected
    ones, and the process's own figures.

    Every text is given in one batch with all others, and alone: a model that reads the padding may
    answer differently.

    Raises:
        ExportError: the form can't be loaded, or differs by more than its tolerance.
    """
    found, alone, measured = _ask(folder, form, manifest, texts)
    tolerance = FORMS[form].tolerance
    largest = 0.0
    for given, answers in (("in a batch", found), ("alone", alone)):
        both_nan = np.isnan(answers) & np.isnan(expected)  # a model's own NaN, carried faithfully
        differences = np.where(both_nan, 0.0, np.abs(answers - expected))
        difference = float(differences.max())
        if np.isnan(difference) or (tolerance is not None and difference > tolerance):
            worst = int(differences.max(axis=1).argmax())
            raise ExportError(
                f"{FORMS[form].path} must give the trained model's probabilities within"
                f" {tolerance or 1:g}; it differs by {difference:.2g} on text {worst} of"
                f" {len(texts)}, given {given}."
            )
        largest = max(largest, difference)
    return found, {"max_difference": largest, **measured}


def _ask(
    folder: Path, form: str, manifest: dict[str, Any], texts: list[str]
) -> tuple[Array, Array, dict[str, Any]]:
    command = [sys.executable, "-m", "tuning.export.parity", str(folder.absolute()), form]
    root = str(Path(__file__).resolve().parents[2])
    env = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    request = json.dumps({"manifest": manifest, "texts": texts})
    try:
        done = subprocess.run(
            command,
            input=request,
            capture_output=True,
            text=True,
            env=env,
            check=False,
            timeout=MAX_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{FORMS[form].path} must answer {len(texts)} texts within {MAX_SECONDS} s; it did not."
        ) from error
    if done.returncode != 0:
        raise ExportError((done.stderr.strip().splitlines() or ["no message"])[-1])
    answer = json.loads(done.stdout)
    return np.array(answer.pop("probabilities")), np.array(answer.pop("alone")), answer


def main(folder: str, form: str) -> None:
    """The fresh process's body."""
    for module in (*RUNTIMES, *TRAINING):
        if module not in FORMS[form].needs:
            sys.modules[module] = None  # type: ignore[assignment]  # importing it raises ImportError
    request = json.load(sys.stdin)
    texts = request["texts"]
    started = time.perf_counter()
    try:
        probabilities = load(Path(folder), form=form, manifest=request["manifest"])
    except TuningError as error:
        sys.exit(str(error))
    probabilities(texts[:1])
    first = time.perf_counter()
    memory = psutil.Process().memory_info().rss
    calls = []
    for number in range(N_WARM_UP_CALLS + N_CALLS):
        began = time.perf_counter()
        probabilities([texts[-1 - number % len(texts)]])  # the last are reviews, not hostile texts
        calls.append(time.perf_counter() - began)
    began = time.perf_counter()
    found = probabilities(texts)
    measured = {
        "first_answer_seconds": round(first - started, 3),
        "latency_ms": round(1000 * statistics.median(calls[N_WARM_UP_CALLS:]), 3),
        "texts_per_second": round(len(texts) / (time.perf_counter() - began)),
        "memory_mb": round(memory / 2**20),
    }
    alone = np.concatenate([probabilities([text]) for text in texts])
    json.dump({"probabilities": found.tolist(), "alone": alone.tolist(), **measured}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
