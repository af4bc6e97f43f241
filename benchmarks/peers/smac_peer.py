"""What two facades of SMAC3 propose. It is not in the lock, because it needs many packages."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ConfigSpace
from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.runhistory import TrialValue

from benchmarks.curves import Table
from benchmarks.peers.oracles import EPOCHS, Proposal
from tuning.spaces.hyperparameters import active_values, optuna_names
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, Values


class SmacPeer:
    """A facade with its defaults, and with the baseline in its initial design."""

    def __init__(
        self,
        facade: Any,
        table: Table,
        space: SearchSpace,
        *,
        seed: int,
        n_trials: int,
        folder: Path,
    ) -> None:
        logging.getLogger("smac").setLevel(logging.ERROR)
        scenario = Scenario(
            configuration_space(space),
            output_directory=folder,
            n_trials=n_trials,
            use_default_config=True,
            min_budget=1,
            max_budget=EPOCHS,
            seed=seed,
        )
        self._smac = facade(scenario, logging_level=False)
        self._items, self._n_trained = space.hyperparameters, dict[Any, int]()

    def ask(self) -> Proposal | None:
        try:
            trial = self._smac.ask()
        except StopIteration:
            return None
        # A training that Hyperband promotes is continued.
        first = self._n_trained.get((trial.config, trial.seed), 0)
        last = self._n_trained[trial.config, trial.seed] = math.ceil(trial.budget or EPOCHS)
        return Proposal(trial, values_of(trial.config, self._items), first, last, seed=trial.seed)

    def goes_on(self, proposal: Proposal, epoch: int, value: float) -> bool:
        return True

    def tell(self, proposal: Proposal, value: float, *, is_complete: bool) -> None:
        self._smac.tell(proposal.trial, TrialValue(cost=1 - value), save=False)

    def incumbent(self) -> Values | None:
        config = self._smac.intensifier.get_incumbent()
        return None if config is None else values_of(config, self._items)


def values_of(config: Any, items: Sequence[Hyperparameter]) -> Values:
    # ConfigSpace has no steps, so a value is rounded to the step of its hyperparameter.
    return active_values(items, lambda item, name: item.nearest(config.get(name, item.default)))


def configuration_space(space: SearchSpace) -> Any:
    items = space.hyperparameters
    searched = [
        (item, _declared(item, name))
        for item, name in zip(items, optuna_names(items), strict=True)
        if item.kind != "fixed"
    ]
    result = ConfigSpace.ConfigurationSpace()
    result.add(*(declared for _, declared in searched))
    for item, declared in searched:
        for parent, values in item.conditions:
            result.add(ConfigSpace.InCondition(declared, result[parent], list(values)))
    return result


def _declared(item: Hyperparameter, name: str) -> Any:
    if item.choices:
        return ConfigSpace.Categorical(name, item.choices, default=item.default)
    make = ConfigSpace.Integer if item.kind == "int" else ConfigSpace.Float
    return make(name, (item.low, item.high), default=item.default, log=item.log)


SMAC_PEERS = {
    "SMAC3, hyperparameter optimization": partial(SmacPeer, HyperparameterOptimizationFacade),
    "SMAC3, multi-fidelity": partial(SmacPeer, MultiFidelityFacade),
}
