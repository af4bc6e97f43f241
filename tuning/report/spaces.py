"""The studies of several search spaces on the same data: which space is best, which spaces can't be
distinguished from the best, and which of these to choose.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tuning.commands import typed
from tuning.confirmation.rounds import MIN_CHANGE
from tuning.errors import StorageError, StudyError
from tuning.evaluation.statistics import Interval, Verdict, as_shown, mean_interval
from tuning.metrics import metric_text, sign
from tuning.report.confirmation import counted_seeds
from tuning.report.tables import size_text
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.files import short_name
from tuning.study.budget import comparison_name
from tuning.study.handle import StudyHandle
from tuning.study.study import StudyRecord, read_record
from tuning.study.trials import attributes_of, busy_seconds, seconds_of, value_of

logger = logging.getLogger(__name__)

SMALL_LEAD = 0.01  # maximum lead of a space that is said to be as good as another


@dataclass(frozen=True, kw_only=True)
class SpaceResult:
    """The result of the study of one search space. `repeats`: value of the confirmed best by fresh
    seed and fold (`Finalist.by_fold`), and `overlap` that of the confirmation. `train_seconds` and
    `latency_ms` are of the best trial, the latency for a single text.
    """

    space: str
    study: str
    metric: str
    accuracy: Interval | None = None
    repeats: dict[tuple[int, int], float] = field(default_factory=dict)
    overlap: float = 0.0
    search_value: float | None = None
    n_trials: int = 0
    n_parameters: int | None = None
    train_seconds: float | None = None
    latency_ms: float | None = None

    @property
    def is_constant(self) -> bool:
        """Whether several repeats have one value, as those of a model that `adapt` has fitted and
        training did not change: further seeds give this value too.
        """
        values = self.repeats.values()
        return len(values) > 1 and max(values) - min(values) < MIN_CHANGE

    def lead_over(self, other: SpaceResult) -> Interval:
        """Return the mean difference on shared seeds and folds, with Student's interval of paired
        values; without any, the difference of the means, with bounds that are NaN. Differences that
        are equal, except for 0, have no interval either.
        """
        shared = sorted(set(self.repeats) & set(other.repeats))
        own, mean = (statistics.fmean(each.repeats.values()) for each in (self, other))
        if not shared:
            return Interval(own - mean, math.nan, math.nan, own)
        differences = [self.repeats[seed] - other.repeats[seed] for seed in shared]
        lead = mean_interval(differences, overlap=max(self.overlap, other.overlap))
        lead = replace(lead, scale=own)
        # Equal differences do not say what other seeds or rows would give.
        is_same = lead.high - lead.low < MIN_CHANGE and lead.verdict() is not Verdict.UNCLEAR
        return replace(lead, low=math.nan, high=math.nan) if is_same else lead


def comparison_of(record: StudyRecord) -> str | None:
    """Return the name of the comparison that a study belongs to by its name; None without one."""
    name = comparison_name(record.config.study, record.config.space)
    return name if name != record.config.study else None


def comparisons(results: ResultsDir) -> dict[str, list[StudyRecord]]:
    """Return the studies of each comparison on the first one's data, with its metric, folds and
    seed.
    """
    records = []
    for path in results.path.glob("*/study.json"):
        try:
            records.append(read_record(StudyDir(path.parent)))
        except (StorageError, StudyError) as error:
            logger.warning("%s is left out: %s", path.parent.name, error)
    groups: dict[str, list[StudyRecord]] = {}
    for record in sorted(records, key=lambda record: record.created):
        if (name := comparison_of(record)) is not None:
            group = groups.setdefault(name, [])
            if not group or _shared(record) == _shared(group[0]):
                group.append(record)
    return groups


def _shared(record: StudyRecord) -> tuple[str, str, int, int]:
    config = record.config
    return record.data_fingerprint, config.metric, config.train.n_folds, config.seed


def space_results(results: ResultsDir, comparison: str, *, storage_url: str) -> list[SpaceResult]:
    spaces = []
    for record in comparisons(results).get(comparison, []):
        folder = results.study(record.config.study)
        try:
            spaces.append(_result_of(StudyHandle(results, folder, storage_url)))
        except (StorageError, StudyError) as error:  # Optuna Dashboard can delete a study.
            logger.warning("%s is left out: %s", record.config.study, error)

    def rank_key(result: SpaceResult) -> tuple[bool, float]:
        accuracy = result.accuracy
        return accuracy is None, -sign(result.metric) * accuracy.value if accuracy else 0.0

    return sorted(spaces, key=rank_key)


def _result_of(study: StudyHandle) -> SpaceResult:
    summary, best = study.summary, study.best
    repeats: dict[tuple[int, int], float] = {}
    if best and best.is_confirmed and study.confirmation:
        number = best.trial.number
        repeats = next(f.by_fold for f in study.confirmation.finalists if f.trial == number)
    return SpaceResult(
        space=short_name(study.config.space),
        study=study.name,
        metric=study.config.metric,
        accuracy=best.mean if best and best.is_confirmed else None,
        repeats=repeats,
        overlap=study.confirmation.overlap if study.confirmation else 0.0,
        search_value=value_of(summary.best) if summary.best else None,
        n_trials=summary.n_finished,
        n_parameters=attributes_of(best.trial).get("n_parameters") if best else None,
        train_seconds=busy_seconds(seconds_of(best.trial)) if best else None,
        latency_ms=attributes_of(best.trial).get("latency_ms") if best else None,
    )


def space_rows(spaces: Sequence[SpaceResult]) -> tuple[list[str], list[list[str]]]:
    header = [
        *("search space", "mean on fresh seeds", "lead of the best", "in the search", "trials"),
        *("parameters", "seconds", "latency ms"),
    ]
    rows = [
        [
            result.space,
            str(result.accuracy or "not confirmed"),
            "" if number == 0 or not result.accuracy else spaces[0].lead_over(result).signed,
            "" if result.search_value is None else metric_text(result.search_value),
            f"{result.n_trials:,}",
            size_text("n_parameters", result.n_parameters),
            "" if result.train_seconds is None else f"{result.train_seconds:.3g}",
            size_text("latency_ms", result.latency_ms),
        ]
        for number, result in enumerate(spaces)
    ]
    shown = [n for n in range(len(header)) if any(row[n] for row in rows)]
    return [header[n] for n in shown], [[row[n] for n in shown] for row in rows]


def chosen(spaces: Sequence[SpaceResult]) -> SpaceResult | None:
    """Return the best of the search spaces, or the smallest that can't be distinguished from it."""
    ranked = [result for result in spaces if result.accuracy]
    if not ranked:
        return None
    near, _ = _tied(ranked)
    return min([ranked[0], *near], key=lambda result: result.n_parameters or 0)


