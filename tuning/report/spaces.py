"""The studies of a comparison of search spaces, in one table: the mean of each best configuration
on fresh seeds, and how far the best search space leads.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import optuna

from tuning.confirmation.estimates import MIN_CHANGE
from tuning.errors import StorageError, StudyError
from tuning.evaluation.statistics import Interval, mean_interval
from tuning.metrics import sign
from tuning.report.tables import size_text
from tuning.spaces.files import short_name
from tuning.study.handle import StudyHandle
from tuning.study.optuna_internals import engine_of
from tuning.study.storage import open_storage
from tuning.study.trials import attributes_of, busy_seconds, seconds_of

logger = logging.getLogger(__name__)

# Attribute of a study that a comparison has searched: the name of the comparison, and the seconds
# of the search. No study of another command has it.
COMPARISON = "comparison"


@dataclass(frozen=True, kw_only=True)
class SpaceResult:
    """The result of the study of one search space. `mean`: the corrected mean of its best
    configuration; None before a confirmation. `repeats`: values of that configuration by fresh seed
    and fold, and `overlap` that of the confirmation. `train_seconds` and `latency_ms` are of the
    best trial, the latency for a single text.
    """

    space: str
    study: str
    metric: str
    mean: Interval | None = None
    repeats: dict[tuple[int, int], float] = field(default_factory=dict)
    overlap: float = 0.0
    n_trials: int = 0
    n_parameters: int | None = None
    train_seconds: float | None = None
    latency_ms: float | None = None

    def lead_over(self, other: SpaceResult) -> Interval:
        """Return the mean difference on shared seeds and folds, with Student's interval of paired
        values. Without shared seeds, and where all differences are equal and not 0, it has no
        interval: the bounds are NaN.
        """
        shared = sorted(set(self.repeats) & set(other.repeats))
        own, mean = (statistics.fmean(each.repeats.values()) for each in (self, other))
        if not shared:
            return Interval(own - mean, math.nan, math.nan, own)
        differences = [self.repeats[seed] - other.repeats[seed] for seed in shared]
        lead = mean_interval(differences, overlap=max(self.overlap, other.overlap))
        # Equal differences do not say what other seeds or rows would give.
        is_unknown = lead.high - lead.low < MIN_CHANGE < abs(lead.value)
        bounds = (math.nan, math.nan) if is_unknown else (lead.low, lead.high)
        return Interval(lead.value, *bounds, own)


def space_results(studies: Iterable[StudyHandle]) -> list[SpaceResult]:
    """Return the results of studies, the best first. Studies that can't be read are left out."""
    results = []
    for study in studies:
        try:
            results.append(_result_of(study))
        except (StorageError, StudyError) as error:  # Optuna Dashboard can delete a study.
            logger.warning("%s is left out: %s", study.name, error)

    def rank_key(result: SpaceResult) -> tuple[bool, float]:
        mean = result.mean
        return mean is None, -sign(result.metric) * mean.value if mean else 0.0

    return sorted(results, key=rank_key)


def _result_of(study: StudyHandle) -> SpaceResult:
    best = study.best
    result = SpaceResult(
        space=short_name(study.config.space),
        study=study.name,
        metric=study.config.metric,
        n_trials=study.summary.n_finished,
    )
    if best is None:
        return result
    result = replace(
        result,
        n_parameters=attributes_of(best.trial).get("n_parameters"),
        train_seconds=busy_seconds(seconds_of(best.trial)),
        latency_ms=attributes_of(best.trial).get("latency_ms"),
    )
    if not (best.is_confirmed and study.confirmation):
        return result
    number = best.trial.number
    finalist = next(f for f in study.confirmation.finalists if f.trial == number)
    return replace(
        result, mean=best.mean, repeats=finalist.by_fold, overlap=study.confirmation.overlap
    )


def compared_with(study: StudyHandle) -> list[StudyHandle]:
    """Return the studies of the comparison that a study belongs to, itself included; empty for a
    study of no comparison.
    """
    with study.opened() as opened:
        if COMPARISON not in opened.user_attrs:
            return []
        name = opened.user_attrs[COMPARISON]["name"]
    storage = open_storage(study.storage_url)
    try:
        summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    finally:
        engine_of(storage).dispose()
    names = [
        each.study_name
        for each in summaries
        if each.user_attrs.get(COMPARISON, {}).get("name") == name
    ]
    folders = [study.results.study(each) for each in names]
    return [
        StudyHandle(study.results, folder, study.storage_url)
        for folder in folders
        if folder.config_path.exists()
    ]


def space_rows(results: Sequence[SpaceResult]) -> tuple[list[str], list[list[str]]]:
    header = [
        *("search space", "mean on fresh seeds", "lead of the best", "trials"),
        *("parameters", "seconds", "latency ms"),
    ]
    rows = [
        [
            result.space,
            str(result.mean or "not confirmed"),
            "" if number == 0 or not result.mean else results[0].lead_over(result).signed,
            f"{result.n_trials:,}",
            size_text("n_parameters", result.n_parameters),
            "" if result.train_seconds is None else f"{result.train_seconds:.3g}",
            size_text("latency_ms", result.latency_ms),
        ]
        for number, result in enumerate(results)
    ]
    shown = [n for n in range(len(header)) if any(row[n] for row in rows)]
    return [header[n] for n in shown], [[row[n] for n in shown] for row in rows]


def verdict(results: Sequence[SpaceResult]) -> str:
    """Return a sentence about the best search space and its lead over each other one."""
    ranked = [result for result in results if result.mean]
    if not ranked:
        return "No search space has a confirmed best yet."
    best, *others = ranked
    clauses = [best.lead_over(each).against(each.space, sign(best.metric)) for each in others]
    leads = f": {', '.join(clauses)}" if clauses else ""
    return f"{best.space} has the best mean {best.metric} on fresh seeds, {best.mean}{leads}."
