"""Write each form of an export and prove it: loaded in a fresh process, it gives the trained model's probabilities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning import prediction
from tuning.datasets.files import Progress
from tuning.errors import ExportError
from tuning.hyperparameters import Values
from tuning.looks import named_entries
from tuning.metrics import Array
from tuning.predict import FORMS
from tuning.results import escape_markdown, translated
from tuning.statistics import interval_text
from tuning.vocabulary import Corpus, encode

TOLERANCE = 1e-5  # the largest difference between the probabilities of an exported form and of the trained model
N_PARITY_TEXTS = 200
README_SCORES = ("accuracy", "balanced_accuracy", "f1", "loss", "expected_calibration_error")
HOSTILE_TEXTS = (
    "",
    "   \t\n ",
    "zzqxv qqwzx jjkzq",
    "this product is great " * 2_000,
    "这个产品非常好，我很喜欢。 质量 很 好",
    '😀👍 <b>Great</b> &amp; <br/> it\'s "good"!!! 10/10',
    "ÉCOLE Straße naïve\u00a0space\u2028line\u0085next",
    "\x00null\x01control\x7f",
)


def raw_text_model(model: keras.Model, *, words: list[str], sequence_length: int, truncating: str) -> keras.Model:
    """The model with `TextVectorization` before it: strings (batch,) in, its own output out. Stock Keras parts only."""
    text = keras.Input((), dtype="string", name="text")
    cut = sequence_length if truncating == "post" else None
    ids = keras.layers.TextVectorization(vocabulary=words, output_sequence_length=cut, name="tokenize")(text)
    if truncating == "pre":
        ids = _keep_end(ids, sequence_length)
    return keras.Model(text, model(ids), name="classifier")


def _keep_end(ids: Any, sequence_length: int) -> Any:
    """The last `sequence_length` ids of each row's text, padded after it; 0 stands nowhere but in the padding."""
    ops = keras.ops
    ids = ops.pad(ids, [[0, 0], [0, sequence_length]])
    lengths = ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
    starts = ops.maximum(ops.subtract(lengths, sequence_length), 0)
    positions = ops.add(starts, np.arange(sequence_length, dtype=np.int32)[None, :])
    return ops.cast(ops.take_along_axis(ids, positions, axis=1), "int32")


