"""Samplers and pruners by name; where in its stream of random numbers a study is, and which trials
TPE fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuning.evaluation.statistics import pareto_front
from tuning.spaces.hyperparameters import distributions, grid
from tuning.spaces.loading import SearchSpace
from tuning.study.optuna_internals import view_of
from tuning.study.trials import ENDED, costs_of, is_over_limit, rank

STARTUP_TRIALS = 10  # drawn at random before TPE has a model: Optuna's default
MAX_FITTED = 500  # trials that TPE fits
N_BEST_FITTED = 25  # as many as TPE takes for good ones of one objective, at most
RETRY_OF = "retry_of"  # attribute of a trial that is made again: the number of the first


def derive_seed(seed: int, number: int, stream: int = 0) -> int:
    """The seed of one trial's sampling, from (study's seed, position in the stream): a resumed
    study goes on as if it had not stopped.

    Each coordinator has its own `stream`.
    """
    return int(
        np.random.SeedSequence([seed, number, *([stream] if stream else [])]).generate_state(1)[0]
    )


def next_draw_index(trials: Sequence[FrozenTrial]) -> int:
    """Which draw of the sampler the next trial is, counted from 0.

    A trial that is made again has the place of the first, so that a study that was interrupted
    draws what it would have drawn.
    """
    waiting = next((t for t in trials if t.state == TrialState.WAITING), None)
    first = waiting.user_attrs.get(RETRY_OF) if waiting else None
    own = (t for t in trials if RETRY_OF not in t.user_attrs and t.state != TrialState.WAITING)
    return sum(first is None or t.number < first for t in own)


def make_sampler(
    name: str,
    *,
    space: SearchSpace,
    trials: Sequence[FrozenTrial],
    metric: str,
    seed: int,
    number: int = 0,
    stream: int = 0,
) -> optuna.samplers.BaseSampler:
    """The sampler for the trial at this position (`number`) of the stream, after the `trials` of
    all streams.

    Random, TPE and CMA-ES draw from `derive_seed`; QMC walks one fixed sequence, so its seed is the
    study's, and draws from `derive_seed` only while no trial has shown it the space. The points of
    a grid are queued one by one (`grid_points`), so its sampler never draws. TPE fits
    `fitted_trials`.
    """
    own = derive_seed(seed, number, stream)
    conditional = any(item.conditions for item in space.hyperparameters)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=own)
    if name == "cmaes":
        independent = optuna.samplers.RandomSampler(seed=own)
        return optuna.samplers.CmaEsSampler(
            seed=own,
            independent_sampler=independent,
            warn_independent_sampling=False,
            consider_pruned_trials=True,
        )
    if name == "qmc":
        return SpaceQMC(
            distributions(space.hyperparameters) if conditional else None,
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=own),
        )
    # Groups fit conditional spaces; the multivariate default of Optuna 5 is kept for the others.
    # Paused trials are not finished ones, so the start-up is counted by the trial's number.
    return FittedTPE(
        fitted_trials(trials, metric=metric),
        seed=own,
        group=conditional,
        multivariate=True if conditional else None,
        n_startup_trials=STARTUP_TRIALS if next_draw_index(trials) < STARTUP_TRIALS else 1,
    )


def fitted_trials(
    trials: Sequence[FrozenTrial], *, metric: str, most: int = MAX_FITTED
) -> list[FrozenTrial]:
    """The trials that TPE fits, in order of number: `most` of the finished ones, the best and the
    newest, and the newest `most` at work.

    An ask costs so much for each trial that is fitted. Of one objective TPE takes at most the best
    25 complete trials for its good ones, which are kept; of several, the Pareto front is kept,
    evenly along it up to half of `most`. Of the others the newest are kept, to which TPE gives the
    greatest weights (1/n to 1 by age). What all this does to the result is measured by
    `benchmarks.scale_out`, for one objective and without a pruner. `most` must be 50 or more.
    """
    ended, running = (
        [t for t in trials if t.state in ENDED],
        [t for t in trials if t.state == TrialState.RUNNING],
    )
    if len(ended) > most:
        best = _best_fitted(
            rank(
                (t for t in ended if t.state == TrialState.COMPLETE and not is_over_limit(t)),
                metric,
            ),
            n_max=most,
        )
        numbers = {t.number for t in best}
        ended = [*best, *[t for t in ended if t.number not in numbers][len(best) - most :]]
    return sorted([*ended, *running[-most:]], key=lambda t: t.number)


def _best_fitted(ranked: list[FrozenTrial], *, most: int) -> list[FrozenTrial]:
    if not ranked or not costs_of(ranked[0]):
        return ranked[:N_BEST_FITTED]
    front = pareto_front(ranked, costs_of)
    return [
        front[i]
        for i in np.linspace(0, len(front) - 1, min(len(front), most // 2)).round().astype(int)
    ]


class FittedTPE(optuna.samplers.TPESampler):
    """TPE that fits the trials it is given, where Optuna's reads the storage again for
    each value.
    """

    def __init__(self, trials: Sequence[FrozenTrial], **options: Any) -> None:
        super().__init__(**options)
        self._trials = trials

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(view_of(study, self._trials), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(view_of(study, self._trials), trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        view = view_of(study, self._trials)
        return super().sample_independent(view, trial, param_name, param_distribution)


class SpaceQMC(optuna.samplers.QMCSampler):
    """Quasi-random points over all parameters of a conditional space, of which a trial takes those
    of its branch.

    Optuna's own draws over the parameters of the first trial, and leaves the other branches to the
    independent sampler. `space` is None where there are no conditions: then the points are
    Optuna's.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution] | None,
        *,
        seed: int,
        independent_sampler: optuna.samplers.BaseSampler,
    ) -> None:
        super().__init__(
            scramble=True,
            seed=seed,
            independent_sampler=independent_sampler,
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )
        self._space = space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if self._space is None:
            return super().infer_relative_search_space(study, trial)
        return (
            {} if trial.system_attrs.get("fixed_params") else self._space
        )  # a queued trial takes no point of the sequence


def grid_points(space: SearchSpace, *, seed: int) -> list[dict[str, Any]]:
    """Optuna parameters of every point of the grid, in an order drawn from the seed.

    Optuna's own GridSampler stops a study through `Study.stop`, which works inside `optimize` only.

    Raises:
        SpaceError: the space can't be enumerated.
    """
    values = grid(space.hyperparameters)
    points = [
        dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())
    ]
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


def make_pruner(name: str, *, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner by name; epochs are the fidelity. ASHA is the search's own (`asha`): Optuna is
    asked for none.

    Hyperband keeps Optuna's reduction factor of 3.
    """
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=epochs, reduction_factor=3
        )
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    return optuna.pruners.NopPruner()
