"""A study, its data card and its record as rows of text, for the report, the command line and
`trials.csv`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from tuning.config import AUTO_FOLDS_ROWS, MIN_TEXTS, SPLITS, StudyConfig, given
from tuning.confirmation.record import Confirmation
from tuning.fidelity import parts_per_epoch
from tuning.inputs.data_card import DataCard
from tuning.metrics import metric_text
from tuning.spaces.hyperparameters import optuna_names
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import value_text
from tuning.study.study import StudyRecord
from tuning.study.summary import PHASES, Best, Summary, best_of
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    epoch_values,
    is_paused,
    is_pruned_early,
    seconds_of,
    spread,
    starting_point_text,
    step_of,
    value_of,
    values_of,
)
from tuning.text import no_formula

MAX_NAMES = 12  # maximum number of classes that the data table lists
N_TABLE = 5
# A trial's attribute → the title of its column.
SIZES = {"n_parameters": "parameters", "latency_ms": "latency ms"}
# Fields of a study's configuration that are not flags of `tune`. The flags `--objectives`,
# `--min-texts` and `--folds` set the costs, the parts of an epoch and the number of folds.
NO_FLAGS = (
    *("train", "costs", "parts_per_epoch", "n_folds"),
    *("batch_size", "patience", "evaluates_fitted", "counts_validation"),
)


def trials_table(summary: Summary) -> pd.DataFrame:
    rows = []
    for trial in summary.trials:
        # A hyperparameter may have the name of a metric.
        hidden = {"seconds", *trial.params}
        attributes = {k: v for k, v in trial.user_attrs.items() if k not in hidden}
        seconds = {f"{phase}_seconds": seconds_of(trial).get(phase) for phase in PHASES}
        value = trial.values[0] if trial.values else None
        state = "PAUSED" if is_paused(trial) else trial.state.name
        own = {"number": trial.number, "state": state, "value": value}
        # A hyperparameter with the name of such a column has Optuna's name of its column.
        taken = own | seconds
        params = {f"params_{k}" if k in taken else k: v for k, v in trial.params.items()}
        rows.append({**own, **params, **attributes, **seconds})
    table = pd.DataFrame(
        [{no_formula(name): no_formula(value) for name, value in row.items()} for row in rows]
    )
    if "starting_point" in table:
        table["starting_point"] = table["starting_point"].astype("Int64")  # 2 and not 2.0
    return table


def trial_label(trial: FrozenTrial, summary: Summary, best: Best | None) -> str:
    roles = ["baseline"] if trial is summary.baseline else []
    point = attributes_of(trial).get("starting_point")
    roles += [] if point is None else [f"starting point {point}"]  # The label of a column is short.
    roles += ["confirmed best"] if best and best.is_confirmed and trial is best.trial else []
    return f"trial {trial.number} ({', '.join(roles)})" if roles else f"trial {trial.number}"


def with_best(
    trials: Sequence[FrozenTrial], summary: Summary, best: Best | None
) -> list[FrozenTrial]:
    shown = [*trials]
    for trial in (best.trial if best else None, summary.baseline):
        if trial is not None and trial not in shown:
            shown.append(trial)
    return shown


def best_rows(
    summary: Summary,
    space: SearchSpace,
    confirmation: Confirmation | None = None,
    *,
    n_front: int | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the best `N_TABLE` trials of the search, or of the Pareto front, at
    most `n_front` members at equal distances; None: all members.

    The confirmed best and the baseline are added at the end if they are not among these trials. The
    table has the number of parameters and the latency if the study limits or minimizes a cost.
    """
    names, sizes = searched_names(space), list[str]()
    if summary.counts_size:
        sizes = [name for name in SIZES if any(name in t.user_attrs for t in summary.ranked)]
    best, chosen = best_of(summary, confirmation), summary.ranked[:N_TABLE]
    if summary.has_costs:
        chosen = spread(summary.front, n_front or len(summary.front))
    rows = []
    for trial in with_best(chosen, summary, best):
        values = values_of(trial, space)
        rows.append(
            [
                trial_label(trial, summary, best).removeprefix("trial "),
                metric_text(value_of(trial)),
                *(size_text(name, trial.user_attrs.get(name)) for name in sizes),
                *(value_text(values.get(name)) for name in names),
                value_text(attributes_of(trial).get("best_epoch")),
                f"{busy_seconds(seconds_of(trial)):.0f}",
            ]
        )
    costs = [SIZES[name] for name in sizes]
    return ["trial", summary.metric, *costs, *names, "best epoch", "seconds"], rows


