"""Retrain the best configuration, look at the test split once, have each form written and proven,
write the manifest last.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuning import documents
from tuning.config import StudyConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation
from tuning.data.corpus import Corpus
from tuning.data.data_card import DataCard
from tuning.data.files import Progress
from tuning.data.prepare import prepare_corpus, require_same_data
from tuning.data.splits import SplitReviews
from tuning.errors import StudyError
from tuning.evaluation.references import Reference, references
from tuning.evaluation.scores import (
    PastEvaluation,
    ReferenceScores,
    ScoreInterval,
    SplitScores,
    TestDocument,
)
from tuning.evaluation.test_split import (
    BEST,
    Classifier,
    TestEvaluation,
    evaluate_on_test_split,
    evaluations_of,
)
from tuning.export.formats import model_input, write_forms
from tuning.export.manifest import FullManifest, SearchFacts, WrittenForms
from tuning.export.model_card import model_card
from tuning.export.retraining import Trained, retrain
from tuning.export.versions import next_number, publish, recover
from tuning.inference.manifest import CARD, MANIFEST, MANIFEST_VERSION, digests
from tuning.results import ResultsDir, StudyDir, translated, write_text
from tuning.spaces.loading import SearchSpace, declare, find_space, require_same_space
from tuning.study.lock import export_lock
from tuning.study.record import StudyRecord, read_record
from tuning.study.storage import close_study
from tuning.study.study import (
    describe_versions,
    git_commit,
    load_study,
    recorded_config,
    recorded_space,
)
from tuning.study.summary import Summary, best_of, summarize
from tuning.study.trials import value_of
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
    """Write `best/` of a study; returns its manifest.

    `moved` names where the study's data lie now (`data`, `data_dir`). A failed or killed export
    leaves an earlier one as it was; its look at the test split counts all the same. The best is the
    confirmed one, or the search's own where nothing is confirmed; `number` names another trial to
    export in its place.

    Raises:
        StudyError: no trial is complete, or the data or space changed since the search.
        ExportError: a form that takes raw text can't be loaded, or gives other probabilities than
            the trained model.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    moved_data: dict[str, Any] = dict(moved or {})
    config = replace(config, data=replace(config.data, **moved_data))
    study = load_study(results, folder, storage_url=storage_url)
    try:
        summary = summarize(study, metric=config.metric)
        best = best_trial(summary, folder) if number is None else named_trial(summary, number)
        with export_lock(folder):
            recover(folder.best_dir)
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
) -> FullManifest:
    record = read_record(folder)
    corpus, splits = prepare_corpus(config, results=results, progress=progress)
    require_same_data(corpus, config, fingerprint=record.data_fingerprint, doing="An export")
    space_path = find_space(config.space)
    _same_space(space_path, space, n_classes=len(splits.class_names))
    trials = {BEST: best}
    if summary.baseline is not None:
        trials["baseline"] = summary.baseline
    different = [*{trial.number: trial for trial in trials.values()}.values()]
    retrained = retrain(
        different,
        config,
        space,
        space_path=space_path,
        corpus=corpus,
        log_path=folder.log_path,
        progress=progress,
    )
    by_number = {one.trial.number: one for one in retrained}
    trained = {name: by_number[trial.number] for name, trial in trials.items()}
    test_texts = splits.frames["test"]["text"].tolist()
    compared = _references(splits, test_texts, progress)
    seen = _look(study, trained, compared, config, corpus, test_texts, progress)
    scored = describe_scores(trained, compared, seen, summary, looks=evaluations_of(study))
    number = next_number(folder.best_dir)
    temporary = folder.best_dir.with_name("best.tmp")
    with translated(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    forms = write_forms(
        temporary,
        trained[BEST].model,
        trained[BEST].values,
        corpus,
        test_texts=test_texts,
        test_labels=seen.labels,
        progress=progress,
    )
    found = describe_search(summary, best, config, folder)
    manifest = describe_export(
        trained[BEST], config, corpus.card, record, scored=scored, forms=forms, search=found
    )
    manifest = replace(manifest, export_number=number)
    write_text(temporary / CARD, model_card(manifest))
    manifest = replace(manifest, files=digests(temporary))
    documents.write(temporary / MANIFEST, manifest, version=MANIFEST_VERSION)
    publish(temporary, folder.best_dir, number=number)
    # The mistakes are not in the export, because they are texts of the data.
    documents.write(folder.test_path, TestDocument(**vars(scored), mistakes=seen.mistakes))
    return manifest


def best_trial(summary: Summary, folder: StudyDir) -> FrozenTrial:
    """The trial to export: the confirmed best, or the search's where nothing is confirmed or a
    better one has come since.

    Raises:
        StudyError: no trial is complete.
    """
    best = best_of(summary, Confirmation.load(folder))
    return best.trial if best else summary.require_complete("an export")


def named_trial(summary: Summary, number: int) -> FrozenTrial:
    """The trial of this number.

    Raises:
        StudyError: it is not complete.
    """
    trial = next((t for t in summary.ranked if t.number == number), None)
    if trial is None:
        known = ", ".join(
            str(t.number)
            for t in (summary.front if summary.has_costs else summary.ranked[:N_NAMED])
        )
        raise StudyError(
            f"--trial must name a completed trial of {summary.study!r} within its limits, such as"
            f" {known or 'none'}; received {number}."
        )
    return trial


def _references(
    splits: SplitReviews, test_texts: list[str], progress: Progress | None
) -> dict[str, Reference]:
    if progress:
        progress("training the references", 0.0)
    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy())
        for frame in (splits.frames["train"], splits.frames["validation"])
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
) -> TestEvaluation:
    """Every model's scores on the test split, read once for all of them."""
    if progress:
        progress("scoring the test split", 0.0)
    class_names = corpus.card.class_names
    n_classes = len(class_names)

    def of_reference(reference: Reference) -> Classifier:
        return lambda texts: reference.probabilities

    classifiers = {role: one.classifier(n_classes) for role, one in trained.items()} | {
        name: of_reference(one) for name, one in compared.items()
    }
    return evaluate_on_test_split(
        study,
        corpus,
        classifiers,
        trials={role: one.trial.number for role, one in trained.items()},
        test_texts=test_texts,
        class_names=class_names,
        seed=config.seed,
    )


