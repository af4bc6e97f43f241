"""Samplers and pruners: Optuna's own by their words, and any object of Optuna's base classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from tuning.config import PRUNERS, SAMPLERS, StudyConfig, TrainConfig
from tuning.errors import ArgumentError, SpaceError, StudyError
from tuning.fidelity import part_at
from tuning.spaces.hyperparameters import optuna_names
from tuning.spaces.ranges import Hyperparameter

# The factor of Optuna's Hyperband, for successive halving too.
REDUCTION_FACTOR = 3


def derive_seed(study_seed: int, trial_number: int) -> int:
    # Optuna does not store the state of a sampler, and the same seed after a restart would propose
    # the same points again. With a seed for each trial, a resumed study draws the same values as a
    # study that was never interrupted.
    return int(np.random.SeedSequence([study_seed, trial_number]).generate_state(1)[0])


def make_sampler(sampler: str | BaseSampler, *, seed: int, study_seed: int) -> BaseSampler:
    """Return the sampler of one draw: a new one for a word, and an object as it is. `seed`: seed of
    the draw, from `derive_seed`.
    """
    if isinstance(sampler, BaseSampler):
        return sampler
    makers: Mapping[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=seed
        ),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
        "grid": lambda: optuna.samplers.BruteForceSampler(seed=seed),
        # All points of a study are of one sequence, so they have one seed. The seed of the draw is
        # that of the first trial and of the hyperparameters that the first trial does not have.
        "qmc": lambda: optuna.samplers.QMCSampler(
            scramble=True,
            seed=study_seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
        ),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False),
    }
    return makers[sampler]()


def make_pruner(pruner: str | BasePruner, train: TrainConfig) -> BasePruner:
    if isinstance(pruner, BasePruner):
        return pruner
    if pruner == "hyperband":
        # One part of an epoch, or a fold, is one unit of the resource.
        n_parts = part_at(train.n_steps, train.parts_per_epoch)
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=n_parts, reduction_factor=REDUCTION_FACTOR
        )
    if pruner == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=REDUCTION_FACTOR
        )
    if pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    # "none", and "asha", which `search.asha` implements.
    return optuna.pruners.NopPruner()


def name_of_sampler(sampler: str | BaseSampler) -> str:
    """Return a word, or the class name of an object, as a study records it."""
    return _name_of("sampler", sampler, words=SAMPLERS, base=BaseSampler)


def name_of_pruner(pruner: str | BasePruner) -> str:
    """Return a word, or the class name of an object, as a study records it."""
    return _name_of("pruner", pruner, words=PRUNERS, base=BasePruner)


def _name_of(name: str, value: object, *, words: Sequence[str], base: type) -> str:
    if isinstance(value, base):
        return type(value).__name__
    if isinstance(value, str) and value in words:
        return value
    raise ArgumentError(
        f"{name} must be one of {', '.join(words)}, or in Python an object of"
        f" optuna.{name}s.{base.__name__}; received {value!r}."
    )


def require_objects(
    config: StudyConfig, *, sampler: BaseSampler | None, pruner: BasePruner | None
) -> None:
    """Check that a study whose sampler or pruner is a Python object has been given it again, and
    that the packages of the sampler are installed.
    """
    for name, value, words, recorded in (
        ("sampler", sampler, SAMPLERS, config.sampler),
        ("pruner", pruner, PRUNERS, config.pruner),
    ):
        if value is None and recorded not in words:
            raise StudyError(
                f"Study {config.study!r} must get its {name} again, a Python object of class"
                f" {recorded}. Pass it: tuning.tune(study={config.study!r},"
                f" {name}={recorded}(...))."
            )
    if config.sampler == "gp" and find_spec("torch") is None:
        raise ArgumentError(
            "sampler gp must have the package torch, which is not installed. Type `pip install"
            " torch`, or use sampler tpe."
        )


def require_finite(space: Sequence[Hyperparameter]) -> None:
    """Check that the sampler `grid` can try all configurations of a space."""
    for item, name in zip(space, optuna_names(space), strict=True):
        if item.kind == "float" and (item.step is None or item.log):
            raise SpaceError(
                f"The grid sampler needs a choice, an integer or a range with step= for {name!r};"
                f" it is {item.range_text()}. Use sampler qmc or tpe."
            )
