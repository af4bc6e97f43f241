"""The trials of a search that a confirmation trains again."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuning.commands import typed
from tuning.confirmation.plan import covers, other_architectures, plan_confirmation, with_repeats
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.errors import ArgumentError, StudyError
from tuning.metrics import sign
from tuning.results import StudyDir
from tuning.search.open_trials import key
from tuning.search.session import Session
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    costs_of,
    epoch_values,
    expected_seconds,
    is_over_limit,
    is_pruned_early,
    seconds_of,
    spread,
    value_of,
    values_of,
    was_trained,
)

logger = logging.getLogger(__name__)

# Minimum number of completed trials of a search that is confirmed.
MIN_COMPLETE = 3
DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_PRUNED = 5, 5, 5


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The size of a confirmation. `share`: maximum worker seconds, as a share of the search's.
    None: `DEFAULT_SHARE`, or more where `MIN_ROUNDS` seeds of the two best configurations and the
    baseline need more.
    """

    top: int = DEFAULT_TOP
    n_seeds: int = DEFAULT_SEEDS
    share: float | None = None
    n_pruned: int = DEFAULT_PRUNED

    def __post_init__(self) -> None:
        for name, value in (("top", self.top), ("seeds", self.n_seeds)):
            if value < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {value}.")
        if self.n_pruned < 0:
            raise ArgumentError(f"pruned must be 0 or more; received {self.n_pruned}.")
        if self.share is not None and not self.share > 0:
            raise ArgumentError(f"share must be more than 0; received {self.share:g}.")


def n_confirmable(summary: Summary) -> int:
    complete = (t for t in summary.trials if t.state == TrialState.COMPLETE)
    return sum(was_trained(trial) for trial in complete)


def require_finished(
    summary: Summary, folder: StudyDir, *, min_complete: int = MIN_COMPLETE
) -> None:
    """A search that has a confirmation, such as that of a comparison, needs one trial."""
    if folder.confirmation_path.exists():
        min_complete = 1
    n_complete = n_confirmable(summary)
    if n_complete < min_complete:
        raise StudyError(
            f"A confirmation must have {min_complete} completed trials or more to choose from;"
            f" {summary.study!r} has {n_complete}. Type"
            f" `{typed('tune', study=summary.study, n_trials='N')}` with a larger number."
        )
    n_running = summary.counts["running"] - summary.n_paused
    if n_running:
        raise StudyError(
            f"A confirmation must follow a search; {n_running} trials of {summary.study!r} are"
            f" running. Type `{typed('tune', study=summary.study)}` to continue them."
        )


def begin(summary: Summary, session: Session, terms: Terms) -> Confirmation:
    """Return the confirmation in the study's folder if it covers the terms; otherwise a new
    confirmation with the repeats of the stored one.
    """
    seed, epochs = session.config.seed, session.config.train.epochs
    old = Confirmation.load(session.folder)
    seeds = [(seed + number) % 2**31 for number in range(1, terms.n_seeds + 1)]
    planned = plan_confirmation(
        with_repeats(
            finalists_of(summary, session.space, top=terms.top),
            old.finalists if old else [],
        ),
        metric=summary.metric,
        seeds=max(seeds, old.seeds if old else [], key=len),  # both begin with the same seeds
        search_seconds=sum(busy_seconds(seconds_of(trial)) for trial in summary.trials),
        spent_seconds=old.spent_seconds if old else 0.0,
        share=terms.share,
    )
    # A finalist that was trained for ensembles keeps this training.
    joined, n = with_repeats(planned.finalists, old.others if old else []), len(planned.finalists)
    new = replace(
        planned,
        finalists=joined[:n],
        others=joined[n:],
        pruned=with_repeats(
            pruned_sample(summary, session.space, n=terms.n_pruned, epochs=epochs, seed=seed),
            old.pruned if old else [],
        ),
        search_seed=seed,
    )
    return old if old and covers(old, new) else new