def _same_space(path: Path, recorded: SearchSpace, *, n_classes: int) -> None:
    now = declare(path, n_classes=n_classes, try_fit=loops.try_fit)
    require_same_space(now, recorded, path=path, doing="An export")
    if now.source_sha256 != recorded.source_sha256:
        logger.warning(
            "%s changed since the search, though its ranges did not; the export uses it as it"
            " is now",
            path.name,
        )


def describe_scores(
    trained: dict[str, Trained],
    compared: dict[str, Reference],
    seen: TestEvaluation,
    summary: Summary,
    *,
    looks: list[PastEvaluation],
) -> SplitScores:
    """What validation and test split say of the study's models and of the references."""
    return SplitScores(
        scores={
            role: one.model_scores(summary, seen.entries[role]) for role, one in trained.items()
        },
        references={
            name: ReferenceScores(
                about=one.about,
                validation_accuracy=one.validation_accuracy,
                seconds=round(one.seconds, 1),
                **vars(seen.entries[name]),
            )
            for name, one in compared.items()
        },
        comparisons=seen.comparisons,
        test_looks=looks,
    )


def describe_search(
    summary: Summary, best: FrozenTrial, config: StudyConfig, folder: StudyDir
) -> SearchFacts:
    """How the exported configuration was found, and what its repeats on fresh seeds say of it."""
    found = Confirmation.load(folder)
    judgement, chosen = estimate(found) if found else None, best_of(summary, found)
    repeats = (
        next((one for one in found.finalists if one.trial == best.number), None) if found else None
    )
    mean = judgement.means.get(best.number) if judgement else None
    return SearchFacts(
        sampler=config.sampler,
        pruner=config.pruner,
        n_trials=summary.counts,
        value=value_of(best),
        is_baseline=summary.baseline is best,
        is_confirmed_best=(
            chosen is not None and chosen.is_confirmed and chosen.trial.number == best.number
        ),
        n_shared_seeds=judgement.n_shared if judgement else 0,
        repeats={str(seed): value for seed, value in repeats.repeats.items()} if repeats else {},
        corrected_mean=ScoreInterval.of(mean) if mean else None,
    )


def describe_export(
    best: Trained,
    config: StudyConfig,
    card: DataCard,
    record: StudyRecord,
    *,
    scored: SplitScores,
    forms: WrittenForms,
    search: SearchFacts,
) -> FullManifest:
    """What the exported model is, and what it was made from; without its number and files."""
    return FullManifest(
        **vars(scored),
        **vars(forms),
        files={},
        study=config.study,
        space=config.space,
        data=config.data.data,
        metric=config.metric,
        text_column=card.text_column,
        class_names=card.class_names,
        trial=best.trial.number,
        hyperparameters=best.values,
        epochs=best.epochs,
        seed=config.seed,
        input=model_input(best.values),
        n_rows=card.n_rows,
        data_card=card.facts,
        majority_share=card.majority_share,
        data_fingerprint=record.data_fingerprint,
        space_fingerprint=record.space_fingerprint,
        versions=describe_versions(),
        git_commit=git_commit(Path(__file__).parent),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        search=search,
    )
