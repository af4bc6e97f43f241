"""The hyperparameters that a search space declares, as data, without KerasTuner and Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tuning.documents import OMIT_DEFAULT

ROUNDING = 1e-9  # tolerance in steps: 0.1 + 0.2 counts as 0.3
Value = bool | int | float | str
Values = dict[str, Value]

# The hyperparameters that cut the data before a model is built.
REQUIRED = ("vocab_size", "sequence_length")
# Further names of hyperparameters; the first is the maximum number of words of an n-gram.
NGRAM_ORDER, PRESET, CLASS_WEIGHT = "ngrams", "preset", "class_weight"
# The smallest value of each hyperparameter that cuts the data.
SMALLEST = {"vocab_size": 3, "sequence_length": 1, NGRAM_ORDER: 1, "ngram_vocab_size": 3}
MAX_ORDER = 3  # maximum number of words of an n-gram


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One declared hyperparameter as data.

    Attributes:
        name: the name in `hp.get(name)`; several hyperparameters may have the same name under
            conditions that exclude each other.
        kind: int, float, choice or fixed.
        step: the distance between values of an int or float; None for any value.
        choices: the values of a choice, or of a log range whose step is a factor.
        conditions: names of parents with their allowed values; the hyperparameter is active if each
            parent has an allowed value.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    name: str
    kind: str
    default: Value
    low: float | None = field(default=None, metadata=OMIT_DEFAULT)
    high: float | None = field(default=None, metadata=OMIT_DEFAULT)
    step: float | None = field(default=None, metadata=OMIT_DEFAULT)
    log: bool = field(default=False, metadata=OMIT_DEFAULT)
    choices: tuple[Value, ...] = field(default=(), metadata=OMIT_DEFAULT)
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = field(default=(), metadata=OMIT_DEFAULT)

    def is_active(self, values: Mapping[str, Value]) -> bool:
        return all(
            parent in values and values[parent] in allowed for parent, allowed in self.conditions
        )

    def is_legal(self, value: Value) -> bool:
        if self.kind == "fixed":
            return value == self.default
        if self.choices:
            return value in self.choices
        if not isinstance(value, int | float) or self.low is None or self.high is None:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        whole = self.kind == "float" or float(value).is_integer()
        return self.low <= value <= self.high and whole and abs(steps - round(steps)) < ROUNDING

    def nearest(self, value: Value) -> Value:
        """Return the allowed value that is nearest to a value. That is the default where values
        have no distance: a text, and a hyperparameter without numbers.
        """
        if self.is_legal(value):
            return value
        if isinstance(value, str) or self.kind == "fixed":
            return self.default
        if self.choices:
            numbers = [choice for choice in self.choices if not isinstance(choice, str)]
            return min(numbers, key=lambda choice: abs(choice - value), default=self.default)
        assert self.low is not None and self.high is not None  # for mypy: of an int or float
        near, step = min(max(value, self.low), self.high), self.step or (self.kind == "int")
        if step:
            near = float(f"{self.low + round((near - self.low) / step) * step:.12g}")
        return round(near) if self.kind == "int" else near

    def range_text(self) -> str:
        """Return the range in words, such as "1000 to 40000, log"."""
        if self.kind == "fixed":
            return "fixed"
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        extra = (
            f", step {self.step:g}"
            if self.step and not (self.kind == "int" and self.step == 1)
            else ""
        )
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}{extra}"


def value_text(value: object) -> str:
    """Return a value as text for tables: a float with four digits, None as an empty text."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
