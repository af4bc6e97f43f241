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
    costs = ["other objectives"] if confirmation.has_costs else []
    header = [
        "trial",
        "in the search",
        *costs,
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "given up",
    ]
    table = []
    for finalist in confirmation.finalists:
        label = f"{finalist.trial}{_role(finalist)}"
        repeats = [_cell(finalist, seed) for seed in seeds]
        mean = estimates.means.get(finalist.trial)
        end = (
            f"after seed {confirmation.seeds[finalist.dropped_in - 1]}"
            if finalist.dropped_in
            else ", ".join(finalist.failures.values())
        )
        others = [", ".join(f"{cost:,.5g}" for cost in finalist.costs)] if costs else []
        table.append(
            [
                label,
                f"{finalist.search_value:.4f}",
                *others,
                *repeats,
                str(mean) if mean else "",
                end,
            ]
        )
    if not any(row[-1] for row in table):
        return header[:-1], [row[:-1] for row in table]
    return header, table


def _role(finalist: Finalist) -> str:
    if finalist.is_baseline:
        return " (baseline)"
    number = finalist.starting_point
    return "" if number is None else f" (starting point {number})"


def _cell(finalist: Finalist, seed: int) -> str:
    value = finalist.repeats.get(seed)
    return finalist.failures.get(seed, "") if value is None else f"{value:.4f}"
