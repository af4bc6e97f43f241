"""Write an export: retrain the best configuration, evaluate the models on the test split once,
write and check every format, and write the manifest last.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from tuning import documents
from tuning.confirmation.rounds import Confirmation
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.splits import SplitReviews
from tuning.errors import StudyError
from tuning.evaluation.ngram_tuning import NgramReference, ngram_reference, split_of
from tuning.evaluation.references import NGRAMS, Reference, references
from tuning.evaluation.scores import TestDocument
from tuning.evaluation.test_split import (
    BEST,
    TestEvaluation,
    evaluate_on_test_split,
    evaluations_of,
)
from tuning.export.description import ChosenTrial, describe_export, describe_scores
from tuning.export.formats import write_formats
from tuning.export.manifest import FullManifest
from tuning.export.model_card import model_card
from tuning.export.retraining import Trained, retrain
from tuning.export.versions import next_number, publish, recover
from tuning.inference.manifest import CARD, MANIFEST, MANIFEST_VERSION, digests
from tuning.results import ResultsDir, StudyDir, translated, write_text
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace, declare, require_same_space
from tuning.study.lock import export_lock
from tuning.study.prepare import prepare_corpus, prepare_views, require_same_data
from tuning.study.record import read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_config, recorded_space
from tuning.study.summary import Summary, best_of, summarize
from tuning.training import loops

logger = logging.getLogger(__name__)


N_NAMED = 10


def export_best(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    number: int | None = None,
    moved: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> FullManifest:
    """Write the export of a study to its folder `best/`, and return the manifest.

    The exported trial is the confirmed best, or the best trial of the search if no trial is
    confirmed. `number` names another trial to export.
    `moved` names the present place of the study's data (keys `data` and `data_dir`). If an export
    fails or is killed, the earlier export is unchanged, and a test split evaluation that the export
    has made stays recorded.

    Raises:
        StudyError: if no trial is complete, or if the data or the search space changed after the
            search.
        ExportError: if a format that takes raw text can't be loaded, or if its probabilities differ
            from those of the trained model.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    moved_data: dict[str, Any] = dict(moved or {})
    config = replace(config, data=replace(config.data, **moved_data))
    study = load_study(results, folder, storage_url=storage_url)
    try:
        summary = summarize(study, metric=config.metric)
        trial = best_trial(summary, folder) if number is None else named_trial(summary, number)
        chosen = ChosenTrial(trial, study=study, summary=summary, config=config, folder=folder)
        with export_lock(folder):
            recover(folder.best_dir)
            return _export(chosen, space, results=results, progress=progress)
    finally:
        close_study(study)


def _export(
    chosen: ChosenTrial, space: SearchSpace, *, results: ResultsDir, progress: Progress | None
) -> FullManifest:
    config, folder, record = chosen.config, chosen.folder, read_record(chosen.folder)
    corpus, splits = prepare_corpus(config, results=results, progress=progress)
    require_same_data(corpus, config, fingerprint=record.data_fingerprint, doing="An export")
    prepare_views(corpus, space, config, progress=progress)
    trained = _retrain(chosen, space, corpus, progress=progress)
    test_texts = splits.frames["test"]["text"].tolist()
    compared = _references(splits, corpus, test_texts, progress)
    evaluation = _evaluate(
        chosen, trained, compared, corpus=corpus, test_texts=test_texts, progress=progress
    )
    scores = describe_scores(
        trained, compared, evaluation, chosen.summary, evaluations=evaluations_of(chosen.study)
    )
    temporary = _empty_folder(folder.best_dir.with_name("best.tmp"))
    formats = write_formats(
        temporary,
        trained[BEST].model,
        trained[BEST].values,
        corpus,
        test_texts=test_texts,
        test_labels=evaluation.labels,
        progress=progress,
    )
    number = next_number(folder.best_dir)
    manifest = describe_export(
        chosen, trained[BEST], corpus.card, record, number=number, scores=scores, formats=formats
    )
    write_text(temporary / CARD, model_card(manifest))
    manifest = replace(manifest, files=digests(temporary))
    documents.write(temporary / MANIFEST, manifest, version=MANIFEST_VERSION)
    publish(temporary, folder.best_dir, number=number)
    # The mistakes are texts of the data. Therefore the export does not contain them.
    documents.write(folder.test_path, TestDocument(**vars(scores), mistakes=evaluation.mistakes))
    return manifest