def _tied(ranked: Sequence[SpaceResult]) -> tuple[list[SpaceResult], list[SpaceResult]]:
    """Return the search spaces that are not shown to be worse than the first, with a small and with
    a larger difference.
    """
    best, *others = ranked
    near: list[SpaceResult] = []
    far: list[SpaceResult] = []
    direction = sign(best.metric)
    for other in others:
        lead = best.lead_over(other)
        if lead.verdict(direction) is not Verdict.BETTER:
            is_near = direction * as_shown(lead).value <= SMALL_LEAD
            (near if is_near else far).append(other)
    return near, far


def choice(spaces: Sequence[SpaceResult]) -> list[str]:
    ranked = [result for result in spaces if result.accuracy]
    missing = [result.space for result in spaces if not result.accuracy]
    without = [f"Without a confirmed best: {', '.join(missing)}."] if missing else []
    if not ranked:
        return ["No search space has a confirmed best yet.", *without]
    best, *others = ranked
    direction = sign(best.metric)
    clauses = [best.lead_over(other).against(other.space, direction) for other in others]
    near, far = _tied(ranked)
    n_seeds = len({seed for seed, _ in best.repeats})
    seeds = counted_seeds(n_seeds, "fresh", is_resplit=best.overlap > 0)
    texts = [
        f"{best.space} has the best mean {best.metric}, {best.accuracy}"
        f" over {seeds}{': ' if clauses else ''}{', '.join(clauses)}."
    ]
    if near and (smallest := chosen(spaces)):
        texts.insert(
            0,
            f"Choose {smallest.space}: {smallest.n_parameters or 0:,} parameters, the smallest of"
            f" the {1 + len(near)} search spaces that can't be distinguished from the best.",
        )
    elif others:
        shown = "no other search space was shown to be as good"
        why = shown if far else "it is better than each other search space"
        texts.insert(0, f"Choose {best.space}: {why}.")
    unknown = [other for other in far if not (best.is_constant and other.is_constant)]
    if unknown:
        commands = ", ".join(
            f"`{typed('confirm', study=result.study, seeds=10, share=1)}`"
            for result in (best, *unknown)
        )
        names = ", ".join(result.space for result in unknown)
        texts.append(f"More seeds would show whether {names} is worse: {commands}.")
    return [*texts, *without]
