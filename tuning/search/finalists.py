"""The trials of a search that a confirmation trains again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from optuna.trial import FrozenTrial

from tuning.config import sign
from tuning.confirmation.plan import plan_confirmation
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.errors import ArgumentError
from tuning.search.open_trials import key
from tuning.search.session import Session
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary
from tuning.study.trials import (
    busy_seconds,
    costs_of,
    is_over_limit,
    is_pruned_early,
    value_of,
    values_of,
)

DEFAULT_TOP, DEFAULT_SEEDS, DEFAULT_PRUNED = 5, 5, 5


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a confirmation is asked for.

    Args:
        top: best configurations to train again, beside the baseline.
        n_seeds: maximum number of fresh seeds.
        share: maximum of its worker seconds as a share of the search's. None: `DEFAULT_SHARE`, and
            more where `MIN_ROUNDS` seeds of the two best and the baseline need more.
        n_pruned: pruned trials to train to the end, if that leaves time: what pruning may have
            missed.
    """

    top: int = DEFAULT_TOP
    n_seeds: int = DEFAULT_SEEDS
    share: float | None = None
    n_pruned: int = DEFAULT_PRUNED

    def __post_init__(self) -> None:
        for name, value in (("--top", self.top), ("--seeds", self.n_seeds)):
            if value < 1:
                raise ArgumentError(f"{name} must be 1 or more; received {value}.")
        if self.n_pruned < 0:
            raise ArgumentError(f"--pruned must be 0 or more; received {self.n_pruned}.")
        if self.share is not None and not self.share > 0:
            raise ArgumentError(f"--share must be more than 0; received {self.share:g}.")


DEFAULT_TERMS = Terms()


def begin(summary: Summary, session: Session, terms: Terms) -> Confirmation:
    """The confirmation in the study's folder if it has all that is asked for, else one that takes
    over its finalists with repeats.
    """
    seed, epochs = session.config.seed, session.config.train.epochs
    old = Confirmation.load(session.folder)
    seeds = [(seed + number) % 2**31 for number in range(1, terms.n_seeds + 1)]
    new = plan_confirmation(
        _with_repeats(
            finalists_of(summary, session.space, top=terms.top), old.finalists if old else []
        ),
        metric=summary.metric,
        seeds=max(seeds, old.seeds if old else [], key=len),  # both begin with the same seeds
        search_seconds=sum(
            busy_seconds(trial.user_attrs.get("seconds", {})) for trial in summary.trials
        ),
        spent_seconds=old.spent_seconds if old else 0.0,
        share=terms.share,
        pruned=_with_repeats(
            pruned_sample(summary, session.space, n=terms.n_pruned, epochs=epochs, seed=seed),
            old.pruned if old else [],
        ),
        search_seed=seed,
    )
    return old if old and _has_all(old, new) else new


def _with_repeats(finalists: list[Finalist], known: list[Finalist]) -> list[Finalist]:
    """Finalists with the repeats that an earlier confirmation has of them, and its other ones that
    have repeats.
    """
    for one in finalists:
        for earlier in known:
            if one.trial in (earlier.trial, *earlier.same):
                one.repeats, one.failures = earlier.repeats, earlier.failures
    numbers = {number for one in finalists for number in (one.trial, *one.same)}
    others = [
        one for one in known if one.repeats and one.trial not in numbers and not one.is_baseline
    ]
    return [*finalists, *(replace(one, dropped_in=0) for one in others)]


def _has_all(old: Confirmation, new: Confirmation) -> bool:
    """Whether an earlier confirmation has the seeds, finalists, pruned trials and time
    of another.
    """
    budgets = new.budget_seconds <= old.budget_seconds and new.n_guaranteed <= old.n_guaranteed
    return budgets and len(new.seeds) <= len(old.seeds) and _numbers(new) <= _numbers(old)


def _numbers(one: Confirmation) -> set[int]:
    return {finalist.trial for finalist in (*one.finalists, *one.pruned)}


def finalists_of(summary: Summary, space: SearchSpace, *, top: int) -> list[Finalist]:
    """The `top` best completed trials, each configuration once, and the baseline; of several
    objectives, `top` of the Pareto front.
    """
    groups: dict[Hashable, list[FrozenTrial]] = {}
    for trial in summary.ranked:
        groups.setdefault(key(values_of(trial, space)), []).append(trial)
    baseline = summary.baseline
    others = [
        members
        for members in groups.values()
        if baseline not in members and (not summary.has_costs or members[0] in summary.front)
    ]
    chosen = [
        _finalist(members[0], members, space)
        for members in (_spread(others, top) if summary.has_costs else others[:top])
    ]
    if baseline is not None:
        same = next((members for members in groups.values() if baseline in members), [baseline])
        chosen.append(
            replace(
                _finalist(baseline, same, space),
                is_baseline=True,
                is_over_limit=is_over_limit(baseline),
            )
        )
    return sorted(chosen, key=lambda one: -sign(summary.metric) * one.search_value)


def _spread(front: list[list[FrozenTrial]], top: int) -> list[list[FrozenTrial]]:
    """So many of a front, its two ends among them."""
    return [
        front[number]
        for number in sorted(
            {round(place) for place in np.linspace(0, len(front) - 1, min(top, len(front)))}
        )
    ]


def _finalist(trial: FrozenTrial, same: list[FrozenTrial], space: SearchSpace) -> Finalist:
    best_epoch, n_epochs = int(trial.user_attrs["best_epoch"]), int(trial.user_attrs["n_epochs"])
    return Finalist(
        trial=trial.number,
        values=values_of(trial, space),
        search_value=value_of(trial),
        seconds=busy_seconds(trial.user_attrs["seconds"]) * best_epoch / n_epochs,
        epochs=best_epoch,
        costs=[*costs_of(trial)],
        same=[t.number for t in same if t is not trial],
    )


def pruned_sample(
    summary: Summary, space: SearchSpace, *, n: int, epochs: int, seed: int
) -> list[Finalist]:
    """Up to `n` pruned trials, drawn without replacement, to train for all their epochs."""
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    drawn = np.random.default_rng(seed).permutation(len(pruned))[:n]
    return [
        Finalist(
            trial=trial.number,
            values=values_of(trial, space),
            search_value=trial.intermediate_values[max(trial.intermediate_values)],
            seconds=busy_seconds(trial.user_attrs["seconds"])
            * epochs
            / int(trial.user_attrs["n_epochs"]),
            epochs=epochs,
        )
        for trial in (pruned[number] for number in drawn)
    ]
