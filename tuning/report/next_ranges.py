"""Ranges to search next, as sentences and as declarations for a search space: ranges whose bound is
near the best value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuning.confirmation.rounds import Confirmation
from tuning.inputs.data_card import DataCard
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import MAX_ORDER, NGRAMS, PRESET, Hyperparameter, value_text
from tuning.study.summary import Summary, best_of
from tuning.study.trials import is_named, values_of

# Share of a range at either end. A value in this share is near the bound.
OUTER = 0.05
# The percentile of the lengths of texts that a sequence needs: longer texts are too few to be worth
# the time steps.
PERCENTILE = "99"
MAX_DROPOUT = 0.9
INDENT = " " * 4


@dataclass(frozen=True)
class Advice:
    item: Hyperparameter
    sentence: str
    low: float
    high: float


def advise(
    summary: Summary, space: SearchSpace, card: DataCard, confirmation: Confirmation | None = None
) -> list[Advice]:
    """Return advice on hyperparameters whose value in the best trial is in the outer 5 % of its
    range, if the data can fill a longer range. There is none for the baseline and for starting
    points: no search has led to their values.
    """
    chosen, advice = best_of(summary, confirmation), list[Advice]()
    if chosen is None or is_named(chosen.trial):
        return advice
    best, fillable = values_of(chosen.trial, space), _fillable(space, card)
    for item in space.searched:
        value: Any = best.get(item.name) if item.is_active(best) else None
        if item.low is None or item.high is None or value is None or item.high == item.low:
            continue
        scale: Callable[[float], float] = math.log if item.log else float
        share = (scale(value) - scale(item.low)) / (scale(item.high) - scale(item.low))
        if OUTER < share < 1 - OUTER:
            continue
        is_low = share <= OUTER
        limit = _upwards(item, fillable.get(item.name, math.inf))
        low = _lower(item) if is_low else item.low
        high = item.high if is_low else max(min(_higher(item), limit), item.high)
        if (low, high) != (item.low, item.high):
            end, other = ("lower", "lower it") if is_low else ("upper", "raise it")
            where = f"in the {chosen.name}, near the {end} bound of {item.range_text()}"
            sentence = f"{item.name} is {value_text(value)} {where}: {other} and search again."
            advice.append(Advice(item, sentence, low, high))
    return advice


def _fillable(space: SearchSpace, card: DataCard) -> dict[str, int]:
    values = {
        "vocab_size": card.n_words + FIRST_WORD_ID,
        "sequence_length": card.length_percentiles[PERCENTILE],
    }
    if any(item.name == PRESET for item in space.hyperparameters):
        del values["sequence_length"]  # A preset splits words into more tokens.
    return values


def _upwards(item: Hyperparameter, value: float) -> float:
    if item.low is None or not item.step or math.isinf(value):
        return value
    return item.low + math.ceil((value - item.low) / item.step) * item.step


def declarations(advice: list[Advice]) -> str:
    bounds = {entry.item: (entry.low, entry.high) for entry in advice}
    lines = []
    for conditions, items in itertools.groupby(bounds, key=lambda item: item.conditions):
        for depth, (parent, values) in enumerate(conditions):
            scope = f'hp.conditional_scope("{parent}", {list(values)!r})'
            lines.append(f"{INDENT * depth}with {scope}:")
        lines += [f"{INDENT * len(conditions)}{_declaration(i, *bounds[i])}" for i in items]
    return "\n".join(lines)


def _declaration(item: Hyperparameter, low: float, high: float) -> str:
    def number(value: float) -> str:
        return str(round(value)) if item.kind == "int" else f"{value:g}"

    default = min(max(float(item.default), low), high)
    if item.step:  # A default must be on the steps of the new range.
        default = low + round((default - low) / item.step) * item.step
    words = [f'"{item.name}"', number(low), number(high)]
    words += [f"step={number(item.step)}"] if item.step else []
    words += ['sampling="log"'] if item.log else []
    return f"hp.{item.kind.title()}({', '.join([*words, f'default={number(default)}'])})"


def _lower(item: Hyperparameter) -> float:
    """Extend by the width of a linear range, and halve the bound of a logarithmic one."""
    assert item.low is not None and item.high is not None  # for mypy: the caller has checked this
    minimum = 1.0 if item.kind == "int" else 0.0
    if item.log:
        return min(max(item.low / 2, minimum), item.low)
    wanted = max(item.low - (item.high - item.low), minimum)
    if item.step:
        return item.low - max(math.floor((item.low - wanted) / item.step + 1e-9), 0) * item.step
    return min(wanted, item.low)


def _higher(item: Hyperparameter) -> float:
    """Extend as `_lower`, and at most to `MAX_DROPOUT` for dropouts and `MAX_ORDER` for n-grams."""
    assert item.low is not None and item.high is not None  # for mypy: the caller has checked this
    wanted = item.high * 2 if item.log else item.high + (item.high - item.low)
    if "dropout" in item.name:
        wanted = max(min(wanted, MAX_DROPOUT), item.high)
    if item.name == NGRAMS:
        wanted = max(min(wanted, MAX_ORDER), item.high)
    if item.step:
        return item.high + math.floor((wanted - item.high) / item.step + 1e-9) * item.step
    return wanted
