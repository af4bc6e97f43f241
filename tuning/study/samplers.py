"""Samplers and pruners by name; the seeds of their draws, and the trials that they fit."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuning.config import TrainConfig
from tuning.evaluation.statistics import pareto_front
from tuning.fidelity import part_at
from tuning.spaces.hyperparameters import active_params, distributions, grid, key
from tuning.spaces.loading import SearchSpace
from tuning.study.optuna_internals import fixed_params_of, view_of
from tuning.study.trials import (
    ENDED,
    attributes_of,
    costs_of,
    is_over_limit,
    is_paused,
    rank,
    spread,
)

# Number of trials before TPE has a model. It is Optuna's default.
STARTUP_TRIALS = 10
# Number of random draws of "auto", beside the baseline and the starting points. In the flat spaces
# of `make bench-samplers`, Optuna's TPE with one worker had a regret of 0.091 after 50 trials if 5
# of them were random, of 0.101 with 10 and of 0.105 with 20 (measured by hand).
N_RANDOM = 6
# Maximum number of draws of "auto" while the configuration is not a new one: from TPE, and then at
# random.
MAX_DRAWS = 50
# Maximum number of finished trials that TPE fits. A draw of four hyperparameters takes 0.05 s of
# CPU with 100 trials, 0.2 to 0.3 s with 1,000, and 1.3 s with 10,000 (Optuna 5.0.0, measured by
# hand).
MAX_FITTED = 500
N_BEST_FITTED = 25  # With one objective, Optuna's TPE takes no more for its good trials.


def derive_seed(seed: int, draw_index: int) -> int:
    # Optuna does not store the state of a sampler, and the same seed after a restart would propose
    # the same points again. With a seed for each draw, a resumed study draws the same values as a
    # study that was never interrupted.
    return int(np.random.SeedSequence([seed, draw_index]).generate_state(1)[0])


def next_draw_index(trials: Sequence[FrozenTrial]) -> int:
    """Return the index of the next trial's draw, from 0. A trial that is queued again has the
    index of the first trial with its values.
    """
    waiting = next((t for t in trials if t.state == TrialState.WAITING), None)
    first = attributes_of(waiting).get("retry_of") if waiting else None
    own = (
        t for t in trials if "retry_of" not in attributes_of(t) and t.state != TrialState.WAITING
    )
    return sum(first is None or t.number < first for t in own)


def make_sampler(
    name: str,
    *,
    space: SearchSpace,
    trials: Sequence[FrozenTrial],
    metric: str,
    n_objectives: int = 1,
    seed: int,
    draw_index: int = 0,
) -> optuna.samplers.BaseSampler:
    """Return the sampler of one draw."""
    own = derive_seed(seed, draw_index)
    conditional = any(item.conditions for item in space.hyperparameters)
    # The points of a grid are queued one by one (`grid_points`), so its sampler never draws.
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=own)
    if name == "cmaes":
        always = [item for item in space.hyperparameters if not item.conditions]
        return SpaceCMA(distributions(always), seed=own)
    # QMC takes its points from one sequence for the whole study, so it has the study's seed. The
    # independent sampler draws until a trial defines the space.
    if name == "qmc":
        return SpaceQMC(
            distributions(space.hyperparameters) if conditional else None,
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=own),
        )
    # Groups fit conditional spaces; other spaces keep the multivariate default of Optuna 5.
    options: dict[str, Any] = {
        "seed": own,
        "group": conditional,
        "multivariate": True if conditional else None,
    }
    # TPE with Optuna's settings, as in version 0.1.0, whose studies continue with it.
    if name == "tpe":
        # Optuna counts finished trials for the start-up, and paused trials are not finished; so the
        # start-up is counted by the index of the draw.
        n_startup = STARTUP_TRIALS if next_draw_index(trials) < STARTUP_TRIALS else 1
        fitted = fitted_trials(trials, metric=metric, n_objectives=n_objectives)
        return FittedTPE(fitted, n_startup_trials=n_startup, **options)
    n_drawn = next_draw_index([trial for trial in trials if not fixed_params_of(trial)])
    return FreshTPE(
        fitted_trials(
            [as_ended(trial) for trial in trials], metric=metric, n_objectives=n_objectives
        ),
        space=space,
        known=trials,
        # TPE draws at random while fewer trials have ended.
        n_startup_trials=len(trials) + 1 if n_drawn < N_RANDOM else 1,
        # Optuna's default counts running trials as bad. On the tables of `make bench-samplers`, 50
        # trials of 8 workers had a regret of 0.141 with this default, and of 0.124 without it
        # (difference: -0.017 ± 0.017 over 8 seeds, measured by hand).
        constant_liar=False,
        **options,
    )


def fitted_trials(
    trials: Sequence[FrozenTrial],
    *,
    metric: str,
    n_objectives: int = 1,
    n_max: int = MAX_FITTED,
) -> list[FrozenTrial]:
    """Return the trials that TPE fits, in order of their numbers: at most `n_max` finished trials,
    50 or more, and the newest `n_max` running trials.

    Of the finished trials, the best are kept first: with one objective the best `N_BEST_FITTED`
    complete trials; with several, up to `n_max` / 2 trials evenly along the Pareto front. The
    newest fill the rest.
    """
    ended = [t for t in trials if t.state in ENDED]
    # With several objectives, TPE raises an error for the intermediate values of a pruned trial.
    # Such a trial within the limits has been pruned by another program, or another machine has
    # stopped and paused it.
    if n_objectives > 1:
        ended = [t for t in ended if t.state == TrialState.COMPLETE or is_over_limit(t)]
    running = [t for t in trials if t.state == TrialState.RUNNING]
    if len(ended) > n_max:
        complete = (t for t in ended if t.state == TrialState.COMPLETE and not is_over_limit(t))
        best = rank(complete, metric)
        if best and costs_of(best[0]):
            best = spread(pareto_front(best, costs_of), n_max // 2)
        else:
            best = best[:N_BEST_FITTED]
        # TPE gives the newest trials the largest weights (1/n to 1 by age).
        numbers = {t.number for t in best}
        ended = [*best, *[t for t in ended if t.number not in numbers][len(best) - n_max :]]
    return sorted([*ended, *running[-n_max:]], key=lambda t: t.number)


def as_ended(trial: FrozenTrial) -> FrozenTrial:
    """Return a paused trial as a trial that was pruned after its last epoch."""
    # A paused trial is RUNNING for Optuna, whose TPE counts it as bad, or not at all.
    if not is_paused(trial):
        return trial
    ended = copy.copy(trial)
    ended.state = TrialState.PRUNED
    return ended


class FittedTPE(optuna.samplers.TPESampler):
    """Optuna's TPE with given trials: its own reads all trials from the storage for each
    hyperparameter.
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


