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

    text: str
    sign: str
    goal: float
    unit: str

    def value_text(self, value: float) -> str:
        return UNITS[self.unit].format(value)

    @property
    def goal_text(self) -> str:
        return f"{self.sign} {self.value_text(self.goal)}"


PARTS = {
    "throughput": {
        "ratio_kerastuner_random": Goal(
            "8 fixed trials, against KerasTuner's RandomSearch (worst data set)", "≥", 5, "×"
        ),
        "ratio_optuna_script": Goal(
            "8 fixed trials, against a plain Optuna script (worst data set)", "≥", 5, "×"
        ),
    },
    "time-to-accuracy": {
        "ratio_time_to_accuracy": Goal(
            "time to the accuracy of KerasTuner's better tuner", "≥", 20, "×"
        ),
        "fasttext_accuracy_gain": Goal(
            "test accuracy minus fastText autotune's, equal minutes", ">", 0, "points"
        ),
    },
    "step": {
        "ratio_keras_lstm": Goal(
            "training step against keras.layers.LSTM, 16 and 32 units (worst)", "≥", 2.5, "×"
        ),
        "ratio_floor": Goal(
            "training step over its sgemm floor, 64 and 128 units (worst)", "≤", 1.6, "×"
        ),
        "ratio_pytorch": Goal("training step against PyTorch's nn.LSTM (worst)", ">", 1, "×"),
    },
    "scale": {
        "share_train_evaluate": Goal(
            "worker time in training and evaluation, 20 trials", "≥", 0.97, "%"
        ),
        "view_ms": Goal("data view for a trial, 100,000 reviews", "<", 50, "ms"),
        "view_tokenizations": Goal("texts tokenized for that view", "≤", 0, ""),
        "tokenizing_growth": Goal(
            "tokenizing seconds per row, worst size over 10,000 rows", "≤", 1.2, "×"
        ),
        "peak_memory_gib": Goal(
            "peak memory of coordinator and worker, 1,000,000 reviews", "<", 6, "GiB"
        ),
        "ngram_seconds": Goal("counting the n-grams of 1,000,000 reviews", "<", 180, "s"),
        "ngram_memory_gib": Goal("peak memory of counting those n-grams", "<", 6, "GiB"),
        "worker_memory_growth": Goal(
            "resident memory of a worker, trials 181–200 over 11–30", "<", 0.05, "%"
        ),
        "coordinator_share_trial_10": Goal(
            "coordinator time at trial 10, of a 10 s trial", "<", 0.02, "%"
        ),
        "coordinator_share_trial_5000": Goal(
            "coordinator time at trial 5,000, of a 10 s trial", "<", 0.02, "%"
        ),
    },
    "confirmation": {
        "confirmation_coverage": Goal(
            "searches whose confirmed value's interval contains the truth (worst data set)",
            "≥",
            0.9,
            "%",
        ),
        "confirmation_false_better": Goal(
            "confirmations that report a better finalist although all five equal the baseline"
            " (worst case)",
            "≤",
            0.025,
            "%",
        ),
        "confirmation_lower_regret": Goal(
            "data sets of 12 with a lower regret than Optuna's best trial", "≥", 9, ""
        ),
    },
    "samplers": {
        "flat_trials_50": Goal("trials to the regret of 50 random ones, flat space", "≤", 17, ""),
        "flat_trials_100": Goal("trials to the regret of 100 random ones, flat space", "≤", 25, ""),
        "workers_trials_50": Goal(
            "trials to the regret of 50 random ones, flat space, 8 workers", "≤", 30, ""
        ),
        "workers_difference": Goal(
            "regret minus that of random draws after 50 trials, flat space, 8 workers (upper end of"
            " the interval)",
            "<",
            0,
            "",
        ),
        "conditional_trials_50": Goal(
            "trials to the regret of 50 random ones, conditional space", "≤", 35, ""
        ),
        "conditional_trials_100": Goal(
            "trials to the regret of 100 random ones, conditional space", "≤", 50, ""
        ),
        "conditional_difference": Goal(
            "regret minus that of random draws after 50 trials, conditional space (upper end of the"
            " interval)",
            "<",
            0,
            "",
        ),
        "asha_difference": Goal(
            "regret with ASHA after 50 epochs minus that of TPE without a pruner after 100",
            "≤",
            0,
            "",
        ),
    },
    "serving": {
        "serve_reviews_per_second": Goal(
            "reviews a second of `make serve`, 100 a request (slower model)", "≥", 1_000, ""
        ),
        "serve_p99_ms": Goal("99th percentile of those requests (slower model)", "≤", 500, "ms"),
        "serve_single_per_second": Goal(
            "reviews a second of `make serve`, one a request (slower model)", "≥", 1_000, ""
        ),
        "predict_reviews_per_second": Goal(
            "reviews a second of `make predict FILE=` (slower model)", "≥", 5_000, ""
        ),
    },
    "whole-run": {
        "run_minutes": Goal("`make tune` and `make export-best`", "≤", 12, "min"),
        "run_minutes_baseline": Goal("the same with `SPACE=baseline_lstm`", "≤", 5, "min"),
        "export_seconds": Goal("`make export-best` of the first", "≤", 60, "s"),
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
        table.append((goal.text, measured, goal.goal_text, reached))
    return table
