"""Load an export and classify texts; knows neither Optuna nor KerasTuner.

`python -m tuning.predict FOLDER FORM` reads a JSON list of texts from standard input and writes their class probabilities as
JSON; `export-best` runs it in a fresh process to prove each form before the export is called done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tuning.batching import View
from tuning.datasets.sources import clean
from tuning.errors import ExportError, StorageError
from tuning.metrics import Array, class_probabilities
from tuning.results import read_json
from tuning.vocabulary import encode

MANIFEST = "export.json"
FORMS = {"onnx": "model.onnx", "keras": "model.keras", "saved_model": "saved_model", "h5": "model.h5"}
BATCH_SIZE = 256

Probabilities = Callable[[Sequence[str]], Array]


@dataclass(frozen=True)
class Prediction:
    """One text's class and the probability of that class."""

    text: str
    label: str
    probability: float


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished export.

    Raises:
        ExportError: missing, unfinished or of another schema version.
    """
    if not (folder / MANIFEST).is_file():
        raise ExportError(f"{folder} must hold a finished export; it has no {MANIFEST}. Type `make export-best` first.")
    try:
        return read_json(folder / MANIFEST)
    except StorageError as error:
        raise ExportError(f"{error} Type `make export-best` to write the export again.") from error


def load(folder: Path, *, form: str = "keras", manifest: dict[str, Any] | None = None) -> Probabilities:
    """A function from texts to class probabilities, float64 array (n_texts, n_classes).

    Raises:
        ExportError: the form is not in the export, or can't be loaded.
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}; received {form!r}.")
    manifest = read_manifest(folder) if manifest is None else manifest
    path = folder / FORMS[form]
    if not path.exists():
        reason = manifest.get("left_out", {}).get(FORMS[form], "it is missing")
        raise ExportError(f"{folder} must hold {FORMS[form]}; {reason}.")
    run = {"keras": _load_keras, "saved_model": _load_saved_model, "h5": _load_h5}[form](path, manifest)

    def probabilities(texts: Sequence[str]) -> Array:
        n_classes = len(manifest["class_names"])
        parts = [run(list(texts[start : start + BATCH_SIZE])) for start in range(0, len(texts), BATCH_SIZE)]
        outputs = np.concatenate([class_probabilities(part, n_classes=n_classes) for part in parts]) if parts else np.empty((0, n_classes))
        return outputs

    return probabilities


def classify(folder: Path, texts: Sequence[str]) -> Iterator[Prediction]:
    """Label texts with the exported model.

    Raises:
        ExportError: the export is missing, unfinished or can't be loaded.
    """
    manifest = read_manifest(folder)
    names = manifest["class_names"]
    probabilities = load(folder, manifest=manifest)
    for start in range(0, len(texts), BATCH_SIZE):
        batch = list(clean(pd.Series(texts[start : start + BATCH_SIZE], dtype=object)))
        for text, row in zip(batch, probabilities(batch), strict=True):
            winner = int(row.argmax())
            yield Prediction(text, names[winner], float(row[winner]))


def _load_keras(path: Path, manifest: dict[str, Any]) -> Callable[[list[str]], Any]:
    import keras
    import tensorflow as tf

    model = _loaded(lambda: keras.models.load_model(path, compile=False, safe_mode=True), path)
    return lambda texts: model.predict_on_batch(tf.constant(texts))


def _load_saved_model(path: Path, manifest: dict[str, Any]) -> Callable[[list[str]], Any]:
    import tensorflow as tf

    loaded = _loaded(lambda: tf.saved_model.load(str(path)), path)
    serve = loaded.signatures["serving_default"]
    return lambda texts: serve(text=tf.constant(texts))["probabilities"].numpy()


def _load_h5(path: Path, manifest: dict[str, Any]) -> Callable[[list[str]], Any]:
    """The `.h5` file takes ids, so its folder's vocabulary makes them."""
    import keras

    model = _loaded(lambda: keras.models.load_model(path, compile=False, safe_mode=True), path)
    words = (path.parent / "vocabulary.txt").read_bytes().decode().split("\n")
    inputs = manifest["input"]

    def run(texts: list[str]) -> Any:
        view = View(encode(texts, words), **inputs)
        return model.predict_on_batch(view.array())

    return run


def _loaded(load_it: Callable[[], Any], path: Path) -> Any:
    try:
        return load_it()
    except (OSError, ValueError, TypeError, KeyError) as error:  # what Keras and TensorFlow raise for a broken file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{path} must be a model of this export; loading it gave: {first}") from error


def main(folder: str, form: str) -> None:
    """The fresh process's body."""
    request = json.load(sys.stdin)
    probabilities = load(Path(folder), form=form, manifest=request["manifest"])
    json.dump(probabilities(request["texts"]).tolist(), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
