"""What a study holds: counts, the best trial, the baseline; for status, tables, notes and the
report.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.confirmation.estimates import judge
from tuning.confirmation.rounds import Confirmation
from tuning.errors import StudyError
from tuning.evaluation.statistics import Interval, pareto_front
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import said_by_all
from tuning.study.record import read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_space
from tuning.study.trials import ENDED, costs_of, is_over_limit, rank, value_of

PHASES = ("view", "build", "first_step", "train", "evaluate", "idle", "storage")
USEFUL_PHASES = ("train", "evaluate")


@dataclass(frozen=True)
class Summary:
    """What a study holds, for status, tables, notes and the report."""

    study: str
    metric: str
    trials: list[FrozenTrial]
    counts: dict[str, int]

    @classmethod
    def of(cls, study: str, metric: str, trials: list[FrozenTrial]) -> Self:
        states = Counter(t.state for t in trials)
        return cls(
            study,
            metric,
            trials,
            {state.name.lower(): states.get(state, 0) for state in TrialState},
        )

    @property
    def n_finished(self) -> int:
        return self.counts["complete"] + self.counts["pruned"]

    @cached_property
    def seconds_by_phase(self) -> dict[str, float]:
        return {
            phase: sum(t.user_attrs.get("seconds", {}).get(phase, 0.0) for t in self.trials)
            for phase in PHASES
        }

    @cached_property
    def failures(self) -> dict[str, int]:
        """The number of failed trials by reason."""
        return dict(
            Counter(
                t.user_attrs.get("reason", "unknown")
                for t in self.trials
                if t.state == TrialState.FAIL
            )
        )

    @property
    def n_paused(self) -> int:
        """Trials that wait at a rung, or for the next call, with a checkpoint."""
        return sum(
            t.state == TrialState.RUNNING and t.user_attrs.get("paused", False) for t in self.trials
        )

    @property
    def n_over_limit(self) -> int:
        """Trials of models that are larger or slower than allowed."""
        return sum(is_over_limit(t) for t in self.trials)

    @property
    def overhead_share(self) -> float | None:
        """The share of the workers' seconds that is neither training nor evaluation; storage is the
        coordinator's and does not count.
        """
        total = sum(
            seconds for phase, seconds in self.seconds_by_phase.items() if phase != "storage"
        )
        return (
            1 - sum(self.seconds_by_phase[phase] for phase in USEFUL_PHASES) / total
            if total
            else None
        )

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """Completed trials, best first by the metric; equal ones by their costs, then in order of
        number.
        """
        return rank((t for t in self.trials if t.state == TrialState.COMPLETE), self.metric)

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front, best first by the metric: no other trial is as good in all objectives.
        With one objective, the best trial.
        """
        return pareto_front(self.ranked, costs_of)

    @property
    def has_costs(self) -> bool:
        """Whether the study has several objectives."""
        return bool(self.best and costs_of(self.best))

    @property
    def best(self) -> FrozenTrial | None:
        return self.ranked[0] if self.ranked else None

    @property
    def baseline(self) -> FrozenTrial | None:
        """The trial at the space's defaults, trained to its end; also one that is over a limit, and
        so is not among the ranked.
        """
        ended = (t for t in self.trials if t.user_attrs.get("baseline") and t.state in ENDED)
        return next(
            (t for t in ended if t.state == TrialState.COMPLETE or "best_value" in t.user_attrs),
            None,
        )

    @property
    def counts_size(self) -> bool:
        """Whether a model's size or latency decides anything in the study."""
        return self.has_costs or any(t.constraints for t in self.trials)

    def require_complete(self, doing: str) -> FrozenTrial:
        """The best trial.

        Raises:
            StudyError: no trial is complete.
        """
        if self.best is None:
            raise StudyError(
                f"A study must have a completed trial before {doing}; {self.study!r} has none of"
                f" its {len(self.trials)} trials complete. Type `make tune` to go on."
            )
        return self.best


@dataclass(frozen=True)
class Best:
    """The trial that "the best" means: the confirmed best once there is one, else the best of the
    search.

    `mean`: the corrected mean of its repeats on fresh seeds; None without repeats.
    """

    trial: FrozenTrial
    is_confirmed: bool
    mean: Interval | None = None

    @property
    def name(self) -> str:
        return "confirmed best" if self.is_confirmed else "best of the search"


def best_of(summary: Summary, found: Confirmation | None) -> Best | None:
    """The best trial of a study; None where no trial is complete.

    It is the best of the search also where that is newer than the confirmation, and so is none of
    its finalists.
    """
    searched = summary.best
    if searched is None:
        return None
    judgement = judge(found) if found else None
    if found is None or judgement is None:
        return Best(searched, is_confirmed=False)
    known = {trial for one in found.finalists for trial in (one.trial, *one.same)}
    if not judgement.is_confirmed or searched.number not in known:
        return Best(searched, is_confirmed=False, mean=judgement.means.get(searched.number))
    trial = next(t for t in summary.ranked if t.number == judgement.best.trial)
    return Best(trial, is_confirmed=True, mean=judgement.means[trial.number])


def summarize(study: optuna.Study, *, metric: str) -> Summary:
    """Read a study's trials once and count them."""
    return Summary.of(study.study_name, metric, study.get_trials(deepcopy=False))


def status_of(
    results: ResultsDir, folder: StudyDir, *, storage_url: str
) -> tuple[dict[str, Any], Summary, SearchSpace]:
    """A study as one object for scripts, with the summary and space it was made from."""
    record, space = read_record(folder), recorded_space(folder)
    config = record.config
    study = load_study(results, folder, storage_url=storage_url)
    summary = summarize(study, metric=config.metric)
    coordinators = said_by_all(study)
    close_study(study)
    best, baseline = best_of(summary, Confirmation.load(folder)), summary.baseline
    values = {
        "study": folder.name,
        "metric": config.metric,
        "n_complete": summary.counts["complete"],
        "n_pruned": summary.counts["pruned"],
        "n_failed": summary.counts["fail"],
        "n_running": summary.counts["running"] - summary.n_paused,
        "n_paused": summary.n_paused,
        "best_trial": best.trial.number if best else None,
        "best_is_confirmed": best.is_confirmed if best else None,
        "best_value": value_of(best.trial) if best else None,
        "best_mean": best.mean.value if best and best.mean else None,
        "best_params": best.trial.params if best else None,
        "best_trial_of_the_search": summary.best.number if summary.best else None,
        "baseline_value": value_of(baseline) if baseline else None,
        "coordinators": [
            {"coordinator": name, **said} for name, said in sorted(coordinators.items())
        ],
        "seconds_by_phase": {
            phase: round(seconds, 3) for phase, seconds in summary.seconds_by_phase.items()
        },
        "overhead_share": summary.overhead_share,
        "n_tokens": sum(t.user_attrs.get("n_tokens", 0) for t in summary.trials),
        "fingerprints": {"data": record.data_fingerprint, "space": record.space_fingerprint},
    }
    return values, summary, space
