"""Retrain the best configuration, look at the test split once, have each form written and proven, write the manifest last."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import optuna
from optuna.trial import FrozenTrial

from tuning import prediction, training
from tuning.card import folder_readme
from tuning.config import DataConfig, StudyConfig
from tuning.confirmation import Confirmation
from tuning.corpus import prepare_corpus, require_same_data
from tuning.datasets import SplitReviews
from tuning.datasets.files import Progress
from tuning.epochs import Epoch
from tuning.errors import StudyError
from tuning.forms import write_forms
from tuning.hyperparameters import Values
from tuning.judgement import judge
from tuning.looks import BEST, Classifier, Look, look, looks_of
from tuning.manifest import MANIFEST, MANIFEST_VERSION, digests
from tuning.owner import exporting
from tuning.references import Reference, references
from tuning.results import ResultsDir, StudyDir, read_json, replace_dir, translated, write_json, write_text
from tuning.spaces import SearchSpace, declare, find_space, load_hypermodel, require_same_space
from tuning.study import close_study, describe_versions, git_commit, load_study, recorded_config, recorded_space
from tuning.summary import Summary, summarize, value_of, values_of
from tuning.vocabulary import Corpus

logger = logging.getLogger(__name__)


N_NAMED = 10


@dataclass(frozen=True)
class Trained:
    """One configuration retrained on train + validation."""

    trial: FrozenTrial
    values: Values
    epochs: int
    model: keras.Model
    seconds: float


def export_best(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    number: int | None = None,
    moved: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write `best/` of a study; returns its manifest.

    `moved` names where the study's data lie now (`data`, `data_dir`). A failed or killed export leaves an earlier one as it was; its
    look at the test split counts all the same. The best is the confirmed one, or the search's own where nothing is confirmed; `number`
    names another trial to export in its place.

    Raises:
        StudyError: no trial is complete, or the data or space changed since the search.
        ExportError: a form's probabilities differ from the trained model's by more than 1e-5.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    config = replace(config, data=DataConfig.from_dict({**config.to_dict()["data"], **(moved or {})}))
    study = load_study(results, folder, storage_url=storage_url)
    try:
        summary = summarize(study, metric=config.metric)
        best = best_trial(summary, folder) if number is None else named_trial(summary, number)
        with exporting(folder):
            return _export(study, summary, best, config, space, results, folder, progress)
    finally:
        close_study(study)


def _export(
    study: optuna.Study,
    summary: Summary,
    best: FrozenTrial,
    config: StudyConfig,
    space: SearchSpace,
    results: ResultsDir,
    folder: StudyDir,
    progress: Progress | None,
) -> dict[str, Any]:
    record = read_json(folder.config_path)
    corpus, splits = prepare_corpus(config, results=results, progress=progress)
    require_same_data(corpus, config, fingerprint=record["data_fingerprint"], doing="An export")
    space_path = find_space(config.space)
    _same_space(space_path, space, n_classes=len(corpus.card["class_names"]))
    trained = {BEST: _retrain(best, BEST, config, space, space_path, corpus, progress)}
    if summary.baseline is best:
        trained["baseline"] = trained[BEST]
    elif summary.baseline is not None:
        trained["baseline"] = _retrain(summary.baseline, "baseline", config, space, space_path, corpus, progress)
    test_texts = splits.frames["test"]["text"].tolist()
    compared = _references(splits, test_texts, progress)
    seen = _look(study, trained, compared, config, corpus, test_texts, progress)
    scored = describe_scores(trained, compared, seen, summary) | {"test_looks": looks_of(study)}
    write_json(folder.test_path, {**scored, "mistakes": seen.mistakes})  # not in the export: these are texts of the data
    temporary = folder.best_dir.with_name("best.tmp")
    with translated(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    manifest = describe_export(trained[BEST], config, corpus, record) | scored
    if progress:
        progress("writing the forms", 0.0)
    manifest |= write_forms(temporary, trained[BEST].model, trained[BEST].values, corpus, manifest, test_texts, seen.labels, progress)
    write_text(temporary / "README.md", folder_readme(manifest))
    manifest |= {"schema_version": MANIFEST_VERSION, "files": digests(temporary)}
    write_json(temporary / MANIFEST, manifest)
    replace_dir(temporary, folder.best_dir)
    return manifest


def best_trial(summary: Summary, folder: StudyDir) -> FrozenTrial:
    """The trial to export: the confirmed best, or the search's where there is no confirmation or a better one has come since."""
    searched = summary.require_complete("an export")
    found = Confirmation.load(folder)
    judgement = judge(found) if found else None
    if found is None or judgement is None:
        return searched
    known = {trial for one in found.finalists for trial in (one.trial, *one.same)}
    return searched if searched.number not in known else next(t for t in summary.ranked if t.number == judgement.best.trial)


