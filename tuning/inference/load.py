"""Load an export and predict texts. The module imports neither Optuna nor KerasTuner, and
TensorFlow only if the format needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning.inference.known_tokens import ProblemOf
from tuning.inference.manifest import Manifest, verify
from tuning.inference.runtimes import FORMATS, TOKEN_IDS, format_of, load_format, vocabularies
from tuning.inputs.contract import ModelInput
from tuning.inputs.encoder_tokens import ENCODER_BATCH_SIZE
from tuning.targets.target import Array, Target

BATCH_SIZE = 256
# Maximum number of characters of a batch, each text counted as long as the longest: rows of n-grams
# are as wide as the longest text of a batch.
MAX_CHARACTERS = 1_000_000

Probabilities = Callable[[Sequence[str]], Array]


@dataclass(frozen=True)
class Prediction:
    """The predicted label of a text, and its probability, which is None for a target without
    probabilities. `problem` says how many of the text's tokens are known if they are few
    (`load_problem_of`). `bounds` are those of a number's interval, if it is known.
    """

    text: str
    label: str
    probability: float | None
    problem: str
    bounds: tuple[float, float] | None = None

    @property
    def value(self) -> str | float:
        return float(self.label) if self.probability is None else self.label


def load_fastest(folder: Path, manifest: Manifest) -> Probabilities:
    name, inputs = fastest_format(manifest.forms), manifest.input
    takes_ids = format_of(name, inputs).takes == TOKEN_IDS
    verify(folder, manifest, [FORMATS[name].path, *(vocabularies(inputs) if takes_ids else [])])
    return load_unverified(folder, name, inputs=inputs, target=manifest.target)


def load_unverified(
    folder: Path, format_name: str, *, inputs: ModelInput, target: Target
) -> Probabilities:
    """Return a function from texts to predictions of the target, float64 (n_texts, width), with a
    format of an export that may have no manifest yet.
    """
    run = load_format(folder, format_name, inputs=inputs)
    max_rows = ENCODER_BATCH_SIZE if inputs.preset else BATCH_SIZE

    def probabilities(texts: Sequence[str]) -> Array:
        rows = np.empty((len(texts), target.width))
        for indices in batches([len(text) for text in texts], max_rows=max_rows):
            outputs = run([texts[index] for index in indices])
            rows[indices] = target.predictions(outputs)
        return rows

    return probabilities


def batches(lengths: Sequence[int], *, max_rows: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the indices of the texts of each batch, in ascending order of their lengths in
    characters: at most `max_rows` texts, and at most `MAX_CHARACTERS` characters if each text were
    as long as the longest. A longer text is a batch of its own.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end, index in enumerate(order):
        n_texts = end - start
        if n_texts == max_rows or ((n_texts + 1) * lengths[index] > MAX_CHARACTERS and n_texts):
            yield order[start:end]
            start = end
    if start < len(order):
        yield order[start:]


def fastest_format(paths: Collection[str]) -> str:
    # ONNX loads in less than a second, and needs no TensorFlow.
    known = [name for name in ("onnx", "keras", "saved_model") if FORMATS[name].path in paths]
    return known[0] if known else "keras"


def predictions_of(
    texts: Sequence[str], outputs: Array, target: Target, problem_of: ProblemOf
) -> list[Prediction | None]:
    """Return the prediction of each text; None for a text for which the model gives NaN."""
    labels, values = target.labels_of(target.decide(outputs)), target.confidence(outputs)
    undefined = np.isnan(outputs.sum(axis=1))
    rows = zip(texts, labels, values, target.bounds(outputs), undefined, strict=True)
    return [
        None if is_nan else Prediction(text, label, p, problem_of(text), bounds)
        for text, label, p, bounds, is_nan in rows
    ]
