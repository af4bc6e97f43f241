"""The tables of a part beside the table of its goals, and the sentences about the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.sides import reason_of

# The names of the sides, as the tables, sentences and figures show them.
NAMES = {
    "ours": "this program",
    "ours_default_space": "this program, default space",
    "kerastuner_random": "KerasTuner RandomSearch",
    "kerastuner_hyperband": "KerasTuner Hyperband",
    "kerastuner_default_space": "KerasTuner, default space",
    "optuna_script": "Optuna script",
    "fasttext": "fastText's autotune",
    "reviews": "the default space",
    "baseline_lstm": "the space baseline_lstm",
}

# The lines of the table of throughput for each side: key in the record, name and format.
SIDE_VALUES = (
    ("trials_an_hour", "trials per hour", "{:.1f}"),
    ("seconds", "wall seconds", "{:.1f}"),
    ("cpu_seconds", "CPU seconds", "{:.1f}"),
    ("mean_val_accuracy", "mean validation accuracy", "{:.4f}"),
)

Line = tuple[str, ...]
PartTable = tuple[Line, list[Line]]  # the names of the columns, and the lines


def part_tables(part: str, record: Mapping[str, Any]) -> list[PartTable]:
    """Return the tables of a part's record; none for most parts."""
    if part == "throughput" and "data_sets" in record:
        return [_throughput(record)]
    if part == "time-to-accuracy" and record.get("ratios"):
        return [_time_to_accuracy(record)]
    return []


def _throughput(record: Mapping[str, Any]) -> PartTable:
    """Return a table with a line for each figure, and a column for each data set, also for a
    missing data set.
    """
    data_sets = record["data_sets"]
    missing = record["missing"]
    columns = ("figure", *(data_set["name"] for data_set in (*data_sets, *missing)))
    # The first line contains the reason why a data set is missing.
    lines: list[Line] = [
        (
            "measured",
            *("yes" for _ in data_sets),
            *(f"no: {data_set['reason']}" for data_set in missing),
        )
    ]
    for name in data_sets[0]["ratios"]:
        peer = NAMES[name.removeprefix("ratio_")]
        for kind, words in (("wall", "wall"), ("cpu", "CPU")):
            values = (f"{data_set['ratios'][name][kind]:.2f} ×" for data_set in data_sets)
            lines.append((f"{peer}: ratio of {words} seconds", *values, *("" for _ in missing)))
    for name in data_sets[0]["sides"]:
        for key, words, form in SIDE_VALUES:
            values = (form.format(data_set["sides"][name][key]) for data_set in data_sets)
            lines.append((f"{NAMES[name]}: {words}", *values, *("" for _ in missing)))
    return columns, lines


def _time_to_accuracy(record: Mapping[str, Any]) -> PartTable:
    """Return a table with a line for each peer of the default search."""
    lines = []
    for name, ratio in record["ratios"].items():
        peer = NAMES[name.removeprefix("ratio_")]
        shown = [
            ratio["note"] if ratio[kind] is None else f"{ratio[kind]:.2f} ×"
            for kind in ("wall", "cpu")
        ]
        lines.append((f"time of the default search to the accuracy of {peer}", *shown))
    return ("figure", "wall seconds", "CPU seconds"), lines


def noise_sentences(part: str, record: Mapping[str, Any]) -> list[str]:
    """Return sentences that name the sides of a part that were measured more than once or stayed
    disturbed; none for a part that compares no sides.
    """
    if part == "throughput":
        return [
            f"{data_set['name']}: {sentence}"
            for data_set in record.get("data_sets", [])
            for sentence in side_sentences(data_set["noise"])
        ]
    return side_sentences(record["noise"]) if "noise" in record else []


def side_sentences(noise: Mapping[str, Any]) -> list[str]:
    """Return the sentences about the sides of one comparison."""
    sentences = [
        sentence
        for side, attempts in noise["sides"].items()
        for sentence in _sentence(NAMES.get(side, side), attempts)
    ]
    return sentences or ["No side was disturbed."]


def _sentence(side: str, attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sentence about a side; none if its first measurement was not disturbed."""
    kept = next(attempt for attempt in attempts if attempt["kept"])
    times = "once" if len(attempts) == 1 else f"{len(attempts)} times"
    if kept["disturbed"]:
        return [f"{side} was measured {times} and stayed disturbed: {reason_of(kept)}."]
    again = f"{side} was measured {times}, the last time without a disturbance."
    return [again] if len(attempts) > 1 else []
