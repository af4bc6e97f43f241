"""The contents of an export's manifest: the search, the training of the model, and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import optuna
from optuna.trial import FrozenTrial

from tuning.config import StudyConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Confirmation
from tuning.errors import StudyError
from tuning.evaluation.references import Reference
from tuning.evaluation.scores import (
    EnsembleFacts,
    ReferenceScores,
    ScoreInterval,
    SplitScores,
)
from tuning.evaluation.test_split import BEST, SINGLE, TestEvaluation, evaluations_of
from tuning.evaluation.thresholds import all_thresholds
from tuning.export.manifest import FullManifest, SearchFacts, WrittenFormats
from tuning.export.retraining import Trained
from tuning.inputs.data_card import DataCard
from tuning.study.handle import StudyHandle
from tuning.study.study import describe_versions, git_commit
from tuning.study.summary import Summary
from tuning.study.trials import attributes_of, value_of

# Number of trials that the message of an unknown trial names.
N_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class ChosenTrial:
    """The trial to export, and its study, which is open as `opened`."""

    trial: FrozenTrial
    study: StudyHandle
    opened: optuna.Study

    @property
    def config(self) -> StudyConfig:
        return self.study.config

    @property
    def confirmation(self) -> Confirmation:
        assert self.study.confirmation is not None  # for mypy: `confirmed_trial` has refused others
        return self.study.confirmation


def best_trial(study: StudyHandle) -> FrozenTrial:
    """Return the confirmed best, or the best trial of the search if no trial is confirmed or a
    trial that ended after the confirmation is better.
    """
    return study.best.trial if study.best else study.summary.require_complete("an export")


def named_trial(summary: Summary, number: int) -> FrozenTrial:
    trial = next((t for t in summary.ranked if t.number == number), None)
    if trial is None:
        known = ", ".join(
            str(t.number)
            for t in (summary.front if summary.has_costs else summary.ranked[:N_NAMED])
        )
        raise StudyError(
            f"trial must be the number of a completed trial of {summary.study!r} that keeps the"
            f" study's limits ({f'for example {known}' if known else 'there is no such trial'});"
            f" received {number}."
        )
    return trial


def describe_scores(
    chosen: ChosenTrial,
    trained: dict[str, Trained],
    compared: dict[str, Reference],
    evaluation: TestEvaluation,
    *,
    ensemble: EnsembleFacts | None,
) -> SplitScores:
    return SplitScores(
        ensemble=ensemble,
        scores={
            role: model.model_scores(chosen.study.summary, evaluation.entries[role])
            for role, model in trained.items()
        },
        references={
            name: ReferenceScores(
                about=reference.about,
                seconds=round(reference.seconds, 1),
                **vars(evaluation.entries[name]),
            )
            for name, reference in compared.items()
        },
        comparisons=evaluation.comparisons,
        test_looks=evaluations_of(chosen.opened),
        n_groups=evaluation.n_groups,
    )


def describe_search(chosen: ChosenTrial) -> SearchFacts:
    trial, summary, config = chosen.trial, chosen.study.summary, chosen.config
    confirmation = chosen.study.confirmation
    estimates = estimate(confirmation)
    finalists = confirmation.finalists if confirmation else []
    finalist = next((finalist for finalist in finalists if finalist.trial == trial.number), None)
    mean = estimates.means.get(trial.number) if estimates else None
    return SearchFacts(
        sampler=config.sampler,
        pruner=config.pruner,
        n_trials=summary.counts,
        value=value_of(trial),
        n_folds=config.train.n_folds,
        is_baseline=summary.baseline is trial,
        starting_point=attributes_of(trial).get("starting_point"),
        is_confirmed_best=(
            estimates is not None
            and estimates.is_confirmed
            and estimates.best.trial == trial.number
        ),
        n_shared_seeds=estimates.n_shared if estimates else 0,
        is_resplit=confirmation is not None and confirmation.is_resplit,
        repeats={str(seed): value for seed, value in finalist.repeats.items()} if finalist else {},
        corrected_mean=ScoreInterval.of(mean) if mean else None,
    )


def describe_export(
    chosen: ChosenTrial,
    trained: dict[str, Trained],
    card: DataCard,
    *,
    scores: SplitScores,
    formats: WrittenFormats,
) -> FullManifest:
    """Return the manifest without the digests of the files. In the manifest of an ensemble, the
    trial, the hyperparameters and the epochs are those of the confirmed best.
    """
    config, record = chosen.config, chosen.study.record
    best = trained.get(SINGLE, trained[BEST])
    return FullManifest(
        **vars(scores),
        **vars(formats),
        files={},
        study=config.study,
        space=config.space,
        data=config.data.data,
        metric=config.metric,
        weight_column=config.data.weight_column,
        class_weight=config.train.class_weight,
        text_column=card.text_column,
        class_names=card.class_names,
        predicts=card.predicts,
        margin=scores.interval.margin if scores.interval else None,
        thresholds=all_thresholds(scores.chosen_thresholds),
        trial=best.trial.number,
        hyperparameters=best.source.values,
        epochs=best.epochs,
        seed=config.seed,
        input=trained[BEST].source.inputs.exported,
        n_rows=card.n_rows,
        data_card=card.facts,
        majority_share=card.majority_share,
        data_fingerprint=record.data_fingerprint,
        space_fingerprint=record.space_fingerprint,
        versions=describe_versions(),
        git_commit=git_commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        search=describe_search(chosen),
    )
