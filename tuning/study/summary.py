"""The summary of a study, from which status, tables, notes and the report are made: the counts of
its trials, the best trial and the baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.commands import typed
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Confirmation
from tuning.errors import StudyError
from tuning.evaluation.statistics import Interval, pareto_front
from tuning.study.trials import (
    ENDED,
    attributes_of,
    costs_of,
    has_value,
    is_over_limit,
    is_paused,
    rank,
    seconds_of,
    step_of,
    was_trained,
)

# Minimum number of completed trials of a search that is confirmed.
MIN_COMPLETE = 3
PHASES = ("view", "build", "first_step", "train", "evaluate", "idle", "storage")


@dataclass(frozen=True)
class Summary:
    """The trials of a study when they were read."""

    study: str
    metric: str
    trials: list[FrozenTrial]

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of trials by the name of their state, in lower case."""
        states = Counter(t.state for t in self.trials)
        return {state.name.lower(): states.get(state, 0) for state in TrialState}

    @property
    def step(self) -> str:
        """What the trials report a value after: "epoch" or "fold"."""
        return "fold" if any(step_of(trial) == "fold" for trial in self.trials) else "epoch"

    @property
    def evaluated_on(self) -> str:
        return "the validation split" if self.step == "epoch" else "the folds"

    @property
    def each_value(self) -> str:
        """What each value of the search is."""
        return "of one training" if self.step == "epoch" else "a mean over the folds of one seed"

    @property
    def n_finished(self) -> int:
        return self.counts["complete"] + self.counts["pruned"]

    @property
    def n_taken(self) -> int:
        """The number of trials that take a slot of the study."""
        return self.n_finished + self.counts["running"]

    @property
    def n_confirmable(self) -> int:
        """The number of completed trials that this program has trained."""
        return sum(t.state == TrialState.COMPLETE and was_trained(t) for t in self.trials)

    @cached_property
    def seconds_by_phase(self) -> dict[str, float]:
        return {phase: sum(seconds_of(t).get(phase, 0.0) for t in self.trials) for phase in PHASES}

    @cached_property
    def failures(self) -> dict[str, int]:
        failed = [t for t in self.trials if t.state == TrialState.FAIL]
        return dict(Counter(attributes_of(t).get("reason", "unknown") for t in failed))

    @property
    def n_paused(self) -> int:
        return sum(map(is_paused, self.trials))

    @property
    def n_over_limit(self) -> int:
        return sum(is_over_limit(t) for t in self.trials)

    @property
    def overhead_share(self) -> float | None:
        """The share of the workers' seconds that is neither training nor evaluation; None before
        the first trial. The seconds of the storage are the coordinator's and do not count.
        """
        total = sum(
            seconds for phase, seconds in self.seconds_by_phase.items() if phase != "storage"
        )
        useful = self.seconds_by_phase["train"] + self.seconds_by_phase["evaluate"]
        return 1 - useful / total if total else None

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        return rank((t for t in self.trials if t.state == TrialState.COMPLETE), self.metric)

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front, best first by the metric: the trials that no other trial equals or
        beats in all objectives. With one objective, only the best trial.
        """
        return pareto_front(self.ranked, costs_of)

    @property
    def has_costs(self) -> bool:
        return bool(self.best and costs_of(self.best))

    @property
    def best(self) -> FrozenTrial | None:
        return self.ranked[0] if self.ranked else None

    @property
    def baseline(self) -> FrozenTrial | None:
        """The trial with the default hyperparameters, if it was trained to its end. It may be over
        a limit, and is then not among the ranked trials.
        """
        ended = (t for t in self.trials if attributes_of(t).get("baseline") and t.state in ENDED)
        return next((t for t in ended if has_value(t)), None)

    @property
    def counts_size(self) -> bool:
        """Whether the size or latency of models is an objective or a limit of the study."""
        return self.has_costs or any(t.constraints for t in self.trials)

    @property
    def over_limit_sentence(self) -> str:
        """What trials over a limit mean for a study without a completed trial."""
        n = self.n_over_limit
        if not n:
            return ""
        return (
            f"{n} {'is' if n == 1 else 'are'} over a limit: start another study with a higher"
            " limit, or search smaller models."
        )

    def require_complete(self, purpose: str) -> FrozenTrial:
        """Return the best trial, which `purpose` ("a report") needs."""
        if self.best is None:
            further = f"Type `{typed('tune', study=self.study)}` to continue the search."
            remedy = self.over_limit_sentence or further
            raise StudyError(
                f"A study must have a completed trial before {purpose}; {self.study!r} has none"
                f" among its {len(self.trials)} trials. {remedy}"
            )
        return self.best


def longer_search(place: Mapping[str, object]) -> str:
    """Return the clause about what gives the study at `place` further trials."""
    return f"Type `{typed('tune', **place, n_trials='N')}` with a larger number or more time"


@dataclass(frozen=True)
class Best:
    """The confirmed best, else the best of the search. `mean`: corrected mean of its repeats."""

    trial: FrozenTrial
    is_confirmed: bool
    mean: Interval | None = None

    @property
    def name(self) -> str:
        return "confirmed best" if self.is_confirmed else "best of the search"


def best_of(summary: Summary, confirmation: Confirmation | None) -> Best | None:
    """Return the best trial of a study; None where no trial is complete.

    The best trial of the search is returned while no trial is confirmed, and where that trial is
    not among the finalists, because it is newer than the confirmation. A trial that another program
    has finished is the best only if no other trial is complete.
    """
    of_search = next(filter(was_trained, summary.ranked), summary.best)
    if of_search is None:
        return None
    estimates = estimate(confirmation)
    if estimates is None:
        return Best(of_search, is_confirmed=False)
    finalists = {number for f in estimates.confirmation.finalists for number in (f.trial, *f.same)}
    if not estimates.is_confirmed or of_search.number not in finalists:
        return Best(of_search, is_confirmed=False, mean=estimates.means.get(of_search.number))
    trial = next(t for t in summary.ranked if t.number == estimates.best.trial)
    return Best(trial, is_confirmed=True, mean=estimates.means[trial.number])


def summarize(study: optuna.Study, *, metric: str) -> Summary:
    return Summary(study.study_name, metric, study.get_trials(deepcopy=False))
