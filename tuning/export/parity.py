"""The parity check of a format: a new process that has only the format's runtime loads the format,
and its probabilities are compared with the probabilities of the trained model.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from tuning.errors import ExportError
from tuning.inference.load import load_unverified
from tuning.inference.runtimes import FORMATS, format_of
from tuning.inputs.contract import ModelInput
from tuning.processes import ChildFailed, run_child
from tuning.targets.target import Array, Target

RUNTIMES = {"keras_hub", *(module for known in FORMATS.values() for module in known.needs)}
# Packages that no format may need.
TRAINING = ("onnx", "tf2onnx", "optuna", "keras_tuner")
# Texts of every parity check, beside those of the test split.
HOSTILE_TEXTS = (
    "",
    "   \t\n ",
    "zzqxv qqwzx jjkzq",
    "this product is great " * 2_000,
    "x" * 100_000,
    "这个产品非常好，我很喜欢。 质量 很 好",
    "هذا المنتج رائع جدا",
    '😀👍 <b>Great</b> &amp; <br/> it\'s "good"!!! 10/10',
    "<script>alert('great')</script><!-- bad -->",
    "ÉCOLE Straße naïve\u00a0space\u2028line\u0085next",
    "\x00null\x01control\x7f",
    "great\x00",
    "great\x1cgood\x1b[31m bad\u202egood",
    "great \ud800 good\udfff",
    "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'",
)
# Maximum seconds of a parity check. The slowest measured check took a minute, on a busy machine.
MAX_SECONDS = 900
# Numbers of predictions of a single text.
N_CALLS, N_WARM_UP_CALLS = 30, 3
# Numbers of texts that are predicted alone. TensorFlow takes 7 to 13 ms for a text, so 2,000 texts
# would take up to 26 s for each of its three formats.
N_FIRST, N_ALONE = 20, 300


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The speed and the memory of a format in a new process, and its difference.

    Attributes:
        first_answer_seconds: time of the first prediction, including the import of the runtime.
        latency_ms: time of a single text.
        texts_per_second: number of texts per second in batches.
        max_difference: maximum difference from the predictions of the trained model.
    """

    first_answer_seconds: float
    latency_ms: float
    texts_per_second: int
    memory_mb: int
    max_difference: float


def check_parity(
    folder: Path,
    format_name: str,
    *,
    inputs: ModelInput,
    target: Target,
    texts: list[str],
    expected: Array,
) -> Measurements:
    """Compare a format's predictions for the texts with `expected`, float64 (n_texts, width), and
    return its measurements.

    All texts are predicted in batches. The texts of `rows_alone` are also predicted alone,
    because the two predictions of a model that reads the padding may differ.
    """
    rows = rows_alone(len(texts))
    path, tolerance = FORMATS[format_name].path, format_of(format_name, inputs).tolerance
    arguments = str(folder.absolute()), format_name, vars(inputs), target.document(), texts
    try:
        in_batch, alone, measured = run_child(main, *arguments, timeout=MAX_SECONDS)
    except ChildFailed as error:
        raise ExportError(
            f"The parity check of {path} with {len(texts)} texts must end with probabilities; the"
            f" check gave: {error}"
        ) from error
    in_batch, alone = np.array(in_batch), np.array(alone)
    # Numbers are rounded in proportion to their size.
    scale = 1.0 if target.has_probabilities else max(1.0, float(np.nanmax(np.abs(expected))))
    limit = tolerance * scale
    largest = 0.0
    for how, probabilities, places in (
        ("in a batch", in_batch, np.arange(len(texts))),
        ("alone", alone, rows),
    ):
        trained = expected[places]
        # If the trained model gives NaN, the format must give NaN.
        both_nan = np.isnan(probabilities) & np.isnan(trained)
        differences = np.where(both_nan, 0.0, np.abs(probabilities - trained))
        difference = float(differences.max())
        if not difference <= limit:
            worst = int(places[differences.max(axis=1).argmax()])
            raise ExportError(
                f"The {target.output_name} of {path} must differ from the trained model's by at"
                f" most {limit:g}; the difference is {difference:.2g} for text {worst}"
                f" of {len(texts)}, predicted {how}."
            )
        largest = max(largest, difference)
    return Measurements(max_difference=largest, **measured)


def rows_alone(n_texts: int) -> npt.NDArray[np.int64]:
    """Return the rows of the texts that are predicted alone: the first `N_FIRST`, among them the
    hostile texts, and about `N_ALONE` from all parts of the others.
    """
    spread = np.linspace(0, n_texts - 1, N_ALONE).astype(np.int64)
    return np.unique([*range(min(N_FIRST, n_texts)), *spread])


def main(
    folder: str,
    format_name: str,
    input_values: dict[str, Any],
    target_values: dict[str, Any],
    texts: list[str],
) -> tuple[list[list[float]], list[list[float]], dict[str, Any]]:
    """Run the child process: return the predictions of all texts in batches, those of
    `rows_alone` alone, and the fields of `Measurements` but the difference.
    """
    inputs, target = ModelInput(**input_values), Target.of_document(target_values)
    needs = format_of(format_name, inputs).needs
    for module in (*RUNTIMES, *TRAINING):
        if module not in needs:
            # Importing such a module raises ImportError.
            sys.modules[module] = None  # type: ignore[assignment]
    started = time.perf_counter()
    probabilities = load_unverified(Path(folder), format_name, inputs=inputs, target=target)
    probabilities(texts[:1])
    first = time.perf_counter()
    memory = psutil.Process().memory_info().rss
    calls = []
    for number in range(N_WARM_UP_CALLS + N_CALLS):
        began = time.perf_counter()
        # The last texts are reviews; the first are the hostile texts.
        probabilities([texts[-1 - number % len(texts)]])
        calls.append(time.perf_counter() - began)
    began = time.perf_counter()
    in_batch = probabilities(texts)
    measured = {
        "first_answer_seconds": round(first - started, 3),
        "latency_ms": round(1000 * statistics.median(calls[N_WARM_UP_CALLS:]), 3),
        "texts_per_second": round(len(texts) / (time.perf_counter() - began)),
        "memory_mb": round(memory / 2**20),
    }
    alone = np.concatenate([probabilities([texts[row]]) for row in rows_alone(len(texts))])
    return in_batch.tolist(), alone.tolist(), measured
