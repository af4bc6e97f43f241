"""Retrain the best configuration, score the test split once, write each form, prove it, and write the manifest last."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from optuna.trial import FrozenTrial

from tuning import training
from tuning.config import StudyConfig
from tuning.datasets import load_reviews, split_reviews
from tuning.datasets.files import Progress
from tuning.errors import ExportError, SpaceError, StudyError
from tuning.hyperparameters import Values
from tuning.metrics import Array, confusion, score
from tuning.predict import FORMS, MANIFEST
from tuning.results import ResultsDir, StudyDir, read_json, replace_dir, translated, write_json, write_text
from tuning.spaces import SearchSpace, declare, find_space, load_hypermodel
from tuning.study import Summary, describe_versions, git_commit, load_study, recorded_config, recorded_space, summarize, value_of, values_of
from tuning.vocabulary import Corpus, LabelledTexts, build_corpus, encode

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5  # the largest difference between the probabilities of an exported form and of the trained model
N_PARITY_TEXTS = 200
README_SCORES = ("accuracy", "balanced_accuracy", "f1", "loss")
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


@dataclass(frozen=True)
class Trained:
    """One configuration retrained on train + validation, and its scores on the test split."""

    trial: FrozenTrial
    values: Values
    epochs: int
    model: keras.Model
    scores: dict[str, float]
    confusion: list[list[int]]
    seconds: float


def export_best(results: ResultsDir, folder: StudyDir, *, storage_url: str, progress: Progress | None = None) -> dict[str, Any]:
    """Write `best/` of a study; returns its manifest.

    A failed or killed export leaves an earlier one as it was.

    Raises:
        StudyError: no trial is complete, or the data or space changed since the search.
        ExportError: a form's probabilities differ from the trained model's by more than 1e-5.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    summary = summarize(load_study(results, folder, storage_url=storage_url), metric=config.metric)
    best = summary.require_complete("an export")
    record = read_json(folder.config_path)
    corpus, test_texts = _same_data(config, record, results, progress)
    space_path = find_space(config.space)
    _same_space(space_path, space, n_classes=len(corpus.card["class_names"]))
    test = corpus.split("test")
    trained = {"best": _retrain(best, "best", config, space, space_path, corpus, test, progress)}
    if summary.baseline is best:
        trained["baseline"] = trained["best"]
    elif summary.baseline is not None:
        trained["baseline"] = _retrain(summary.baseline, "baseline", config, space, space_path, corpus, test, progress)
    temporary = folder.best_dir.with_name("best.tmp")
    with translated(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    manifest = describe_export(trained, summary, config, corpus, record)
    if progress:
        progress("writing the forms", 0.0)
    manifest |= write_forms(temporary, trained["best"].model, trained["best"].values, corpus, manifest, test_texts, progress)
    write_text(temporary / "README.md", folder_readme(manifest))
    write_json(temporary / MANIFEST, manifest)
    replace_dir(temporary, folder.best_dir)
    return manifest


def _same_data(config: StudyConfig, record: dict[str, Any], results: ResultsDir, progress: Progress | None) -> tuple[Corpus, list[str]]:
    """The study's corpus, and the texts of its test split."""
    splits = split_reviews(load_reviews(config.data, progress=progress), seed=config.seed)
    if splits.fingerprint != record["data_fingerprint"]:
        raise StudyError(
            f"An export must use the data of its search; study {config.study!r} was tuned on fingerprint {record['data_fingerprint']}, "
            f"{config.data.data} now has {splits.fingerprint}. Put the data back, or start another study."
        )
    corpus = build_corpus(results.cache_dir(splits.fingerprint), splits, progress=progress)
    return corpus, splits.frames["test"]["text"].tolist()


def _same_space(path: Path, recorded: SearchSpace, *, n_classes: int) -> None:
    now = declare(path, n_classes=n_classes, try_fit=training.try_fit)
    if now.fingerprint != recorded.fingerprint:
        raise SpaceError(
            f"An export must use the space of its search; {path.name} was {recorded.fingerprint} then and is {now.fingerprint} now. "
            "Put the file back, or start another study."
        )
    if now.source_sha256 != recorded.source_sha256:
        logger.warning("%s changed since the search, though its ranges did not; the export uses it as it is now", path.name)


def _retrain(
    trial: FrozenTrial,
    role: str,
    config: StudyConfig,
    space: SearchSpace,
    space_path: Path,
    corpus: Corpus,
    test: LabelledTexts,
    progress: Progress | None,
) -> Trained:
    """Train on train + validation for the trial's best number of epochs, then score the test split."""
    started = time.monotonic()
    epochs, values = int(trial.user_attrs["best_epoch"]), values_of(trial, space)
    n_classes = len(corpus.card["class_names"])

    def on_epoch(epoch: training.Epoch) -> bool:
        if progress:
            progress(f"training the {role} again (trial {trial.number})", epoch.number / epochs)
        return True

    if progress:
        progress(f"training the {role} again (trial {trial.number})", 0.0)
    model, _ = training.fit(
        load_hypermodel(space_path),
        values,
        train=corpus.split("train") + corpus.split("validation"),
        validation=None,
        n_classes=n_classes,
        config=replace(config.train, epochs=epochs),
        seed=config.seed,
        metric=config.metric,
        on_epoch=on_epoch,
    )
    probabilities = training.predict(model, training.make_view(model, values, test), n_classes=n_classes)
    scores, matrix = score(test.labels, probabilities), confusion(test.labels, probabilities)
    return Trained(trial, values, epochs, model, scores, matrix, time.monotonic() - started)


def describe_export(
    trained: dict[str, Trained], summary: Summary, config: StudyConfig, corpus: Corpus, record: dict[str, Any]
) -> dict[str, Any]:
    """The manifest, except for what the forms add."""
    best = trained["best"]
    return {
        "study": config.study,
        "space": config.space,
        "data": config.data.data,
        "metric": config.metric,
        "class_names": corpus.card["class_names"],
        "hyperparameters": best.values,
        "epochs": best.epochs,
        "seed": config.seed,
        "input": {
            "vocab_size": int(best.values["vocab_size"]),
            "sequence_length": int(best.values["sequence_length"]),
            "truncating": str(best.values.get("truncating", "pre")),
        },
        "scores": {role: _scores(role, one, summary) for role, one in trained.items()},
        "n_rows": corpus.card["n_rows"],
        "majority_share": corpus.card["majority_share"],
        "data_fingerprint": record["data_fingerprint"],
        "space_fingerprint": record["space_fingerprint"],
        "versions": describe_versions(),
        "git_commit": git_commit(Path(__file__).parent),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _scores(role: str, one: Trained, summary: Summary) -> dict[str, Any]:
    test = {name: None if math.isnan(value) else value for name, value in one.scores.items()}
    return {
        "trial": one.trial.number,
        "epochs": one.epochs,
        f"validation_{summary.metric.removeprefix('val_')}": value_of(one.trial),
        "test": test,
        "test_confusion_matrix": one.confusion,
        "seconds": round(one.seconds, 1),
    }


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
        ExportError: a form that takes raw text can't be loaded, or any form gives other probabilities.
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
    texts = [*HOSTILE_TEXTS, *test_texts[:N_PARITY_TEXTS]]
    expected = pipeline_probabilities(model, values, texts, words=words, n_classes=len(manifest["class_names"]))
    forms: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for number, (form, write) in enumerate(writers.items()):
        path = folder / FORMS[form]
        if progress:
            progress(f"writing and proving {path.name}", number / len(writers))
        with translated(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras calls .h5 a legacy form; it is here because the notebook uses it
            write(path)
        try:
            difference = parity(folder, form, manifest, texts, expected)
        except ExportError as error:
            if form != "h5":
                raise
            path.unlink()
            left_out[path.name] = f"Keras writes it but can't load it again: {error}"
            continue
        forms[path.name] = {"input": "token ids" if form == "h5" else "raw text", "max_difference": difference}
    return {"forms": forms, "left_out": left_out}


def pipeline_probabilities(model: keras.Model, values: Values, texts: list[str], *, words: list[str], n_classes: int) -> Array:
    """What the training pipeline gives for raw texts: this project's tokeniser and view, and the model in memory."""
    labelled = LabelledTexts(encode(texts, words), np.zeros(len(texts), dtype=np.int64))
    return training.predict(model, training.make_view(model, values, labelled), n_classes=n_classes)


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
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        worst = int(np.abs(found - expected).max(axis=1).argmax())
        raise ExportError(
            f"{FORMS[form]} must give the trained model's probabilities within {TOLERANCE:g}; it differs by {difference:.2g} on text "
            f"{worst} of {len(texts)}."
        )
    return difference


def folder_readme(manifest: dict[str, Any]) -> str:
    """The export's README: what it is, its scores, how to load each form."""
    rows = "\n".join(
        f"| {role} (trial {one['trial']}) | " + " | ".join(f"{one['test'][name]:.4f}" for name in README_SCORES) + " |"
        for role, one in manifest["scores"].items()
    )
    n_rows, names = manifest["n_rows"], ", ".join(f"`{name}`" for name in manifest["class_names"])
    missing = "".join(f"\n`{name}` is not here: {reason}\n" for name, reason in manifest["left_out"].items())
    hyperparameters = "\n".join(f"- `{name}`: {value}" for name, value in sorted(manifest["hyperparameters"].items()))
    h5 = (
        "\n`model.h5` takes token ids, int32 (batch, length): `vocabulary.txt` holds the words of ids 2, 3, …; 0 is padding, 1 unknown.\n"
        if "model.h5" in manifest["forms"]
        else ""
    )
    return f"""# {manifest["study"]}: a text classifier

It sorts texts into {names}. Tuned on `{manifest["data"]}` with the space `{manifest["space"]}`, then trained on its
train and validation splits ({n_rows["train"] + n_rows["validation"]:,} texts) with seed {manifest["seed"]}.
Scores on the test split ({n_rows["test"]:,} texts), which was read once, for this table; the majority class alone gives
{manifest["majority_share"]:.4f} accuracy:

| model | accuracy | balanced accuracy | F1 | loss |
|---|---|---|---|---|
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
{h5}{missing}
`export.json` holds the scores, confusion matrices, versions and fingerprints; it was written last, so where it is, the export is whole.
"""
