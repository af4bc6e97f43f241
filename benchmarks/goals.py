"""The goals of `make bench`, and the comparison of measured figures with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.goal import Goal

PARTS = (
    "throughput",
    "time-to-accuracy",
    "fasttext",
    "step",
    "scale",
    "scale-out",
    "confirmation",
    "serving",
    "whole-run",
)
GOALS = {
    goal.name: goal
    for goal in (
        Goal(
            "throughput",
            "ratio_kerastuner_random",
            "8 fixed trials, against KerasTuner's RandomSearch (worst data set)",
            "≥",
            5,
            "×",
            10,
        ),
        Goal(
            "throughput",
            "ratio_optuna_script",
            "8 fixed trials, against a plain Optuna script (worst data set)",
            "≥",
            5,
            "×",
            10,
        ),
        Goal(
            "time-to-accuracy",
            "ratio_time_to_accuracy",
            "time to the accuracy of KerasTuner's better tuner",
            "≥",
            20,
            "×",
            50,
        ),
        Goal(
            "fasttext",
            "fasttext_accuracy_gain",
            "test accuracy minus fastText autotune's, equal minutes",
            ">",
            0,
            "points",
        ),
        Goal(
            "step",
            "ratio_keras_lstm",
            "training step against keras.layers.LSTM, 16 and 32 units (worst)",
            "≥",
            2.5,
            "×",
        ),
        Goal(
            "step",
            "ratio_floor",
            "training step over its sgemm floor, 64 and 128 units (worst)",
            "≤",
            1.6,
            "×",
        ),
        Goal(
            "step", "ratio_pytorch", "training step against PyTorch's nn.LSTM (worst)", ">", 1, "×"
        ),
        Goal(
            "scale",
            "share_train_evaluate",
            "worker time in training and evaluation, 20 trials",
            "≥",
            0.97,
            "%",
        ),
        Goal("scale", "view_ms", "data view for a trial, 100,000 reviews", "<", 50, "ms"),
        Goal("scale", "view_tokenizations", "texts tokenized for that view", "≤", 0, ""),
        Goal(
            "scale",
            "tokenizing_growth",
            "tokenizing seconds per row, worst size over 10,000 rows",
            "≤",
            1.2,
            "×",
        ),
        Goal(
            "scale",
            "peak_memory_gib",
            "peak memory of coordinator and worker, 1,000,000 reviews",
            "<",
            6,
            "GiB",
        ),
        Goal("scale", "ngram_seconds", "counting the n-grams of 1,000,000 reviews", "<", 180, "s"),
        Goal("scale", "ngram_memory_gib", "peak memory of counting those n-grams", "<", 6, "GiB"),
        Goal(
            "scale",
            "worker_memory_growth",
            "resident memory of a worker, trials 181–200 over 11–30",
            "<",
            0.05,
            "%",
        ),
        Goal(
            "scale",
            "coordinator_share_trial_10",
            "coordinator time at trial 10, of a 10 s trial",
            "<",
            0.02,
            "%",
        ),
        Goal(
            "scale",
            "coordinator_share_trial_5000",
            "coordinator time at trial 5,000, of a 10 s trial",
            "<",
            0.02,
            "%",
        ),
        Goal(
            "scale-out",
            "idle_share_100_workers",
            "idle share of up to 100 workers, 60 s a trial, 10,000 trials (worst)",
            "<",
            0.05,
            "%",
        ),
        Goal(
            "confirmation",
            "confirmation_coverage",
            "searches whose confirmed value's interval contains the truth (worst data set)",
            "≥",
            0.9,
            "%",
        ),
        Goal(
            "confirmation",
            "confirmation_false_better",
            "confirmations that report a better finalist although all five equal the baseline"
            " (worst case)",
            "≤",
            0.025,
            "%",
        ),
        Goal(
            "confirmation",
            "confirmation_lower_regret",
            "data sets of 12 with a lower regret than Optuna's best trial",
            "≥",
            9,
            "",
        ),
        Goal(
            "serving",
            "serve_reviews_per_second",
            "reviews a second of `make serve`, 100 a request (slower model)",
            "≥",
            1_000,
            "",
        ),
        Goal(
            "serving",
            "serve_p99_ms",
            "99th percentile of those requests (slower model)",
            "≤",
            500,
            "ms",
        ),
        Goal(
            "serving",
            "serve_single_per_second",
            "reviews a second of `make serve`, one a request (slower model)",
            "≥",
            1_000,
            "",
        ),
        Goal(
            "serving",
            "predict_reviews_per_second",
            "reviews a second of `make predict FILE=` (slower model)",
            "≥",
            5_000,
            "",
        ),
        Goal("whole-run", "run_minutes", "`make tune` and `make export-best`", "≤", 12, "min"),
        Goal(
            "whole-run",
            "run_minutes_baseline",
            "the same with `SPACE=baseline_lstm`",
            "≤",
            5,
            "min",
        ),
        Goal("whole-run", "export_seconds", "`make export-best` of the first", "≤", 60, "s"),
    )
}


def figures(
    values: Mapping[str, float | None],
    *,
    notes: Mapping[str, str] | None = None,
    cpu: Mapping[str, float | None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the figures of measured values, each with its goal, by name. `cpu` has the values in
    CPU seconds of some figures.

    Raises:
        KeyError: no goal has this name.
    """
    return {
        name: GOALS[name].figure(value, note=(notes or {}).get(name, ""), cpu=(cpu or {}).get(name))
        for name, value in values.items()
    }


def rows(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return rows (figure, measured, goal, "reached" or "not reached") of the goals of the parts in
    `records`, which are by part.
    """
    table = []
    for goal in GOALS.values():
        if goal.part in records:
            figure = records[goal.part].get(goal.name, goal.figure(None, note="not measured"))
            measured = (
                figure.get("note", "not measured")
                if figure["value"] is None
                else goal.measured_text(figure)
            )
            table.append(
                (
                    goal.text,
                    measured,
                    goal.goal_text,
                    "reached" if figure["reached"] else "not reached",
                )
            )
    return table
