"""The kinds of targets by their names in documents."""

from collections.abc import Iterable

from tuning.metrics import DEFAULT_TARGET
from tuning.targets.classes import Classes
from tuning.targets.labels import MultiLabel
from tuning.targets.number import Number
from tuning.targets.order import Order
from tuning.targets.target import Target

KINDS: dict[str, type[Target]] = {kind.kind: kind for kind in (Classes, MultiLabel, Order, Number)}


def constant_names() -> list[str]:
    """Return the names of the references that predict the same for every text."""
    return list(dict.fromkeys(name for kind in KINDS.values() for name in kind.constant_names))


def target_of(
    names: Iterable[str],
    kind: str = DEFAULT_TARGET,
    *,
    margin: float | None = None,
    thresholds: tuple[float, ...] = (),
) -> Target:
    if kind not in KINDS:
        raise ValueError(f"predicts: must be one of {', '.join(KINDS)}, not {kind!r}")
    return KINDS[kind](tuple(names), margin=margin, thresholds=thresholds)
