"""What a study holds: counts, the best trial, the baseline; for status, tables, notes and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.config import sign
from tuning.coordinators import said_by_all
from tuning.errors import StudyError
from tuning.hyperparameters import Values, from_params
from tuning.results import ResultsDir, StudyDir, read_json
from tuning.spaces import SearchSpace
from tuning.statistics import pareto_front
from tuning.storage import close_study
from tuning.study import load_study, recorded_config, recorded_space

PHASES = ("view", "build", "first_step", "train", "evaluate", "idle", "storage")
USEFUL_PHASES = ("train", "evaluate")
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Summary:
    """What a study holds, for status, tables, notes and the report."""

    study: str
    metric: str
    trials: list[FrozenTrial]
    counts: dict[str, int]
    seconds_by_phase: dict[str, float]
    failures: dict[str, int]

    @property
    def n_finished(self) -> int:
        return self.counts["complete"] + self.counts["pruned"]

    @property
    def n_paused(self) -> int:
        """Trials that wait at a rung, or for the next call, with a checkpoint."""
        return sum(t.state == TrialState.RUNNING and t.user_attrs.get("paused", False) for t in self.trials)

    @property
    def n_over_limit(self) -> int:
        """Trials of models that are larger or slower than allowed."""
        return sum(is_over_limit(t) for t in self.trials)

    @property
    def overhead_share(self) -> float | None:
        """The share of the workers' seconds that is neither training nor evaluation; storage is the coordinator's and does not count."""
        total = sum(seconds for phase, seconds in self.seconds_by_phase.items() if phase != "storage")
        return 1 - sum(self.seconds_by_phase[phase] for phase in USEFUL_PHASES) / total if total else None

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """Completed trials, best first by the metric; equal ones by their costs, then in order of number."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        return sorted(complete, key=lambda t: (-sign(self.metric) * value_of(t), costs_of(t), t.number))

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front, best first by the metric: no other trial is as good in all objectives. With one objective, the best trial."""
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
        """The trial at the space's defaults, trained to its end; also one that is over a limit, and so is not among the ranked."""
        ended = (t for t in self.trials if t.user_attrs.get("baseline") and t.state in ENDED)
        return next((t for t in ended if t.state == TrialState.COMPLETE or "best_value" in t.user_attrs), None)

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
                f"A study must have a completed trial before {doing}; {self.study!r} has none of its {len(self.trials)} trials "
                "complete. Type `make tune` to go on."
            )
        return self.best


def busy_seconds(seconds: Mapping[str, float]) -> float:
    """What a training cost its worker, of its seconds by phase: neither waiting nor the coordinator's storage."""
    return sum(value for phase, value in seconds.items() if phase not in ("idle", "storage"))


def value_of(trial: FrozenTrial) -> float:
    """The metric of a completed trial, or of a baseline over a limit, which Optuna is not told as complete."""
    if trial.state != TrialState.COMPLETE:
        return float(trial.user_attrs["best_value"])
    assert trial.values is not None  # for mypy: a completed trial has them
    return float(trial.values[0])


def costs_of(trial: FrozenTrial) -> tuple[float, ...]:
    """The objectives of a completed trial beside the metric; of all of them, less is better."""
    return tuple((trial.values or ())[1:])


def is_over_limit(trial: FrozenTrial) -> bool:
    """Whether a trial's model is larger or slower than the study allows."""
    return any(violation > 0 for violation in trial.constraints.values())


def values_of(trial: FrozenTrial, space: SearchSpace) -> Values:
    """A trial's hyperparameters, fixed ones included."""
    return from_params(trial.params, space.hyperparameters)


def is_pruned_early(trial: FrozenTrial) -> bool:
    """Whether a trial was trained, and given up before its last epoch: not one over a limit, and no copy of another."""
    own = not is_over_limit(trial) and "same_as" not in trial.user_attrs
    return trial.state == TrialState.PRUNED and own and bool(trial.user_attrs.get("n_epochs"))


def summarize(study: optuna.Study, *, metric: str) -> Summary:
    """Read a study's trials once and count them."""
    trials = study.get_trials(deepcopy=False)
    states = Counter(t.state for t in trials)
    counts = {state.name.lower(): states.get(state, 0) for state in TrialState}
    seconds = {phase: sum(t.user_attrs.get("seconds", {}).get(phase, 0.0) for t in trials) for phase in PHASES}
    failures = Counter(t.user_attrs.get("reason", "unknown") for t in trials if t.state == TrialState.FAIL)
    return Summary(study.study_name, metric, trials, counts, seconds, dict(failures))


def status_of(results: ResultsDir, folder: StudyDir, *, storage_url: str) -> tuple[dict[str, Any], Summary, SearchSpace]:
    """A study as one object for scripts, with the summary and space it was made from."""
    config, space, record = recorded_config(folder), recorded_space(folder), read_json(folder.config_path)
    study = load_study(results, folder, storage_url=storage_url)
    summary = summarize(study, metric=config.metric)
    coordinators = said_by_all(study)
    close_study(study)
    best, baseline = summary.best, summary.baseline
    values = {
        "study": folder.name,
        "metric": config.metric,
        "n_complete": summary.counts["complete"],
        "n_pruned": summary.counts["pruned"],
        "n_failed": summary.counts["fail"],
        "n_running": summary.counts["running"] - summary.n_paused,
        "n_paused": summary.n_paused,
        "best_trial": best.number if best else None,
        "best_value": value_of(best) if best else None,
        "best_params": best.params if best else None,
        "baseline_value": value_of(baseline) if baseline else None,
        "coordinators": [{"coordinator": name, **said} for name, said in sorted(coordinators.items())],
        "seconds_by_phase": {phase: round(seconds, 3) for phase, seconds in summary.seconds_by_phase.items()},
        "overhead_share": summary.overhead_share,
        "n_tokens": sum(t.user_attrs.get("n_tokens", 0) for t in summary.trials),
        "fingerprints": {"data": record["data_fingerprint"], "space": record["space_fingerprint"]},
    }
    return values, summary, space
