"""What the peers of `benchmarks.search` propose: random draws and TPE of Optuna, KerasTuner's
BayesianOptimization and Hyperband. Each has its own defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras_tuner
import optuna
from keras_tuner.engine.trial import Trial, TrialStatus

from benchmarks.curves import Table
from benchmarks.peers.kerastuner_peer import keep_values
from tuning.metrics import sign
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace, load_hypermodel
from tuning.spaces.ranges import Value

EPOCHS = 5  # the default number of epochs of this program, which all sides have


@dataclass(frozen=True, eq=False)
class Proposal:
    """A training that a peer asks for: from the end of `first_epoch` to the end of `last_epoch`."""

    trial: Any
    values: Mapping[str, Value]
    first_epoch: int = 0
    last_epoch: int = EPOCHS
    seed: int = 0


class Peer(Protocol):
    def ask(self) -> Proposal | None:
        """Return the next training; None if the peer waits for one that is running."""

    def goes_on(self, proposal: Proposal, epoch: int, value: float) -> bool:
        """Report the value of an epoch, and return whether the training goes on."""

    def tell(self, proposal: Proposal, value: float, *, is_complete: bool) -> None:
        """Report the value of the best epoch of a training that has ended."""

    def incumbent(self) -> Mapping[str, Value] | None:
        """Return the configuration that the peer names; None for its best completed trial."""


class OptunaPeer:
    """`Study.ask` and `Study.tell` with a sampler and a pruner."""

    def __init__(
        self,
        table: Table,
        space: SearchSpace,
        *,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
        name: str,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._study = optuna.create_study(
            study_name=name,  # Hyperband draws the bracket of a trial from it.
            direction="maximize" if sign(table.metric) > 0 else "minimize",
            sampler=sampler,
            pruner=pruner,
        )

    def ask(self) -> Proposal:
        trial = self._study.ask()
        return Proposal(trial, suggest(trial, self._space.hyperparameters))

    def goes_on(self, proposal: Proposal, epoch: int, value: float) -> bool:
        proposal.trial.report(value, step=epoch)
        return not proposal.trial.should_prune()

    def tell(self, proposal: Proposal, value: float, *, is_complete: bool) -> None:
        state = optuna.trial.TrialState.COMPLETE if is_complete else optuna.trial.TrialState.PRUNED
        self._study.tell(proposal.trial, value if is_complete else None, state=state)

    def incumbent(self) -> None:
        return None


class OraclePeer:
    """An oracle of KerasTuner with several tuners."""

    def __init__(
        self, table: Table, make: Callable[..., Any], *, folder: Path, **options: Any
    ) -> None:
        hp = keras_tuner.HyperParameters()
        hp.Fixed("n_classes", table.n_classes)
        load_hypermodel(find_space(table.space)).declare_hyperparameters(hp)
        direction = "max" if sign(table.metric) > 0 else "min"
        self._metric, self._n_asked = table.metric, 0
        self._oracle = make(
            objective=keras_tuner.Objective(table.metric, direction), hyperparameters=hp, **options
        )
        self._oracle._set_project_dir(str(folder), "replay")
        self._oracle.verbose = 0
        keep_values(self._oracle)

    def ask(self) -> Proposal | None:
        self._n_asked += 1
        trial: Trial = self._oracle.create_trial(f"tuner {self._n_asked}")
        if trial.status != TrialStatus.RUNNING:
            return None
        values = trial.hyperparameters.values
        first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", EPOCHS)
        return Proposal(trial, values, int(first), int(last))

    def goes_on(self, proposal: Proposal, epoch: int, value: float) -> bool:
        return True

    def tell(self, proposal: Proposal, value: float, *, is_complete: bool) -> None:
        self._oracle.update_trial(proposal.trial.trial_id, {self._metric: value})
        proposal.trial.status = TrialStatus.COMPLETED
        self._oracle.end_trial(proposal.trial)

    def incumbent(self) -> None:
        return None


def random_draws(
    table: Table, space: SearchSpace, *, seed: int, n_trials: int, folder: Path
) -> Peer:
    sampler = optuna.samplers.RandomSampler(seed=seed)
    pruner = optuna.pruners.NopPruner()
    return OptunaPeer(table, space, sampler=sampler, pruner=pruner, name=str(seed))


def optuna_hyperband(
    table: Table, space: SearchSpace, *, seed: int, n_trials: int, folder: Path
) -> Peer:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return OptunaPeer(table, space, sampler=sampler, pruner=pruner, name=str(seed))


def kerastuner_bayesian(
    table: Table, space: SearchSpace, *, seed: int, n_trials: int, folder: Path
) -> Peer:
    make = keras_tuner.oracles.BayesianOptimizationOracle
    return OraclePeer(table, make, folder=folder, max_trials=1_000_000, seed=seed)


def kerastuner_hyperband(
    table: Table, space: SearchSpace, *, seed: int, n_trials: int, folder: Path
) -> Peer:
    make = keras_tuner.oracles.HyperbandOracle
    options = {"max_epochs": EPOCHS, "hyperband_iterations": 1000}
    return OraclePeer(table, make, folder=folder, seed=seed, **options)


ORACLES: dict[str, Callable[..., Peer]] = {
    "random draws": random_draws,
    "Optuna, TPE with Hyperband": optuna_hyperband,
    "KerasTuner, BayesianOptimization": kerastuner_bayesian,
    "KerasTuner, Hyperband": kerastuner_hyperband,
}
