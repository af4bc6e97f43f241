"""The configurations that a confirmation trains for ensembles alone: one of each architecture.

Models that err on different texts make a better ensemble, and the finalists are often of one
architecture. The module imports neither Keras nor Optuna.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from tuning.confirmation.finalist import Finalist
from tuning.confirmation.rounds import Confirmation
from tuning.metrics import sign


def other_architectures(
    candidates: Iterable[Finalist],
    finalists: Iterable[Finalist],
    *,
    deciding: Collection[str],
    metric: str,
) -> list[Finalist]:
    """Return the best candidate of each architecture that no finalist has, best first; of equal
    candidates, the first.

    Args:
        deciding: the hyperparameters that decide which others are active. An architecture is a
            combination of their values.
    """

    def architecture(finalist: Finalist) -> Hashable:
        return tuple((name, finalist.values.get(name)) for name in sorted(deciding))

    ranked = sorted(candidates, key=lambda f: -sign(metric) * f.search_value)
    taken = {architecture(finalist) for finalist in finalists}
    best: dict[Hashable, Finalist] = {}
    for candidate in ranked:
        if architecture(candidate) not in taken:
            best.setdefault(architecture(candidate), candidate)
    return [*best.values()]


def due_others(confirmation: Confirmation) -> tuple[Confirmation, list[tuple[Finalist, int]]]:
    """Return a confirmation, and the missing repeats of its `others`, as pairs of configuration and
    seed.
    """
    seed = confirmation.seeds[0]
    return confirmation, [(other, seed) for other in confirmation.others if not other.repeats]


def trained_of(confirmation: Confirmation) -> list[Finalist]:
    """Return the configurations whose predictions may have been kept."""
    return [*confirmation.finalists, *confirmation.others]
