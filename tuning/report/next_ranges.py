"""What to search next: values near a bound, ranges that the data can't fill, pairs that trade off,
as declarations for a search space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy import stats

from tuning.confirmation.rounds import Confirmation
from tuning.data.data_card import DataCard
from tuning.data.tokenizer import FIRST_WORD_ID
from tuning.spaces.hyperparameters import Hyperparameter, value_text
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary, best_of
from tuning.study.trials import values_of

OUTER = 0.05  # of a range, at either end
PERCENTILE = "99"  # of the lengths: longer texts are too few to be worth the steps
MOST_DROPOUT = 0.9
MIN_BEST = 8  # trials of the best quarter: of fewer, no correlation can be told from chance
SIGNIFICANCE = 0.05  # of all pairs together


@dataclass(frozen=True)
class Advice:
    """A sentence on a hyperparameter, and the bounds to search next; one that is to be held has two
    equal ones.
    """

    item: Hyperparameter
    sentence: str
    low: float
    high: float


def advise(
    summary: Summary, space: SearchSpace, card: DataCard, found: Confirmation | None = None
) -> list[Advice]:
    """All that can be said of a study's ranges; `card` is the data card."""
    ranges = [*near_bounds(summary, space, found), *dead_ranges(space, card)]
    taken = {one.item.name for one in ranges}
    return ranges + [one for one in trade_offs(summary, space) if one.item.name not in taken]


def near_bounds(
    summary: Summary, space: SearchSpace, found: Confirmation | None = None
) -> list[Advice]:
    """On hyperparameters of which the best trial's value lies in the outer 5 % of its range, where
    there is room beyond.
    """
    chosen, advice = best_of(summary, found), list[Advice]()
    if chosen is None:
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


def dead_ranges(space: SearchSpace, card: DataCard) -> list[Advice]:
    """On vocabularies beyond the corpus and lengths beyond the 99th percentile of the texts."""
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
    found = []
    for item in space.searched:
        limit, what = limits.get(item.name, (0, ""))
        if item.low is None or item.high is None or not item.low < limit < item.high:
            continue
        high = (
            item.low + math.ceil((limit - item.low) / item.step) * item.step if item.step else limit
        )
        if high < item.high:
            sentence = (
                f"{item.name} is searched up to {item.high:g}, but the data have no more than"
                f" {limit:,} {what}: lower the bound."
            )
            found.append(Advice(item, sentence, item.low, high))
    return found


def trade_offs(summary: Summary, space: SearchSpace) -> list[Advice]:
    """On pairs of hyperparameters that make up for each other: in the best quarter of the trials,
    one goes with the other.

    Spearman's rank correlation, its p-value times the number of pairs (Bonferroni). The second of a
    pair may be held at its best value.
    """
    best = summary.ranked[: len(summary.ranked) // 4]
    items = [item for item in space.searched if item.low is not None and not item.conditions]
    columns = {
        item.name: [float(values_of(trial, space)[item.name]) for trial in best] for item in items
    }
    pairs = [
        (one, two)
        for one, two in itertools.combinations(items, 2)
        if len(set(columns[one.name])) > 1 < len(set(columns[two.name]))
    ]
    found = []
    for one, two in pairs if len(best) >= MIN_BEST else ():
        correlation, p_value = stats.spearmanr(columns[one.name], columns[two.name])
        if p_value * len(pairs) >= SIGNIFICANCE:
            continue
        held: Any = values_of(best[0], space)[two.name]
        way = "falls" if correlation < 0 else "rises"
        sentence = (
            f"{one.name} {way} as {two.name} rises among the best quarter of the trials (Spearman's"
            f" correlation {correlation:.2f}): they trade off, so {two.name} can be held at"
            f" {value_text(held)} while {one.name} is searched."
        )
        found.append(Advice(two, sentence, held, held))
    return found


def declarations(advice: list[Advice]) -> str:
    """New ranges as lines for `declare_hyperparameters`; two pieces of advice on one hyperparameter
    give one line.
    """
    bounds: dict[str, tuple[Hyperparameter, float, float]] = {}
    for one in advice:
        item, low, high = bounds.get(one.item.name, (one.item, one.low, one.high))
        bounds[item.name] = (
            item,
            (one.low if one.low != item.low else low),
            (one.high if one.high != item.high else high),
        )
    return "\n".join(_declaration(*of_one) for of_one in bounds.values())


def _declaration(item: Hyperparameter, low: float, high: float) -> str:
    def number(value: float) -> str:
        return str(round(value)) if item.kind == "int" else f"{value:g}"

    if low == high:
        return f'hp.Fixed("{item.name}", {number(low)})'
    default = min(max(float(item.default), low), high)
    words = [f'"{item.name}"', number(low), number(high)]
    words += [f"step={number(item.step)}"] if item.step else []
    words += ['sampling="log"'] if item.log else []
    return f"hp.{item.kind.title()}({', '.join([*words, f'default={number(default)}'])})"


def _lower(item: Hyperparameter) -> float:
    """Half of a logarithmic range's bound; as much below a linear one as it is wide, but not below
    0, or 1 for whole numbers.
    """
    assert item.low is not None and item.high is not None  # for mypy: the caller has looked
    least = 1.0 if item.kind == "int" else 0.0
    if item.log:
        return min(max(item.low / 2, least), item.low)
    wanted = max(item.low - (item.high - item.low), least)
    if item.step:
        return item.low - max(math.floor((item.low - wanted) / item.step + 1e-9), 0) * item.step
    return min(wanted, item.low)


def _higher(item: Hyperparameter) -> float:
    """Twice a logarithmic range's bound; as much above a linear one as it is wide. A rate of
    dropout stays below 1.
    """
    assert item.low is not None and item.high is not None  # for mypy: the caller has looked
    if item.log:
        return item.high * 2
    wanted = item.high + (item.high - item.low)
    if "dropout" in item.name:
        wanted = max(min(wanted, MOST_DROPOUT), item.high)
    if item.step:
        return item.high + math.floor((wanted - item.high) / item.step + 1e-9) * item.step
    return wanted