def searched_names(space: SearchSpace) -> list[str]:
    # A name may have several ranges, under conditions of their own.
    return list(dict.fromkeys(item.name for item in space.searched))


def size_text(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if name == "n_parameters" else f"{value:.2f}"


def trial_rows(summary: Summary, space: SearchSpace) -> tuple[list[str], list[list[str]]]:
    # Optuna's name of a parameter may contain a condition: `vocab_size[architecture=cnn]`.
    items = zip(optuna_names(space.hyperparameters), space.hyperparameters, strict=True)
    names, name_of = searched_names(space), {own: item.name for own, item in items}
    rows = []
    for trial in summary.trials:
        params = {name_of.get(own, own): value for own, value in trial.params.items()}
        rows.append(
            [
                str(trial.number),
                _state_text(trial),
                metric_text(trial.values[0]) if trial.values else "",
                *(value_text(params.get(name)) for name in names),
                f"{busy_seconds(seconds_of(trial)):.0f}",
            ]
        )
    return ["trial", "state", summary.metric, *names, "seconds"], rows


def _state_text(trial: FrozenTrial) -> str:
    attributes, why = attributes_of(trial), ""
    reason = attributes.get("reason", "unknown" if trial.state == TrialState.FAIL else "")
    if is_pruned_early(trial) and trial.intermediate_values:
        why = f" after {step_of(trial)} {max(epoch_values(trial)):g}"
    elif reason:
        why = f" ({reason})"
    elif "same_as" in attributes:
        why = f" (same as {attributes['same_as']})"
    state = "paused" if is_paused(trial) else trial.state.name.lower()
    role = starting_point_text(trial)
    return f"{state}{why}{f' ({role})' if role else ''}"


def counts_sentence(summary: Summary) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.failures.items()))
    over = f" ({summary.n_over_limit} over a limit)" if summary.n_over_limit else ""
    n_queued = summary.counts["waiting"]
    has_files = {*summary.failures} - {"lost"}
    see = " trials/NUMBER/error.txt has the reason of a failed trial." if has_files else ""
    return (
        f"{summary.counts['complete']} complete, {summary.counts['pruned']} pruned{over},"
        f" {summary.counts['fail']} failed{f' ({reasons})' if reasons else ''},"
        f" {summary.counts['running'] - summary.n_paused} running, {summary.n_paused} paused"
        f"{f', {n_queued} queued' if n_queued else ''}.{see}"
    )


def timings_sentence(summary: Summary) -> str:
    seconds = ", ".join(
        f"{phase.replace('_', ' ')} {value:.1f}"
        for phase, value in summary.seconds_by_phase.items()
    )
    share = ""
    if summary.overhead_share is not None:
        share = (
            f" {summary.overhead_share:.1%} of the workers' time was neither training nor"
            " evaluation."
        )
    return f"Seconds by phase of all trials: {seconds} (storage is the coordinator's).{share}"


def folds_sentence(config: StudyConfig, card: DataCard) -> str:
    n_folds = config.train.n_folds
    if n_folds == 1:
        return ""
    text = (
        f"Each trial is trained on {n_folds} folds of the {card.n_not_test:,} rows that are not"
        " test, and its value is their mean."
    )
    if config.data.time_column:
        text += " Each fold is trained on the rows before it; the first rows are only trained on."
    if card.counts_validation:
        text += " Words and n-grams are counted in all these rows, without labels."
    return text


