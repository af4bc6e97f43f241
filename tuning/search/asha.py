"""Asynchronous successive halving (ASHA), which decides which trials go on at a rung, which trials
wait there, and which waiting trial goes on next.

Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020. A trial goes on past a
rung if it is among the best 1 / `REDUCTION` of the trials that reached the rung. Any other trial
waits, and goes on when enough worse trials have reached the rung. Optuna's own pruner ends such a
trial at once. The baseline is trained to its end, and counts at the first rung only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tuning.fidelity import epochs_at, part_at

# A reduction of 3 or 4 is for hundreds of epochs. Of 20 trials of 5 epochs (masked_lstm on 25,854
# Amazon reviews, seed 0), a reduction of 3 completed only the baseline (0.8241). A reduction of 2
# completed five trials (best: 0.8350), with two thirds more training.
REDUCTION = 2
# A trial with fewer remaining epochs is trained to its end, because a stop would save little and
# cost a completed trial.
MIN_EPOCHS_SAVED = 2


def is_worth_stopping(epoch: float, *, epochs: int) -> bool:
    # Only a large data set has rungs within the first epoch. Its epochs take minutes, so a stop
    # saves much even if the trial has a single epoch.
    return epochs - epoch >= MIN_EPOCHS_SAVED or epoch < 1


def rungs_of(epochs: int, *, parts: int = 1) -> tuple[float, ...]:
    """`parts`: number of parts of an epoch, a power of `REDUCTION`."""
    n_powers = part_at(epochs, parts).bit_length()
    rungs = (epochs_at(REDUCTION**k, parts) for k in range(n_powers))
    return tuple(rung for rung in rungs if is_worth_stopping(rung, epochs=epochs))


@dataclass
class Rungs:
    """The values of a study's trials at each rung. `direction`: 1 where a higher value is better,
    else -1. `values`: epoch → trial number → value, or a better one within the first epoch.
    """

    epochs: tuple[float, ...]
    direction: int
    n_trials: int
    values: dict[float, dict[int, float]] = field(default_factory=dict)

    def record(self, number: int, epoch: float, value: float) -> None:
        """Ignore a value after an epoch that is neither 0 nor a rung. The values of a trial must be
        recorded in the order of their epochs.
        """
        if epoch not in (0, *self.epochs):
            return
        # A trial whose best epoch is 0 or a fraction of an epoch keeps its rank at later rungs.
        within = [
            values[number]
            for rung, values in self.values.items()
            if rung < min(epoch, 1) and number in values
        ]
        best = max([*within, value], key=lambda value: self.direction * value)
        self.values.setdefault(epoch, {})[number] = best

    def remove(self, number: int) -> None:
        for values in self.values.values():
            values.pop(number, None)

    def rank(self, number: int, epoch: float) -> int:
        """Return 1 for the best, and at an epoch that is no rung. Equal values share the better
        rank.
        """
        values = self.values.get(epoch, {})
        return 1 + sum(
            self.direction * value > self.direction * values[number] for value in values.values()
        )

    def goes_on(self, number: int, epoch: float) -> bool:
        return epoch not in self.epochs or self.rank(number, epoch) <= max(
            len(self.values[epoch]) // REDUCTION, 1
        )

    def is_beyond_promotion(self, number: int, epoch: float) -> bool:
        """Return whether a trial can't pass rung k (from 0) any more: its rank is greater than
        max(⌊`n_trials` / `REDUCTION`^(k + 1)⌋, 1).
        """
        if epoch not in self.epochs:
            return False
        n_passing: int = self.n_trials // REDUCTION ** (self.epochs.index(epoch) + 1)
        return self.rank(number, epoch) > max(n_passing, 1)

    def promotable(self, waiting: Mapping[int, float]) -> int | None:
        """Return the number of the trial to continue: the best at the highest rung where a trial
        may go on. A trial that waits at an epoch that is no rung, because the time was up, may
        always go on. `waiting`: trial number → number of trained epochs.
        """
        passing: Iterable[int] = (
            number for number, epoch in waiting.items() if self.goes_on(number, epoch)
        )
        return max(
            passing,
            key=lambda number: (waiting[number], -self.rank(number, waiting[number]), -number),
            default=None,
        )
