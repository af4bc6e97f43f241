"""The choice of the repeats of a confirmation that form an ensemble, and the gain of the ensemble
over the best configuration.

An ensemble is the weighted mean of the class probabilities of its members. The members are chosen
greedily, with replacement, on the validation split (Caruana, Niculescu-Mizil, Crew and Ksikes, ICML
2004): each step adds the repeat with which the mean has the lowest cross-entropy. A step does not
compare accuracies, because many repeats have the same accuracy, and the best accuracy of many is
partly luck. The module imports neither Keras nor Optuna.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tuning.evaluation.metrics import Array, Labels
from tuning.evaluation.statistics import Interval, accuracy_difference

# Maximum number of steps of an ensemble whose size is not given. Caruana et al. found most of the
# gain in the first steps; each further member makes the model larger and slower.
N_AUTO_STEPS = 10

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Repeat:
    """A repeat whose predictions were kept: the class probabilities of the validation split,
    (n_texts, n_classes).
    """

    trial: int
    seed: int
    probabilities: Array = field(repr=False)


@dataclass(frozen=True)
class Member:
    """A repeat of an ensemble and its weight; the weights of all members sum to 1."""

    trial: int
    seed: int
    weight: float


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of repeats.

    Attributes:
        members: the repeats, in descending order of their weights.
        difference: accuracy of an ensemble minus the mean accuracy of the repeats of the confirmed
            best, on the validation split, by cross-fitting.
    """

    members: tuple[Member, ...]
    difference: Interval


def choose_ensemble(
    repeats: Sequence[Repeat],
    labels: Labels,
    *,
    best_trial: int,
    n_steps: int | None,
    seed: int,
    codes: Labels | None = None,
) -> Ensemble:
    """Choose the members of an ensemble, and estimate its gain over the best configuration.

    The estimate is cross-fitted: members are chosen on one half of the validation split and
    measured on the other half, and the reverse, so no text is used for both. The comparison is
    paired by text, with the mean accuracy of the repeats of the best configuration.

    Args:
        repeats: the repeats to choose from, which include a repeat of `best_trial`.
        labels: the classes of the validation split, int64 (n,).
        best_trial: number of the trial to compare with.
        n_steps: number of times that a repeat is chosen. None: the number up to `N_AUTO_STEPS` that
            gives the lowest cross-entropy.
        seed: seed of the halves and of the interval.
        codes: the number of each distinct text, int64 (n,); None if all texts are distinct. The
            copies of a text are in the same half.
    """
    stacked = np.stack([repeat.probabilities for repeat in repeats]).astype(np.float64)
    # A model that ends with a sigmoid for each class has outputs that do not sum to 1. They are
    # divided by their sum here and in the exported ensemble (`ensemble_graph.average`).
    stacked /= np.maximum(stacked.sum(axis=2, keepdims=True), 1e-7)
    chosen = choose(stacked, labels, n_steps=n_steps)
    held_out = cross_fitted(stacked, labels, n_steps=n_steps, seed=seed, codes=codes)
    of_best = stacked[[repeat.trial == best_trial for repeat in repeats]]
    members = tuple(
        Member(repeats[index].trial, repeats[index].seed, count / len(chosen))
        for index, count in Counter(chosen).most_common()
    )
    difference = accuracy_difference(labels, held_out, of_best, codes=codes, seed=seed)
    return Ensemble(members, difference)


def choose(probabilities: Array, labels: Labels, *, n_steps: int | None) -> list[int]:
    """Return the indices of the models that the greedy selection chooses; an index may occur
    several times. `probabilities`: (n_models, n_texts, n_classes).
    """
    # The cross-entropy depends on the probability of the right class alone.
    right = probabilities[:, np.arange(len(labels)), labels]
    chosen: list[int] = []
    losses: list[float] = []
    total = np.zeros(len(labels))
    for step in range(1, (n_steps or N_AUTO_STEPS) + 1):
        means = np.clip((total + right) / step, 1e-7, 1.0)
        of_models = -np.log(means).mean(axis=1)
        index = int(of_models.argmin())
        chosen.append(index)
        losses.append(float(of_models[index]))
        total += right[index]
    return chosen if n_steps else chosen[: int(np.argmin(losses)) + 1]


def cross_fitted(
    probabilities: Array,
    labels: Labels,
    *,
    n_steps: int | None,
    seed: int,
    codes: Labels | None = None,
) -> Array:
    """Return probabilities (n_texts, n_classes) of members that were chosen on other texts."""
    mean = np.empty(probabilities.shape[1:])
    halves = _halves(labels, codes, seed=seed)
    for chosen_on, measured_on in (halves, halves[::-1]):
        chosen = choose(probabilities[:, chosen_on], labels[chosen_on], n_steps=n_steps)
        mean[measured_on] = probabilities[chosen][:, measured_on].mean(axis=0)
    return mean


def _halves(labels: Labels, codes: Labels | None, *, seed: int) -> tuple[Rows, Rows]:
    """Return two random halves of the texts; each has half of the distinct texts of each class."""
    codes = np.arange(len(labels)) if codes is None else codes
    of_distinct = labels[np.unique(codes, return_index=True)[1]]
    order = np.random.default_rng(seed).permutation(len(of_distinct))
    order = order[np.argsort(of_distinct[order], kind="stable")]
    is_first = np.isin(codes, order[::2])
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)
