"""The MLflow model of an export: MLflow copies this file into the model and runs it there.

The file imports no other module of this program: the export contains its tokenizer, and ONNX
Runtime or TensorFlow runs the model.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

N_BATCH = 256
ONNX, SAVED_MODEL = "model.onnx", "saved_model"


class TextClassifier(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["export"])
        manifest = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        self._names = np.array(manifest["class_names"])
        # `export.json` leaves out the values that are defaults of the manifest.
        self._kind = manifest.get("predicts", "classes")
        self._thresholds: list[float] = manifest.get("thresholds", [])
        is_onnx = ONNX in manifest["forms"]
        self._run = _onnx(folder) if is_onnx else _saved_model(folder, manifest)

    def predict(self, context: PythonModelContext, model_input: list[str]) -> pd.DataFrame:
        """Return a data frame with a row for each text and the columns text, label and probability,
        which is the probability of the label. A text for which the model gives NaN has no label.
        Several labels have semicolons between them, and the probability that all are right. A
        number is the label itself, without a probability.
        """
        texts = [_clean(text) for text in model_input]
        rows: list[tuple[str, str | float | None, float]] = []
        for start in range(0, len(texts), N_BATCH):
            batch = texts[start : start + N_BATCH]
            outputs = np.asarray(self._run(batch), dtype=np.float64).reshape(len(batch), -1)
            if self._kind == "number":
                rows += [
                    (text, float(row[0]), np.nan) for text, row in zip(batch, outputs, strict=True)
                ]
                continue
            if outputs.shape[1] == 1:  # The column is the probability of class 1.
                outputs = np.hstack([1 - outputs, outputs])
            for text, row in zip(batch, outputs, strict=True):
                is_set = self._decided(row)
                right = np.where(is_set, row, 1 - row) if self._kind == "labels" else row[is_set]
                label = None if np.isnan(row).any() else ";".join(self._names[is_set])
                rows.append((text, label, float(right.prod())))
        return pd.DataFrame(rows, columns=["text", "label", "probability"])

    def _decided(self, row: np.ndarray) -> np.ndarray:
        """Return whether each name is predicted, as `Target.decide` of the export's kind does. This
        file can't import it.
        """
        if self._kind == "labels":
            return np.asarray(row >= (self._thresholds or 0.5))
        number = int(row.argmax())
        if self._kind == "order" and self._thresholds:
            mean = row @ self._names.astype(float) / row.sum()
            number = int((mean >= np.array(self._thresholds)).sum())
        elif self._kind == "order":  # the median
            number = int((np.cumsum(row) < row.sum() / 2).sum())
        elif self._thresholds:
            number = int(row[1] >= self._thresholds[0])
        return np.asarray(np.arange(len(row)) == number)


def _clean(text: object) -> str:
    """Return a text that UTF-8 can encode, as in training; a missing text becomes empty."""
    is_missing = text is None or (isinstance(text, float) and np.isnan(text))
    return "" if is_missing else str(text).encode("utf-8", "replace").decode("utf-8")


def _tokenizer(folder: Path) -> Callable[[list[str]], dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("tokenizer_of_export", folder / "tokenizer.py")
    assert spec and spec.loader  # for mypy: the file is a Python module
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tokenize = module.load_tokenizer(folder)
    return lambda texts: {
        name: np.array(rows, dtype=np.int32) for name, rows in tokenize(texts).items()
    }


def _onnx(folder: Path) -> Callable[[list[str]], Any]:
    import onnxruntime

    tokenize = _tokenizer(folder)
    session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    return lambda texts: session.run(None, tokenize(texts))[0]


def _saved_model(folder: Path, manifest: dict[str, Any]) -> Callable[[list[str]], Any]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / SAVED_MODEL))
    serve = loaded.signatures["serving_default"]
    if manifest["forms"][SAVED_MODEL]["takes"] == "raw text":
        return lambda texts: next(iter(serve(text=tf.constant(texts)).values())).numpy()
    tokenize = _tokenizer(folder)

    def run(texts: list[str]) -> Any:
        tensors = {name: tf.constant(array) for name, array in tokenize(texts).items()}
        return next(iter(serve(**tensors).values())).numpy()

    return run


set_model(TextClassifier())