def named_trial(summary: Summary, number: int) -> FrozenTrial:
    """The trial of this number.

    Raises:
        StudyError: it is not complete.
    """
    trial = next((t for t in summary.ranked if t.number == number), None)
    if trial is None:
        known = ", ".join(str(t.number) for t in (summary.front if summary.has_costs else summary.ranked[:N_NAMED]))
        raise StudyError(
            f"--trial must name a completed trial of {summary.study!r} within its limits, such as {known or 'none'}; received {number}."
        )
    return trial


def _references(splits: SplitReviews, test_texts: list[str], progress: Progress | None) -> dict[str, Reference]:
    if progress:
        progress("training the references", 0.0)
    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy()) for frame in (splits.frames["train"], splits.frames["validation"])
    )
    return references(train, validation, test_texts, n_classes=len(splits.class_names))


def _look(
    study: optuna.Study,
    trained: dict[str, Trained],
    compared: dict[str, Reference],
    config: StudyConfig,
    corpus: Corpus,
    test_texts: list[str],
    progress: Progress | None,
) -> Look:
    """Every model's scores on the test split, read once for all of them."""
    if progress:
        progress("scoring the test split", 0.0)
    class_names = corpus.card["class_names"]
    n_classes = len(class_names)

    def of_model(one: Trained) -> Classifier:
        return lambda texts: prediction.predict(one.model, prediction.make_view(one.model, one.values, texts), n_classes=n_classes)

    def of_reference(reference: Reference) -> Classifier:
        return lambda texts: reference.probabilities

    classifiers = {role: of_model(one) for role, one in trained.items()} | {name: of_reference(one) for name, one in compared.items()}
    return look(
        study,
        corpus,
        classifiers,
        trials={role: one.trial.number for role, one in trained.items()},
        test_texts=test_texts,
        class_names=class_names,
        seed=config.seed,
    )


def _same_space(path: Path, recorded: SearchSpace, *, n_classes: int) -> None:
    now = declare(path, n_classes=n_classes, try_fit=training.try_fit)
    require_same_space(now, recorded, path=path, doing="An export")
    if now.source_sha256 != recorded.source_sha256:
        logger.warning("%s changed since the search, though its ranges did not; the export uses it as it is now", path.name)


def _retrain(
    trial: FrozenTrial,
    role: str,
    config: StudyConfig,
    space: SearchSpace,
    space_path: Path,
    corpus: Corpus,
    progress: Progress | None,
) -> Trained:
    """Train on train + validation for the trial's best number of epochs."""
    started = time.monotonic()
    epochs, values = int(trial.user_attrs["best_epoch"]), values_of(trial, space)
    n_classes = len(corpus.card["class_names"])

    def on_epoch(epoch: Epoch) -> bool:
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
    return Trained(trial, values, epochs, model, time.monotonic() - started)


def describe_scores(trained: dict[str, Trained], compared: dict[str, Reference], seen: Look, summary: Summary) -> dict[str, Any]:
    """What validation and test split say of the study's models and of the references."""
    return {
        "scores": {role: {**_trial_entry(one, summary), **seen.entries[role]} for role, one in trained.items()},
        "references": {
            name: {
                "about": one.about,
                "validation_accuracy": one.validation_accuracy,
                "seconds": round(one.seconds, 1),
                **seen.entries[name],
            }
            for name, one in compared.items()
        },
        "comparisons": seen.comparisons,
    }


def _trial_entry(one: Trained, summary: Summary) -> dict[str, Any]:
    name = f"validation_{summary.metric.removeprefix('val_')}"
    return {"trial": one.trial.number, "epochs": one.epochs, name: value_of(one.trial), "seconds": round(one.seconds, 1)}


def describe_export(best: Trained, config: StudyConfig, corpus: Corpus, record: dict[str, Any]) -> dict[str, Any]:
    """What the exported model is, and what it was made from."""
    return {
        "study": config.study,
        "space": config.space,
        "data": config.data.data,
        "metric": config.metric,
        "text_column": corpus.card["text_column"],
        "class_names": corpus.card["class_names"],
        "trial": best.trial.number,
        "hyperparameters": best.values,
        "epochs": best.epochs,
        "seed": config.seed,
        "input": {
            "vocab_size": int(best.values["vocab_size"]),
            "sequence_length": int(best.values["sequence_length"]),
            "truncating": str(best.values.get("truncating", "pre")),
        },
        "n_rows": corpus.card["n_rows"],
        "majority_share": corpus.card["majority_share"],
        "data_fingerprint": record["data_fingerprint"],
        "space_fingerprint": record["space_fingerprint"],
        "versions": describe_versions(),
        "git_commit": git_commit(Path(__file__).parent),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
