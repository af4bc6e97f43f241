"""Ranges to search next, as sentences and as declarations for a search space: the best value is
near a bound, the data can't fill the range, or two hyperparameters trade off.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scipy import stats

from tuning.confirmation.rounds import Confirmation
from tuning.data.data_card import DataCard
from tuning.data.tokenizer import FIRST_WORD_ID
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, value_text
from tuning.spaces.required import MAX_ORDER, NGRAMS, PRESET
from tuning.study.summary import Summary, best_of
from tuning.study.trials import is_named, values_of, without_copies

# Share of a range at either end. A value in this share is near the bound.
OUTER = 0.05
# The percentile of the lengths of texts that a sequence needs: longer texts are too few to be worth
# the time steps.
PERCENTILE = "99"
MAX_DROPOUT = 0.9
# Minimum number of trials in the best quarter: with fewer trials a correlation can't be
# distinguished from chance.
MIN_BEST = 8
INDENT = " " * 4
SIGNIFICANCE = 0.05  # Level of significance of all pairs together.


@dataclass(frozen=True)
class Advice:
    """A sentence about a hyperparameter, and the bounds to search next; two equal bounds fix the
    hyperparameter.
    """

    item: Hyperparameter
    sentence: str
    low: float
    high: float


def advise(
    summary: Summary,
    space: SearchSpace,
    card: DataCard,
    confirmation: Confirmation | None = None,
) -> list[Advice]:
    """Return all advice on a study's ranges; `card` is the data card."""
    ranges = bounds(summary, space, card, confirmation)
    names = {advice.item.name for advice in ranges}
    return ranges + [
        advice for advice in trade_offs(summary, space) if advice.item.name not in names
    ]


def bounds(
    summary: Summary,
    space: SearchSpace,
    card: DataCard,
    confirmation: Confirmation | None = None,
) -> list[Advice]:
    """Return the advice on bounds: that of `near_bounds` and `dead_ranges`. A bound is not raised
    beyond what the data can fill.
    """
    limits, near = limits_of(space, card), []
    for entry in near_bounds(summary, space, confirmation):
        limit, _ = limits.get(entry.item.name, (math.inf, ""))
        high = max(min(entry.high, _upwards(entry.item, limit)), entry.item.high or entry.high)
        if (entry.low, high) != (entry.item.low, entry.item.high):
            near.append(replace(entry, high=high))
    return [*near, *dead_ranges(space, card)]


def near_bounds(
    summary: Summary, space: SearchSpace, confirmation: Confirmation | None = None
) -> list[Advice]:
    """Return advice on hyperparameters whose value in the best trial is in the outer 5 % of its
    range, if the range can be extended beyond that bound.

    There is no advice if the best trial is the baseline or a starting point, whose values the
    search space names: no search has led to them.
    """
    chosen, advice = best_of(summary, confirmation), list[Advice]()
    if chosen is None or is_named(chosen.trial):
        return advice
    best = values_of(chosen.trial, space)
    for item in space.searched:
        value: Any = best.get(item.name) if item.is_active(best) else None
        if item.low is None or item.high is None or value is None or item.high == item.low:
            continue
        scale: Callable[[float], float] = math.log if item.log else float
        place = (scale(value) - scale(item.low)) / (scale(item.high) - scale(item.low))
        if OUTER < place < 1 - OUTER:
            continue
        is_low = place <= OUTER
        low, high = (_lower(item), item.high) if is_low else (item.low, _higher(item))
        if (low, high) != (item.low, item.high):
            end, other = ("lower", "lower it") if is_low else ("upper", "raise it")
            where = f"in the {chosen.name}, near the {end} bound of {item.range_text()}"
            advice.append(
                Advice(
                    item,
                    f"{item.name} is {value_text(value)} {where}: {other} and search again.",
                    low,
                    high,
                )
            )
    return advice


def limits_of(space: SearchSpace, card: DataCard) -> dict[str, tuple[int, str]]:
    """Return the largest value that the data can fill and its meaning, by hyperparameter: the
    number of words, and the 99th percentile of the lengths of the texts.
    """
    limits = {
        "vocab_size": (
            card.n_words + FIRST_WORD_ID,
            "words in the training split, padding and unknown included",
        ),
        "sequence_length": (
            card.length_percentiles[PERCENTILE],
            "tokens in 99 % of the texts",
        ),
    }
    if any(item.name == PRESET for item in space.hyperparameters):
        del limits["sequence_length"]  # A preset splits words into more tokens.
    return limits


def _upwards(item: Hyperparameter, value: float) -> float:
    """Return the smallest value on the item's steps that is not less than a value."""
    if item.low is None or not item.step or math.isinf(value):
        return value
    return item.low + math.ceil((value - item.low) / item.step) * item.step


