"""A goal of a figure of `make bench`."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COMPARE = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
_UNITS = {
    "×": "{:.2f} ×",
    "%": "{:.1%}",
    "points": "{:+.2f} points",  # a difference of percentages
    "ms": "{:.1f} ms",
    "s": "{:.1f} s",
    "min": "{:.1f} min",
    "GiB": "{:.2f} GiB",
    "": "{:g}",
}


@dataclass(frozen=True)
class Goal:
    """The goal of a figure: it is reached if `value sign goal` holds, as in `12 ≥ 10`.

    `text` describes the figure in the table, and `moonshot` is a more ambitious goal.
    """

    part: str
    name: str
    text: str
    sign: str
    goal: float
    unit: str
    moonshot: float | None = None

    def figure(
        self, value: float | None, *, note: str = "", cpu: float | None = None
    ) -> dict[str, Any]:
        """Return the measured value together with its goal.

        `value` is None if it could not be measured; `note` is then the reason. `cpu` is the value
        of a ratio of times in CPU seconds, which has no goal.
        """
        reached = value is not None and bool(_COMPARE[self.sign](value, self.goal))
        figure: dict[str, Any] = {
            "value": None if value is None else round(value, 5),
            "goal": self.goal,
            "sign": self.sign,
            "reached": reached,
        }
        if self.moonshot is not None:
            figure["moonshot"] = self.moonshot
        if cpu is not None:
            figure["cpu_value"] = round(cpu, 5)
        return {**figure, "note": note} if note else figure

    def value_text(self, value: float) -> str:
        return _UNITS[self.unit].format(value)

    def measured_text(self, figure: Mapping[str, Any]) -> str:
        """Return a measured value as text, with the value in CPU seconds if the figure has it."""
        text, cpu = self.value_text(figure["value"]), figure.get("cpu_value")
        return text if cpu is None else f"{text} ({self.value_text(cpu)} in CPU seconds)"

    @property
    def goal_text(self) -> str:
        further = "" if self.moonshot is None else f" (moonshot {self.value_text(self.moonshot)})"
        return f"{self.sign} {self.value_text(self.goal)}{further}"