def write_forms(
    folder: Path,
    model: keras.Model,
    values: Values,
    corpus: Corpus,
    manifest: dict[str, Any],
    test_texts: list[str],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write every form and compare each, loaded in a fresh process, with the trained model.

    A form that can't be loaded is removed and its reason kept under `left_out`.

    Raises:
        ExportError: a form that takes raw text can't be loaded or gives other probabilities.
    """
    inputs = manifest["input"]
    words = corpus.words(inputs["vocab_size"])
    with translated(folder):
        (folder / "vocabulary.txt").write_bytes("\n".join(words).encode())
    raw = raw_text_model(model, words=words, sequence_length=inputs["sequence_length"], truncating=inputs["truncating"])
    writers: dict[str, Callable[[Path], None]] = {
        "keras": raw.save,
        "saved_model": lambda path: _write_saved_model(raw, path, n_classes=len(manifest["class_names"])),
        "h5": lambda path: model.save(path, include_optimizer=False),
    }
    texts = list(dict.fromkeys([*HOSTILE_TEXTS, *test_texts[:N_PARITY_TEXTS]]))
    expected = pipeline_probabilities(model, values, texts, words=words, n_classes=len(manifest["class_names"]))
    forms: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for number, (form, write) in enumerate(writers.items()):
        path = folder / FORMS[form]
        if progress:
            progress(f"writing and proving {path.name}", number / len(writers))
        with translated(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras calls .h5 a legacy form; it is here because the notebook uses it
            _write_form(write, path)
        try:
            difference = parity(folder, form, manifest, texts, expected)
        except ExportError as error:
            if form != "h5":
                raise
            path.unlink()
            left_out[path.name] = f"Keras writes it, but what is read again is not the model: {error}".replace(f"{folder.absolute()}/", "")
            continue
        forms[path.name] = {"input": "token ids" if form == "h5" else "raw text", "max_difference": difference}
    limits = [f"The model gives NaN for {text[:40]!r}." for text, row in zip(texts, expected, strict=True) if np.isnan(row).any()]
    return {"forms": forms, "left_out": left_out, "limits": limits}


def _write_form(write: Callable[[Path], None], path: Path) -> None:
    try:
        write(path)
    except tf.errors.OpError as error:  # TensorFlow's own writer has its own words for a full disk
        raise OSError(error.message) from error


def pipeline_probabilities(model: keras.Model, values: Values, texts: list[str], *, words: list[str], n_classes: int) -> Array:
    """What the training pipeline gives for raw texts: this project's tokeniser and view, and the model in memory."""
    return prediction.predict(model, prediction.make_view(model, values, encode(texts, words)), n_classes=n_classes)


def _write_saved_model(raw: keras.Model, path: Path, *, n_classes: int) -> None:
    """A SavedModel whose `serving_default` maps strings `text` (batch,) to `probabilities` (batch, n_classes)."""

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        output = raw(text, training=False)
        both = tf.concat([1 - output, output], axis=1) if n_classes == 2 and output.shape[-1] == 1 else output
        return {"probabilities": both}

    archive = keras.export.ExportArchive()
    archive.track(raw)
    archive.add_endpoint("serving_default", serve, input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    archive.write_out(str(path), verbose=False)


def parity(folder: Path, form: str, manifest: dict[str, Any], texts: list[str], expected: Array) -> float:
    """The largest difference between a form's probabilities, computed in a fresh process, and the expected ones.

    Raises:
        ExportError: the form can't be loaded, or differs by more than `TOLERANCE`.
    """
    command = [sys.executable, "-m", "tuning.predict", str(folder.absolute()), form]
    root = str(Path(__file__).resolve().parent.parent)
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    request = json.dumps({"manifest": manifest, "texts": texts})
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise ExportError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found = np.array(json.loads(done.stdout))
    both_nan = np.isnan(found) & np.isnan(expected)  # a model's own NaN, carried faithfully
    differences = np.where(both_nan, 0.0, np.abs(found - expected))
    difference = float(differences.max())
    if not difference <= TOLERANCE:
        worst = int(differences.max(axis=1).argmax())
        raise ExportError(
            f"{FORMS[form]} must give the trained model's probabilities within {TOLERANCE:g}; it differs by {difference:.2g} on text "
            f"{worst} of {len(texts)}."
        )
    return difference


def folder_readme(manifest: dict[str, Any]) -> str:
    """The export's README: what it is, its scores, how to load each form."""
    lines = []
    for name, one in named_entries(manifest).items():
        cells = [interval_text(one["test"][score], *one["test_intervals"][score]) for score in README_SCORES]
        lines.append(f"| {' | '.join([name, *cells])} |")
    rows = "\n".join(lines)
    looks = len(manifest["test_looks"])
    again = "" if looks == 1 else f" This is look number {looks} at it: the more there are, the less its scores can be trusted."
    n_rows, names = manifest["n_rows"], ", ".join(escape_markdown(name) for name in manifest["class_names"])
    missing = "".join(f"\n`{name}` is not here: {reason}\n" for name, reason in manifest["left_out"].items())
    limits = "".join(f"\n{limit}\n" for limit in manifest["limits"])
    hyperparameters = "\n".join(f"- `{name}`: {value}" for name, value in sorted(manifest["hyperparameters"].items()))
    h5 = (
        "\n`model.h5` takes token ids, int32 (batch, length): `vocabulary.txt` holds the words of ids 2, 3, …; 0 is padding, 1 unknown.\n"
        if "model.h5" in manifest["forms"]
        else ""
    )
    return f"""# {manifest["study"]}: a text classifier

It sorts texts into {names}. Tuned on {escape_markdown(manifest["data"])} with the space `{manifest["space"]}`, then trained on its
train and validation splits ({n_rows["train"] + n_rows["validation"]:,} texts) with seed {manifest["seed"]}.
Scores on the test split ({n_rows["test"]:,} texts), which no other command reads, with 95 % intervals of the bootstrap over its
texts.{again}

| model | accuracy | balanced accuracy | F1 | loss | calibration error |
|---|---|---|---|---|---|
{rows}

## Hyperparameters
{hyperparameters}
- epochs: {manifest["epochs"]}

## Use
```python
import keras
import tensorflow as tf

model = keras.models.load_model("model.keras")
print(model.predict_on_batch(tf.constant(["I love it", "It broke after a day"])))
```
```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
print(model.signatures["serving_default"](text=tf.constant(["I love it"]))["probabilities"])
```
{h5}{missing}{limits}
`export.json` holds all scores with their intervals, comparisons, confusion matrices, versions and
fingerprints; it was written last, so where it is, the export is whole.
"""
