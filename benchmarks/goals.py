"""The figures of `make bench`, by part, and their goals."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COMPARE = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}
UNITS = {
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
    """The goal of a figure: it is reached if `value sign goal` holds, as in `12 ≥ 10`."""

    sign: str
    goal: float
    unit: str

    def value_text(self, value: float) -> str:
        return UNITS[self.unit].format(value)

    @property
    def goal_text(self) -> str:
        return f"{self.sign} {self.value_text(self.goal)}"


# docs/benchmarks.md says what each figure is.
PARTS = {
    "throughput": {
        "ratio_kerastuner_random": Goal("≥", 5, "×"),
        "ratio_optuna_script": Goal("≥", 5, "×"),
    },
    "time-to-accuracy": {
        "ratio_time_to_accuracy": Goal("≥", 20, "×"),
        "fasttext_accuracy_gain": Goal(">", 0, "points"),
    },
    "step": {
        "ratio_keras_lstm": Goal("≥", 2.5, "×"),
        "ratio_floor": Goal("≤", 1.6, "×"),
    },
    "scale": {
        "share_train_evaluate": Goal("≥", 0.97, "%"),
        "view_ms": Goal("<", 50, "ms"),
        "tokenizing_growth": Goal("≤", 1.2, "×"),
        "peak_memory_gib": Goal("<", 6, "GiB"),
        "ngram_seconds": Goal("<", 180, "s"),
        "ngram_memory_gib": Goal("<", 6, "GiB"),
        "coordinator_share_trial_10": Goal("<", 0.02, "%"),
        "coordinator_share_trial_5000": Goal("<", 0.02, "%"),
    },
    "confirmation": {
        "confirmation_coverage": Goal("≥", 0.93, "%"),
        "confirmation_false_better": Goal("≤", 0.025, "%"),
        "confirmation_lower_regret": Goal("≥", 9, ""),
    },
    "samplers": {
        "flat_trials_50": Goal("≤", 17, ""),
        "flat_trials_100": Goal("≤", 25, ""),
        "workers_trials_50": Goal("≤", 30, ""),
        "workers_difference": Goal("<", 0, ""),
        "conditional_trials_50": Goal("≤", 35, ""),
        "conditional_trials_100": Goal("≤", 50, ""),
        "conditional_difference": Goal("<", 0, ""),
    },
    "serving": {
        "serve_reviews_per_second": Goal("≥", 1_000, ""),
        "serve_p99_ms": Goal("≤", 500, "ms"),
        "serve_single_per_second": Goal("≥", 1_000, ""),
        "predict_reviews_per_second": Goal("≥", 5_000, ""),
    },
    "whole-run": {
        "run_minutes": Goal("≤", 12, "min"),
        "run_minutes_baseline": Goal("≤", 5, "min"),
        "export_seconds": Goal("≤", 60, "s"),
    },
}
GOALS = {name: goal for goals in PARTS.values() for name, goal in goals.items()}


def figure(name: str, value: float | str, *, cpu: float | None = None) -> dict[str, Any]:
    """`value` is the reason if it could not be measured; `cpu` is the value of a ratio in CPU
    seconds, which has no goal.
    """
    goal = GOALS[name]
    figure: dict[str, Any] = {"value": None, "goal": goal.goal, "sign": goal.sign, "reached": False}
    if isinstance(value, str):
        return {**figure, "note": value}
    reached = bool(COMPARE[goal.sign](value, goal.goal))
    in_cpu_seconds = {} if cpu is None else {"cpu_value": round(cpu, 5)}
    return {**figure, "value": round(value, 5), "reached": reached, **in_cpu_seconds}


def figures(values: Mapping[str, float | str]) -> dict[str, dict[str, Any]]:
    return {name: figure(name, value) for name, value in values.items()}


def rows(part: str, record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = []
    for name, goal in PARTS[part].items():
        figure = record[name]
        value = figure["value"]
        measured = figure["note"] if value is None else goal.value_text(value)
        if "cpu_value" in figure:
            measured += f" ({goal.value_text(figure['cpu_value'])} in CPU seconds)"
        reached = "reached" if figure["reached"] else "not reached"
        table.append((name, measured, goal.goal_text, reached))
    return table