def data_rows(card: DataCard) -> list[tuple[str, str]]:
    totals = [sum(counts) for counts in zip(*card.class_counts.values(), strict=True)]
    n_rows = sum(card.n_rows.values())
    of_names = [*zip(card.class_names, totals, strict=True)]
    shown, rest = of_names, ""
    if len(of_names) > MAX_NAMES:
        ranked = sorted(of_names, key=lambda each: -each[1])
        shown, (rarest, n_rarest) = ranked[: MAX_NAMES - 2], ranked[-1]
        n_more = len(ranked) - len(shown)
        rest = f" and {n_more} more, of which {rarest} is the rarest with {n_rarest:,}"
    counts = ", ".join(f"{name} {n:,} ({n / n_rows:.1%})" for name, n in shown) + rest
    splits = ", ".join(f"{name} {card.n_rows[name]:,}" for name in SPLITS)
    lengths = ", ".join(f"{p}% {n:,}" for p, n in _by_size(card.length_percentiles))
    unknown = ", ".join(
        f"{share:.1%} with {int(size):,} rows" for size, share in _by_size(card.unknown_share)
    )
    columns = f"columns {card.text_column or ''} and {card.label_column or ''}"
    return [
        ("source", f"{card.data or ''}, {columns}"),
        ("rows", f"{n_rows:,}: {splits}. {card.split_rule}"),
        (
            card.target.kind,
            "; ".join(filter(None, [card.doubts, card.class_rule, counts])),
        ),
        ("left out", _left_out(card)),
        ("tokens per text", lengths),
        ("words", f"{card.n_words:,} different words in {card.counted}"),
        (
            "unknown tokens",
            f"{unknown}; words that the training split lacks count as unknown"
            if card.counts_validation
            else unknown,
        ),
        (
            "duplicates",
            f"{card.n_duplicates:,} further copies of texts, each in the split of the first",
        ),
        ("fingerprint", card.fingerprint),
    ]


def _left_out(card: DataCard) -> str:
    parts = [f"{n:,} rows {why}" for why, n in (card.dropped or {}).items()]
    return "; ".join(parts) or "nothing"


def record_rows(record: StudyRecord, card: DataCard, *, n_trials: int) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return [
        ("command", _command(record.config, card, n_trials=n_trials)),
        ("created", record.created),
        ("versions", versions),
        ("git commit", record.git_commit or "none"),
        ("fingerprints", f"data {record.data_fingerprint}, space {record.space_fingerprint}"),
    ]


def _command(config: StudyConfig, card: DataCard, *, n_trials: int) -> str:
    train, n_texts = config.train, card.n_rows["train"]
    fields = {**vars(config), **vars(config.data), **vars(train)}
    settings = {name: value for name, value in fields.items() if name not in NO_FLAGS}
    settings |= {"class_weight": train.class_weight or None, "n_trials": n_trials}
    if config.costs:
        settings["objectives"] = ",".join([settings.pop("metric"), *config.costs])
    if train.parts_per_epoch != parts_per_epoch(n_texts, min_texts=MIN_TEXTS):
        settings["min_texts"] = n_texts // train.parts_per_epoch
    elif train.n_folds > 1 or card.n_not_test < AUTO_FOLDS_ROWS:
        settings["folds"] = train.n_folds
    return f"python -m tuning tune {shlex.join(flags_of(settings))}"


def flags_of(settings: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in given(**settings).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        # A tuple of numbers is a flag that is repeated.
        values = [f"{item:g}" for item in value] if isinstance(value, tuple) else [str(value)]
        words += [word for text in values for word in (f"--{flag}", text)]
    return words


def _by_size(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(values.items(), key=lambda pair: int(pair[0]))