class FreshTPE(FittedTPE):
    """Draws all hyperparameters at once, and draws them again while one of the `known` trials has
    the configuration. After `MAX_DRAWS` draws from the model it draws at random: a model of few
    discrete values may see nothing better than what is known.
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        *,
        space: SearchSpace,
        known: Sequence[FrozenTrial],
        **options: Any,
    ) -> None:
        super().__init__(trials, **options)
        self._at_random = optuna.samplers.RandomSampler(seed=options["seed"])
        self._items = space.hyperparameters
        self._known = [key(trial.params or fixed_params_of(trial)) for trial in known]
        self._fitted_space: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._fitted_space = super().infer_relative_search_space(study, trial)
        # A queued trial has its values already.
        return {} if fixed_params_of(trial) else distributions(self._items)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params: dict[str, Any] = {}
        # A space of a few configurations may have no new one.
        for number in range(2 * MAX_DRAWS if search_space else 0):
            is_fitted = number < MAX_DRAWS
            params = super().sample_relative(study, trial, self._fitted_space) if is_fitted else {}
            sampler = self if is_fitted else self._at_random
            for name, distribution in search_space.items():
                if name not in params:
                    params[name] = sampler.sample_independent(study, trial, name, distribution)
            if key(active_params(params, self._items)) not in self._known:
                break
        return params


class SpaceCMA(optuna.samplers.CmaEsSampler):
    """CMA-ES over the numeric hyperparameters without a condition. All others are random. Optuna's
    own sampler takes those of the complete trials, and raises an error for a pruned trial that
    lacks one of them.
    """

    def __init__(self, space: dict[str, BaseDistribution], *, seed: int) -> None:
        super().__init__(
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
            consider_pruned_trials=True,
        )
        self._space = space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        known = super().infer_relative_search_space(study, trial)
        return {name: known[name] for name in known if name in self._space}


class SpaceQMC(optuna.samplers.QMCSampler):
    """Quasi-random points over all hyperparameters of a conditional space; a trial uses the values
    of its branch. Optuna's own sampler draws such points over the hyperparameters of the first
    trial only. `space`: None for a space without conditions, where Optuna's sampler is right.
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
        # A queued trial has its values already, so it must not use up a point of the sequence.
        return {} if fixed_params_of(trial) else self._space


def grid_points(space: SearchSpace, *, seed: int) -> list[dict[str, Any]]:
    """Return the points in an order drawn from the seed."""
    # Optuna's GridSampler ends a study by `Study.stop`, which works inside `Study.optimize` only.
    values = grid(space.hyperparameters)
    points = [
        dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())
    ]
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


def make_pruner(name: str, train: TrainConfig) -> optuna.pruners.BasePruner:
    if name == "hyperband":
        # One part of an epoch, or a fold, is one unit of the resource.
        n_parts = part_at(train.n_steps, train.parts_per_epoch)
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=n_parts, reduction_factor=3
        )
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    # "none", and "asha", which `search.asha` implements.
    return optuna.pruners.NopPruner()