def dead_ranges(space: SearchSpace, card: DataCard) -> list[Advice]:
    """Return advice on vocabularies larger than the corpus has words, and on sequences longer than
    the 99th percentile of the texts.
    """
    limits, advice = limits_of(space, card), []
    for item in space.searched:
        limit, what = limits.get(item.name, (0, ""))
        if item.low is None or item.high is None or not item.low < limit < item.high:
            continue
        high = _upwards(item, limit)
        if high < item.high:
            sentence = (
                f"{item.name} is searched up to {item.high:g}, but the data have no more than"
                f" {limit:,} {what}: lower the bound."
            )
            advice.append(Advice(item, sentence, item.low, high))
    return advice


def trade_offs(summary: Summary, space: SearchSpace) -> list[Advice]:
    """Return advice on pairs of hyperparameters that compensate for each other: in the best quarter
    of the trials their values are correlated.

    The correlation is Spearman's rank correlation, with its p-value multiplied by the number of
    pairs (Bonferroni). The second hyperparameter of a pair can be fixed at its best value.
    """
    ranked = without_copies(summary.ranked)
    best = ranked[: len(ranked) // 4]
    items = [item for item in space.searched if item.low is not None and not item.conditions]
    columns = {
        item.name: [float(values_of(trial, space)[item.name]) for trial in best] for item in items
    }
    pairs = [
        (first, second)
        for first, second in itertools.combinations(items, 2)
        if len(set(columns[first.name])) > 1 < len(set(columns[second.name]))
    ]
    advice = []
    for first, second in pairs if len(best) >= MIN_BEST else ():
        correlation, p_value = stats.spearmanr(columns[first.name], columns[second.name])
        if p_value * len(pairs) >= SIGNIFICANCE:
            continue
        held: Any = values_of(best[0], space)[second.name]
        direction = "falls" if correlation < 0 else "rises"
        sentence = (
            f"{first.name} {direction} as {second.name} rises among the best quarter of the trials"
            f" (Spearman's correlation {correlation:.2f}): they trade off, so {second.name} can be"
            f" held at {value_text(held)} while {first.name} is searched."
        )
        advice.append(Advice(second, sentence, held, held))
    return advice


def declarations(advice: list[Advice]) -> str:
    """Return new ranges as lines for `declare_hyperparameters`: a line for each hyperparameter, in
    the scope in which it is active.
    """
    bounds: dict[Hyperparameter, tuple[float, float]] = {}
    for entry in advice:
        item = entry.item
        low, high = bounds.get(item, (entry.low, entry.high))
        bounds[item] = (
            entry.low if entry.low != item.low else low,
            entry.high if entry.high != item.high else high,
        )
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

    if low == high:
        return f'hp.Fixed("{item.name}", {number(low)})'
    default = min(max(float(item.default), low), high)
    if item.step:  # A default must be on the steps of the new range.
        default = low + round((default - low) / item.step) * item.step
    words = [f'"{item.name}"', number(low), number(high)]
    words += [f"step={number(item.step)}"] if item.step else []
    words += ['sampling="log"'] if item.log else []
    return f"hp.{item.kind.title()}({', '.join([*words, f'default={number(default)}'])})"


def _lower(item: Hyperparameter) -> float:
    """Return the new lower bound: low / 2 for a logarithmic range, low - (high - low) for a linear
    range, and at least 0, or 1 for integers.
    """
    assert item.low is not None and item.high is not None  # for mypy: the caller has checked this
    minimum = 1.0 if item.kind == "int" else 0.0
    if item.log:
        return min(max(item.low / 2, minimum), item.low)
    wanted = max(item.low - (item.high - item.low), minimum)
    if item.step:
        return item.low - max(math.floor((item.low - wanted) / item.step + 1e-9), 0) * item.step
    return min(wanted, item.low)


def _higher(item: Hyperparameter) -> float:
    """Return the new upper bound: 2 * high for a logarithmic range, high + (high - low) for a
    linear range, and at most `MAX_DROPOUT` for a dropout rate and `MAX_ORDER` for n-grams.
    """
    assert item.low is not None and item.high is not None  # for mypy: the caller has checked this
    wanted = item.high * 2 if item.log else item.high + (item.high - item.low)
    if "dropout" in item.name:
        wanted = max(min(wanted, MAX_DROPOUT), item.high)
    if item.name == NGRAMS:
        wanted = max(min(wanted, MAX_ORDER), item.high)
    if item.step:
        return item.high + math.floor((wanted - item.high) / item.step + 1e-9) * item.step
    return wanted
