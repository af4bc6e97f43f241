"""Write an export: retrain the best configuration, write every format, evaluate the models on the
test split once while the formats are checked, and write the manifest last.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tuning import documents
from tuning.atomic_io import replace_folder, translated, write_text
from tuning.data.files import Progress
from tuning.errors import ArgumentError, StudyError
from tuning.evaluation.linear_reference import LinearTask
from tuning.evaluation.ngram_model import all_references
from tuning.evaluation.predictions import Predictions, columns_of, write_predictions
from tuning.evaluation.references import Reference
from tuning.evaluation.scores import TestDocument
from tuning.evaluation.test_split import BEST, SINGLE, TestEvaluation, evaluate_on_test_split
from tuning.evaluation.thresholds import tested, with_thresholds
from tuning.export.description import (
    ChosenTrial,
    best_trial,
    describe_export,
    describe_scores,
    named_trial,
)
from tuning.export.ensemble import (
    Ensemble,
    choose_members,
    confirmed_trial,
    describe_ensemble,
    join,
    parse_size,
    retrainings_of,
)
from tuning.export.formats import write_formats
from tuning.export.manifest import FullManifest
from tuning.export.model_card import model_card
from tuning.export.retraining import Retraining, Trained, presets_of, retrain
from tuning.export.threshold import interval_of, margin_rows, thresholds_of
from tuning.inference.manifest import CARD, MANIFEST, MANIFEST_VERSION, digests
from tuning.inputs.corpus import Corpus
from tuning.results import StudyDir
from tuning.spaces.keras_settings import keras_settings_of
from tuning.study.handle import StudyHandle
from tuning.study.lock import export_lock
from tuning.study.prepare import prepare_corpus, prepare_views, require_same_data
from tuning.study.study import require_same_encoders
from tuning.study.trials import was_trained
from tuning.targets.target import Target
from tuning.targets.thresholds import Criterion

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportChoice:
    """What an export contains: the number of a trial, or the size of an ensemble, but not both
    (None: the confirmed best, else the best trial of the search), and what its decision threshold
    is chosen for (None: the default threshold).
    """

    number: int | None = None
    ensemble: str | None = None
    criterion: Criterion | None = None

    def __post_init__(self) -> None:
        if self.ensemble is not None:
            parse_size(self.ensemble)
            if self.number is not None:
                raise ArgumentError(
                    "trial and ensemble must not be given together: the members of an ensemble are"
                    " chosen from the trials of the confirmation."
                )


DEFAULT_CHOICE = ExportChoice()


def export_best(
    study: StudyHandle,
    choice: ExportChoice = DEFAULT_CHOICE,
    *,
    slice_column: str | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> FullManifest:
    """Write the export of a study to its folder `best/`, and return the manifest.

    `warn` is called with a sentence if an ensemble adds nothing, and the confirmed best is
    exported, if predictions of numbers have no intervals, or if the encoder of the baseline is
    missing or has changed. If an export fails or is killed, the earlier export is unchanged, and
    its evaluation of the test split stays recorded.
    """
    with study.opened() as opened:
        number = choice.number if choice.ensemble is None else confirmed_trial(study)
        trial = best_trial(study) if number is None else named_trial(study.summary, number)
        chosen = ChosenTrial(trial=trial, study=study, opened=opened)
        with export_lock(study.folder):
            return _export(chosen, choice, slice_column=slice_column, progress=progress, warn=warn)


def _export(
    chosen: ChosenTrial,
    choice: ExportChoice,
    *,
    slice_column: str | None,
    progress: Progress | None,
    warn: Callable[[str], None],
) -> FullManifest:
    config, study, folder = chosen.config, chosen.study, chosen.study.folder
    corpus, splits = prepare_corpus(
        config, results=study.results, slice_column=slice_column, progress=progress
    )
    require_same_data(corpus, config, fingerprint=study.record.data_fingerprint, doing="An export")
    members, criterion = None, choice.criterion
    if choice.ensemble:
        members = choose_members(chosen, corpus, size=choice.ensemble, warn=warn)
    by_role, of_ensemble = _retrainings(chosen, members, warn=warn)
    retrainings = [*by_role.values(), *of_ensemble]
    presets = presets_of(retrainings, study.space)
    prepare_views(corpus, study.space.with_presets(presets), config, progress=progress)
    thresholds = thresholds_of(chosen, members, corpus, criterion, warn=warn) if criterion else {}
    target, rows = with_thresholds(corpus.target, thresholds), None
    if not target.has_decisions and (rows := margin_rows(chosen, corpus, warn=warn)):
        target = target.with_margin(rows.labels, rows.predictions)
    of_test = splits.frames["test"]
    test_texts = of_test["text"].tolist()
    # The workers that end first leave a core free, which the references use.
    with ThreadPoolExecutor(1) as thread:
        references = thread.submit(all_references, corpus, task=LinearTask.of(config))
        retrained = retrain(
            retrainings,
            config,
            study.space,
            corpus=corpus,
            log_path=folder.log_path,
            warn=warn,
            progress=progress,
        )
        if progress and not references.done():
            progress("training the reference models", 0.0)
        # No training may run when the latency of an ensemble and the formats are measured below.
        compared = references.result()
    trained = {role: retrained[own] for role, own in by_role.items()}
    of_members = [retrained[own] for own in of_ensemble]
    # Formats trace the layers again, under the settings of Keras that the space's file makes.
    with keras_settings_of(trained[BEST].hypermodel):
        facts = None
        if members:
            joined = join(chosen, members, of_members)
            trained = {BEST: joined, SINGLE: trained.pop(BEST), **trained}
            facts = describe_ensemble(chosen, members, of_members, joined, single=trained[SINGLE])
        with _new_folder(folder.best_dir.with_name("best.tmp")) as temporary:
            with write_formats(
                temporary,
                replace(trained[BEST].source, target=target),
                test_texts=test_texts,
                expect=trained[BEST].expect,
                progress=progress,
            ) as compare:
                # The formats are checked during the evaluation. On two cores an export of the film
                # reviews takes 56 to 59 s, and took 65 s when one waited for the other.
                evaluation = _evaluate(
                    chosen,
                    trained,
                    compared,
                    corpus=corpus,
                    of_test=of_test,
                    target=target,
                    progress=progress,
                )
                if progress:
                    progress("checking the formats", 0.0)
            seen = evaluation.predictions
            formats = compare()
            scores = describe_scores(chosen, trained, compared, evaluation, ensemble=facts)
            if criterion and thresholds:
                thresholds = tested(
                    thresholds, seen, criterion, codes=evaluation.codes, seed=config.seed
                )
                scores = replace(scores, chosen_thresholds=thresholds)
            scores = replace(scores, interval=interval_of(target, rows, seen))
            manifest = describe_export(chosen, trained, corpus.card, scores=scores, formats=formats)
            if slice_column is not None:
                seen = replace(seen, column=columns_of(slice_column, splits)["test"])
            test = TestDocument(**vars(scores), mistakes=evaluation.mistakes)
            write_text(temporary / CARD, model_card(manifest))
            manifest = replace(manifest, files=digests(temporary))
            _publish(temporary, folder, manifest, seen=seen, test=test)
            return manifest


def _publish(
    temporary: Path,
    folder: StudyDir,
    manifest: FullManifest,
    *,
    seen: Predictions,
    test: TestDocument,
) -> None:
    """Write the manifest and the scores of the test split, and put the export in place."""
    documents.write(temporary / MANIFEST, manifest, version=MANIFEST_VERSION)
    write_predictions(folder.test_predictions_path, seen)
    documents.write(folder.test_path, test)
    replace_folder(temporary, folder.best_dir)


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder in place of what a killed process left, and yield its path. After an
    error the folder is removed.
    """
    with translated(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _retrainings(
    chosen: ChosenTrial, members: Ensemble | None, *, warn: Callable[[str], None]
) -> tuple[dict[str, Retraining], list[Retraining]]:
    """Return the retrainings of the chosen trial and of the baseline by their roles, and those of
    the members. A trial of both roles has one retraining. If the encoder of the baseline is missing
    or has changed, the baseline is left out, and `warn` gets a sentence.
    """
    study, seed, baseline = chosen.study, chosen.config.seed, chosen.study.summary.baseline
    best = Retraining.of(chosen.trial, seed=seed)
    by_role, of_ensemble = {BEST: best}, retrainings_of(chosen, members) if members else []
    presets = presets_of([best, *of_ensemble], study.space)
    require_same_encoders(study.record, doing="An export", presets=presets)
    if baseline is not None and was_trained(baseline):
        is_best = baseline.number == best.trial.number
        own = best if is_best else Retraining.of(baseline, seed=seed)
        presets = presets_of([own], study.space)
        try:
            require_same_encoders(study.record, doing="The baseline", presets=presets)
            by_role["baseline"] = own
        except StudyError as error:
            warn(f"The export is not compared with the baseline. {error}")
    return by_role, of_ensemble


def _evaluate(
    chosen: ChosenTrial,
    trained: dict[str, Trained],
    compared: dict[str, Reference],
    *,
    corpus: Corpus,
    of_test: pd.DataFrame,
    target: Target,
    progress: Progress | None,
) -> TestEvaluation:
    if progress:
        progress("evaluating the models on the test split", 0.0)
    texts = corpus.split("test").texts
    of_models = {id(model): model.source.probabilities(texts) for model in trained.values()}
    predictions = {role: of_models[id(model)] for role, model in trained.items()} | {
        name: reference.predictions for name, reference in compared.items()
    }
    return evaluate_on_test_split(
        chosen.opened,
        corpus,
        predictions,
        trials={role: model.trial.number for role, model in trained.items()},
        frame=of_test,
        config=chosen.config,
        best_target=target,
    )