def finalists_of(summary: Summary, space: SearchSpace, *, top: int) -> list[Finalist]:
    """Return the `top` best completed trials, each configuration once, and the baseline, in the
    order of their values. With several objectives, `top` trials of the Pareto front are taken.

    Trials that another program has finished, without the number of their best epoch, are left out.
    """
    groups: dict[Hashable, list[FrozenTrial]] = {}
    for trial in summary.ranked:
        if not was_trained(trial):
            logger.warning("trial %d is left out: another program finished it", trial.number)
            continue
        groups.setdefault(key(values_of(trial, space)), []).append(trial)
    baseline = summary.baseline
    if baseline is not None and not was_trained(baseline):
        baseline = None
    others = [
        members
        for members in groups.values()
        if baseline not in members and (not summary.has_costs or members[0] in summary.front)
    ]
    times = filter(None, (expected_seconds(trial, 1) for trial in summary.trials))
    usual = statistics.fmean([*times] or [0.0])
    chosen = [
        _finalist(members[0], members, space, usual=usual)
        for members in (spread(others, top) if summary.has_costs else others[:top])
    ]
    if baseline is not None:
        same = next((members for members in groups.values() if baseline in members), [baseline])
        chosen.append(
            replace(
                _finalist(baseline, same, space, usual=usual),
                is_baseline=True,
                is_over_limit=is_over_limit(baseline),
            )
        )
    return sorted(chosen, key=lambda finalist: -sign(summary.metric) * finalist.search_value)


def _finalist(
    trial: FrozenTrial, same: list[FrozenTrial], space: SearchSpace, *, usual: float
) -> Finalist:
    """`usual`: seconds of an epoch of a trial without times, which was imported."""
    attributes = attributes_of(trial)
    epochs = attributes["best_epoch"]
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial),
        seconds=expected_seconds(trial, epochs) or usual * epochs,
        epochs=epochs,
        costs=[*costs_of(trial)],
        starting_point=attributes.get("starting_point"),
        same=[t.number for t in same if t is not trial],
    )


def pruned_sample(
    summary: Summary, space: SearchSpace, *, n: int, epochs: int, seed: int
) -> list[Finalist]:
    """Return up to `n` pruned trials, drawn without replacement, to train for all their epochs.
    Only trials with known seconds are drawn, because the duration of a repeat is estimated from
    them.
    """
    pruned = [
        trial
        for trial in summary.trials
        if is_pruned_early(trial) and attributes_of(trial).get("seconds")
    ]
    drawn = np.random.default_rng(seed).permutation(len(pruned))[:n]
    return [
        Finalist(
            trial=trial.number,
            values=values_of(trial, space),
            search_value=[*epoch_values(trial).values()][-1],
            seconds=expected_seconds(trial, epochs),
            epochs=epochs,
        )
        for trial in (pruned[number] for number in drawn)
    ]


def with_others(confirmation: Confirmation, summary: Summary, space: SearchSpace) -> Confirmation:
    deciding = {name for item in space.hyperparameters for name, _ in item.conditions}
    candidates = (_at_best_epoch(trial, space, summary.metric) for trial in summary.trials)
    others = other_architectures(
        filter(None, candidates),
        confirmation.finalists,
        deciding=deciding,
        metric=summary.metric,
    )
    return replace(confirmation, others=with_repeats(others, confirmation.others))


def _at_best_epoch(trial: FrozenTrial, space: SearchSpace, metric: str) -> Finalist | None:
    """Return a trial as a configuration to train until its best epoch; None if it can't be."""
    attributes, is_complete = attributes_of(trial), trial.state == TrialState.COMPLETE
    values, epochs = epoch_values(trial), attributes.get("best_epoch", 0)
    is_usable = (is_complete or is_pruned_early(trial)) and not is_over_limit(trial)
    if max(values, default=0) < 1 or metric not in trial.user_attrs:
        return None
    if not is_usable or not attributes.get("seconds"):
        return None
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial) if is_complete else trial.user_attrs[metric],
        seconds=expected_seconds(trial, epochs),
        epochs=epochs,
    )
