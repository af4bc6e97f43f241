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
from tuning.errors import StudyError
from tuning.hyperparameters import Values, from_params
from tuning.results import ResultsDir, StudyDir, read_json
from tuning.spaces import SearchSpace
from tuning.study import close_study, load_study, recorded_config, recorded_space

PHASES = ("view", "build", "first_step", "train", "evaluate", "idle", "storage")
USEFUL_PHASES = ("train", "evaluate")


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
    def overhead_share(self) -> float | None:
        """The share of the workers' seconds that is neither training nor evaluation; storage is the coordinator's and does not count."""
        total = sum(seconds for phase, seconds in self.seconds_by_phase.items() if phase != "storage")
        return 1 - sum(self.seconds_by_phase[phase] for phase in USEFUL_PHASES) / total if total else None

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """Completed trials, best first; equal ones in order of number."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        return sorted(complete, key=lambda t: (-sign(self.metric) * value_of(t), t.number))

    @property
    def best(self) -> FrozenTrial | None:
        return self.ranked[0] if self.ranked else None

    @property
    def baseline(self) -> FrozenTrial | None:
        """The completed trial at the space's defaults."""
        return next((t for t in self.ranked if t.user_attrs.get("baseline")), None)

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
    """The objective of a completed trial."""
    assert trial.value is not None  # a completed trial has one
    return trial.value


def values_of(trial: FrozenTrial, space: SearchSpace) -> Values:
    """A trial's hyperparameters, fixed ones included."""
    return from_params(trial.params, space.hyperparameters)


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
        "seconds_by_phase": {phase: round(seconds, 3) for phase, seconds in summary.seconds_by_phase.items()},
        "overhead_share": summary.overhead_share,
        "n_tokens": sum(t.user_attrs.get("n_tokens", 0) for t in summary.trials),
        "fingerprints": {"data": record["data_fingerprint"], "space": record["space_fingerprint"]},
    }
    return values, summary, space
