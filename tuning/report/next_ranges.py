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
from tuning.spaces.ranges import MAX_ORDER, NGRAM_ORDER, PRESET, Hyperparameter, value_text
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
    """Return advice on hyperparameters whose value in the best trial is near a bound of its range,
    if the data can fill a longer range.
    """
    chosen, advice = best_of(summary, confirmation), list[Advice]()
    # No search has led to the values of the baseline and of starting points.
    if chosen is None or is_named(chosen.trial):
        return advice
    best, limits = values_of(chosen.trial, space), _limits(space, card)
    for item in space.searched:
        value: Any = best.get(item.name) if item.is_active(best) else None
        if item.low is None or item.high is None or value is None or item.high == item.low:
            continue
        scale: Callable[[float], float] = math.log if item.log else float
        share = (scale(value) - scale(item.low)) / (scale(item.high) - scale(item.low))
        if OUTER < share < 1 - OUTER:
            continue
        is_low = share <= OUTER
        limit = MAX_DROPOUT if "dropout" in item.name else limits.get(item.name, math.inf)
        low, high = _extended(item.low, item.high, item, is_low=is_low, limit=limit)
        if (low, high) != (item.low, item.high):
            end, other = ("lower", "lower it") if is_low else ("upper", "raise it")
            where = f"in the {chosen.name}, near the {end} bound of {item.range_text()}"
            sentence = f"{item.name} is {value_text(value)} {where}: {other} and search again."
            advice.append(Advice(item, sentence, low, high))
    return advice


def _limits(space: SearchSpace, card: DataCard) -> dict[str, int]:
    limits = {
        NGRAM_ORDER: MAX_ORDER,
        "vocab_size": card.n_words + FIRST_WORD_ID,
        "sequence_length": card.length_percentiles[PERCENTILE],
    }
    if any(item.name == PRESET for item in space.hyperparameters):
        del limits["sequence_length"]  # A preset splits words into more tokens.
    return limits


def _extended(
    low: float, high: float, item: Hyperparameter, *, is_low: bool, limit: float
) -> tuple[float, float]:
    """Extend a linear range by its width, and a logarithmic one by the factor 2, in whole steps."""
    if is_low:
        wanted = max(low / 2 if item.log else 2 * low - high, 1.0 if item.kind == "int" else 0.0)
        room = max(low - wanted, 0.0)
    else:
        if item.step and not math.isinf(limit):  # The last step contains the limit.
            # Without 1e-9, a rounding error would add a step here, or take one away below.
            limit = high + math.ceil((limit - high) / item.step - 1e-9) * item.step
        wanted = min(high * 2 if item.log else 2 * high - low, limit)
        room = max(wanted - high, 0.0)
    if item.step:
        room = math.floor(room / item.step + 1e-9) * item.step
    return (low - room, high) if is_low else (low, high + room)


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