def _empty_folder(path: Path) -> Path:
    with translated(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    return path


def best_trial(summary: Summary, folder: StudyDir) -> FrozenTrial:
    """Return the trial to export: the confirmed best.

    The best trial of the search is returned if no trial is confirmed, or if a trial that ended
    after the confirmation is better.

    Raises:
        StudyError: if no trial is complete.
    """
    best = best_of(summary, Confirmation.load(folder))
    return best.trial if best else summary.require_complete("an export")


def named_trial(summary: Summary, number: int) -> FrozenTrial:
    """Return the trial with this number.

    Raises:
        StudyError: if the trial is not complete.
    """
    trial = next((t for t in summary.ranked if t.number == number), None)
    if trial is None:
        known = ", ".join(
            str(t.number)
            for t in (summary.front if summary.has_costs else summary.ranked[:N_NAMED])
        )
        raise StudyError(
            f"--trial must be the number of a completed trial of {summary.study!r} that keeps the"
            f" study's limits ({f'for example {known}' if known else 'there is no such trial'});"
            f" received {number}."
        )
    return trial


def _references(
    splits: SplitReviews, corpus: Corpus, test_texts: list[str], progress: Progress | None
) -> dict[str, Reference | NgramReference]:
    if progress:
        progress("training the reference models", 0.0)
    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy())
        for frame in (splits.frames["train"], splits.frames["validation"])
    )
    n_classes = len(splits.class_names)
    tuned = ngram_reference(
        split_of(corpus, "train"),
        split_of(corpus, "validation"),
        orders=corpus.ngram_orders,
        n_classes=n_classes,
    )
    return {
        **references(train, validation, test_texts, n_classes=n_classes),
        NGRAMS: tuned,
    }


def _retrain(
    chosen: ChosenTrial, space: SearchSpace, corpus: Corpus, *, progress: Progress | None
) -> dict[str, Trained]:
    """Retrain the chosen trial and the baseline; if both are the same trial, retrain it once."""
    space_path = find_space(chosen.config.space)
    _same_space(
        space_path, space, n_classes=len(corpus.card.class_names), preset=chosen.config.preset
    )
    trials = {BEST: chosen.trial}
    if chosen.summary.baseline is not None:
        trials["baseline"] = chosen.summary.baseline
    retrained = retrain(
        [*{trial.number: trial for trial in trials.values()}.values()],
        chosen.config,
        space,
        space_path=space_path,
        corpus=corpus,
        log_path=chosen.folder.log_path,
        progress=progress,
    )
    by_number = {model.trial.number: model for model in retrained}
    return {name: by_number[trial.number] for name, trial in trials.items()}


def _evaluate(
    chosen: ChosenTrial,
    trained: dict[str, Trained],
    compared: dict[str, Reference | NgramReference],
    *,
    corpus: Corpus,
    test_texts: list[str],
    progress: Progress | None,
) -> TestEvaluation:
    """Evaluate all models and references on the test split, which is read once."""
    if progress:
        progress("evaluating the models on the test split", 0.0)
    class_names = corpus.card.class_names
    n_classes = len(class_names)

    classifiers = {role: model.classifier(n_classes) for role, model in trained.items()} | {
        name: reference.classify for name, reference in compared.items()
    }
    return evaluate_on_test_split(
        chosen.study,
        corpus,
        classifiers,
        trials={role: model.trial.number for role, model in trained.items()},
        test_texts=test_texts,
        class_names=class_names,
        seed=chosen.config.seed,
    )


def _same_space(path: Path, recorded: SearchSpace, *, n_classes: int, preset: str | None) -> None:
    now = declare(path, n_classes=n_classes, preset=preset, try_fit=loops.try_fit)
    require_same_space(now, recorded, path=path, doing="An export")
    if now.source_sha256 != recorded.source_sha256:
        logger.warning(
            "The search space file %s has changed since the search, but its ranges have not; the"
            " export uses the present file.",
            path.name,
        )
