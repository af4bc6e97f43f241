"""Retrain the best configuration, score the test split once, have each form written and proven, write the manifest last."""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
from optuna.trial import FrozenTrial

from tuning import training
from tuning.config import DataConfig, StudyConfig
from tuning.corpus import prepare_corpus
from tuning.datasets.files import Progress
from tuning.errors import SpaceError, StudyError
from tuning.forms import folder_readme, write_forms
from tuning.hyperparameters import Values
from tuning.metrics import confusion, score
from tuning.predict import MANIFEST
from tuning.results import ResultsDir, StudyDir, read_json, replace_dir, translated, write_json, write_text
from tuning.spaces import SearchSpace, declare, find_space, load_hypermodel
from tuning.study import close_study, describe_versions, git_commit, load_study, recorded_config, recorded_space
from tuning.summary import Summary, summarize, value_of, values_of
from tuning.vocabulary import Corpus, LabelledTexts

logger = logging.getLogger(__name__)


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


def export_best(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    moved: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write `best/` of a study; returns its manifest.

    `moved` names where the study's data lie now (`data`, `data_dir`). A failed or killed export leaves an earlier one as it was.

    Raises:
        StudyError: no trial is complete, or the data or space changed since the search.
        ExportError: a form's probabilities differ from the trained model's by more than 1e-5.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    config = replace(config, data=DataConfig.from_dict({**config.to_dict()["data"], **(moved or {})}))
    study = load_study(results, folder, storage_url=storage_url)
    summary = summarize(study, metric=config.metric)
    close_study(study)
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
    corpus, splits = prepare_corpus(config, results=results, progress=progress)
    if corpus.fingerprint != record["data_fingerprint"]:
        raise StudyError(
            f"An export must use the data of its search; study {config.study!r} was tuned on fingerprint {record['data_fingerprint']}, "
            f"{config.data.data} now has {corpus.fingerprint}. Put the data back, or start another study."
        )
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
        "text_column": corpus.card["text_column"],
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
