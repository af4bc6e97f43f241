"""The table of a confirmation's finalists, as rows of text."""

from __future__ import annotations

from tuning.confirmation.estimates import Estimates
from tuning.confirmation.rounds import Confirmation, Finalist


def finalist_rows(
    confirmation: Confirmation, estimates: Estimates
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows: the value in the search, each repeat, and the corrected mean
    with its interval.
    """
    seeds = [
        seed
        for seed in confirmation.seeds
        if any(seed in finalist.repeats for finalist in confirmation.finalists)
    ]
    header = [
        "trial",
        "in the search",
        *(["other objectives"] if confirmation.has_costs else []),
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "given up",
    ]
    table = [
        [
            f"{finalist.trial}{_role(finalist)}",
            f"{finalist.search_value:.4f}",
            *([_costs(finalist)] if confirmation.has_costs else []),
            *(_repeat(finalist, seed) for seed in seeds),
            str(estimates.means.get(finalist.trial, "")),
            _end(finalist, confirmation.seeds),
        ]
        for finalist in confirmation.finalists
    ]
    if not any(row[-1] for row in table):
        return header[:-1], [row[:-1] for row in table]
    return header, table


def _role(finalist: Finalist) -> str:
    if finalist.is_baseline:
        return " (baseline)"
    number = finalist.starting_point
    return "" if number is None else f" (starting point {number})"


def _costs(finalist: Finalist) -> str:
    return ", ".join(f"{cost:,.5g}" for cost in finalist.costs)


def _end(finalist: Finalist, seeds: list[int]) -> str:
    """After which seed the finalist was given up, or why it failed; empty while it is alive."""
    if finalist.dropped_in:
        return f"after seed {seeds[finalist.dropped_in - 1]}"
    return ", ".join(finalist.failures.values())


def _repeat(finalist: Finalist, seed: int) -> str:
    value = finalist.repeats.get(seed)
    return finalist.failures.get(seed, "") if value is None else f"{value:.4f}"
