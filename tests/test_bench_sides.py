"""The sides of a comparison on a throttled or busy machine, and the tables of several data sets."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from benchmarks import shared_readings, shared_study
from benchmarks.calibration import Calibration, calibrate
from benchmarks.page import write_page
from benchmarks.processes import (
    adopt_orphans,
    cpu_seconds,
    end_fork_server,
    in_fresh_process,
    lines_of,
)
from benchmarks.settings import Settings
from benchmarks.sides import Attempt, Sides, Use, others_share, read_use, reason_of
from benchmarks.tables import noise_sentences, part_tables
from benchmarks.throughput import ratio_of, sources
from tuning.config import DataConfig
from tuning.errors import ArgumentError

FREE = Calibration(1.0, 1.0)
THROTTLED = Calibration(2.0, 1.0)  # the wall time is twice the CPU time
SLOW = Calibration(1.5, 1.5)  # the CPU time itself is longer


def sides_with(calibrations: Iterator[Calibration], *, repeats: int = 2) -> Sides:
    """Return sides on a machine that has these calibrations, and runs no other programs."""
    seconds = iter(range(10**6))
    return Sides(
        repeats,
        partial(next, calibrations),
        show=print,
        n_cores=1,
        read_use=lambda: Use(float(next(seconds)), 0.0, 0.0),
        pause=lambda: None,
    )


@pytest.mark.parametrize(
    ("before", "after", "others", "is_disturbed"),
    [
        (FREE, FREE, 0.0, False),
        (FREE, Calibration(1.1, 1.0), 0.05, False),
        (THROTTLED, FREE, 0.0, True),
        (FREE, THROTTLED, 0.0, True),
        (FREE, SLOW, 0.0, True),
        (FREE, Calibration(0.5, 0.5), 0.0, True),
        (FREE, FREE, 0.2, True),
    ],
)
def test_side_is_disturbed_if_the_machine_was_throttled_busy_or_at_another_speed(
    before: Calibration, after: Calibration, others: float, is_disturbed: bool
) -> None:
    described = Attempt(before, after, others).describe(FREE)
    assert described["disturbed"] is is_disturbed
    assert bool(reason_of(described)) is is_disturbed


def test_undisturbed_side_is_measured_once() -> None:
    sides = sides_with(iter([FREE] * 3 + [FREE] * 2))
    assert sides.measure("ours", iter("abc").__next__) == "a"
    assert [attempt["kept"] for attempt in sides.record()["sides"]["ours"]] == [True]


def test_throttled_side_is_measured_again() -> None:
    calibrations = [FREE] * 3 + [FREE, THROTTLED] + [FREE, FREE]
    sides = sides_with(iter(calibrations))
    assert sides.measure("ours", iter("abc").__next__) == "b"
    attempts = sides.record()["sides"]["ours"]
    assert [attempt["disturbed"] for attempt in attempts] == [True, False]
    assert [attempt["kept"] for attempt in attempts] == [False, True]
    assert attempts[0]["after"] == {"wall_ratio": 2.0, "speed": 1.0}


def test_side_that_stays_throttled_keeps_its_least_disturbed_measurement() -> None:
    less = Calibration(1.4, 1.0)
    calibrations = [FREE] * 3 + [FREE, THROTTLED] + [FREE, less] + [FREE, THROTTLED]
    sides = sides_with(iter(calibrations))
    assert sides.measure("ours", iter("abc").__next__) == "b"
    attempts = sides.record()["sides"]["ours"]
    assert [attempt["kept"] for attempt in attempts] == [False, True, False]
    assert noise_sentences("fasttext", {"noise": sides.record()}) == [
        "this program was measured 3 times and stayed disturbed:"
        " wall time was 1.40 × CPU time after it."
    ]


def test_side_waits_until_the_machine_is_calm() -> None:
    calibrations = [FREE] * 3 + [THROTTLED, THROTTLED, FREE] + [FREE]
    sides = sides_with(iter(calibrations), repeats=0)
    assert sides.measure("ours", lambda: 1) == 1
    assert sides.record()["sides"]["ours"][0]["before"]["wall_ratio"] == 1.0


def test_reference_is_the_fastest_of_the_first_calibrations() -> None:
    assert sides_with(iter([SLOW, FREE, SLOW])).reference == FREE


def test_repeated_and_undisturbed_sides_are_named() -> None:
    sides = sides_with(iter([FREE] * 3 + [FREE, THROTTLED] + [FREE] * 2 + [FREE] * 2))
    sides.measure("ours", lambda: 1)
    sides.measure("fasttext", lambda: 1)
    assert noise_sentences("fasttext", {"noise": sides.record()}) == [
        "this program was measured 2 times, the last time without a disturbance."
    ]
    calm = sides_with(iter([FREE] * 5))
    calm.measure("ours", lambda: 1)
    assert noise_sentences("fasttext", {"noise": calm.record()}) == ["No side was disturbed."]


def test_share_of_other_programs_leaves_out_this_one() -> None:
    before, after = Use(0.0, 100.0, 10.0), Use(10.0, 118.0, 24.0)
    assert others_share(before, after, n_cores=2) == pytest.approx(0.2)
    assert others_share(before, Use(10.0, 114.0, 25.0), n_cores=2) == 0.0


def test_machine_s_use_includes_that_of_this_process() -> None:
    first = read_use()
    sum(number & 7 for number in range(3_000_000))
    second = read_use()
    assert second.own_seconds > first.own_seconds
    assert second.all_seconds >= first.all_seconds


def use_cpu(seconds: float) -> None:
    """Work for some CPU seconds of this process."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def work_in_a_worker(seconds: float) -> None:
    worker = get_context("forkserver").Process(target=use_cpu, args=(seconds,))
    worker.start()
    worker.join()


def used_by(function: Callable[..., None], log_path: Path) -> float:
    """Return the CPU seconds of a fresh process that works for 1 CPU second, or its worker does."""
    before = cpu_seconds()
    in_fresh_process(function, log_path=log_path, seconds=1.0)
    return cpu_seconds() - before


@pytest.mark.nightly
def test_workers_of_a_fresh_process_count_to_this_program(tmp_path: Path) -> None:
    """The fork server of a process outlives it, unless the process ends the server. It takes more
    CPU time to start a server and a worker too.
    """
    log_path = tmp_path / "log"
    assert used_by(work_in_a_worker, log_path) > used_by(use_cpu, log_path)


def cpu_of_a_command(*, data: str, folder: str) -> tuple[float, float]:
    """Return the CPU seconds that the processes of a command had at its last line, and those that
    count to this process afterwards.
    """
    adopt_orphans()
    before, at_last_line = cpu_seconds(), 0.0
    flags = ["--data", data, "--results", folder, "--n-trials", "1", "--epochs", "1"]
    for pid, _, _ in lines_of(["tune", "--space", "mean_embedding", *flags, "--no-confirm"]):
        at_last_line = cpu_seconds(pid)
    end_fork_server()
    return at_last_line, cpu_seconds() - before


@pytest.mark.nightly
def test_fork_server_of_a_command_counts_to_this_program(reviews_csv: Path, tmp_path: Path) -> None:
    """It outlives the command, so nobody would have waited for it."""
    data, folder = str(reviews_csv), str(tmp_path / "results")
    at_last_line, afterwards = in_fresh_process(
        cpu_of_a_command, log_path=tmp_path / "log", data=data, folder=folder
    )
    assert 0 < at_last_line <= afterwards


def test_calibration_runs_on_all_cores_at_once() -> None:
    calibration = calibrate(2, share=0.01)
    assert calibration.cpu_seconds > 0
    # A process has one thread, so its CPU time is at most its time.
    assert calibration.wall_ratio > 0.5


def test_data_sets_are_the_film_reviews_the_amazon_reviews_and_the_call_s(tmp_path: Path) -> None:
    amazon, own = tmp_path / "amazon.csv", DataConfig(data="a/own.csv", text_column="body")
    data_sets = sources(Settings(data=own, amazon=str(amazon)))
    names = [data_set.name for data_set in data_sets]
    assert names == ["film reviews", "Amazon reviews", "own.csv"]
    reasons = [data_set.missing for data_set in data_sets]
    assert reasons == ["", f"the file {amazon} does not exist", ""]
    amazon.touch()
    data_sets = sources(Settings(amazon=str(amazon)))
    assert [bool(data_set.missing) for data_set in data_sets] == [False, False, True]
    assert data_sets[2].missing == "no other file was given with DATA="
    assert data_sets[0].data == DataConfig()


def test_data_set_of_the_call_is_not_measured_twice(tmp_path: Path) -> None:
    amazon = tmp_path / "amazon.csv"
    amazon.touch()
    own = DataConfig(data=str(amazon), text_column="review_body")
    data_sets = sources(Settings(data=own, amazon=str(amazon)))
    assert [data_set.data for data_set in data_sets if not data_set.missing] == [DataConfig(), own]


def test_ratio_is_that_of_wall_and_of_cpu_seconds() -> None:
    peer, own = {"seconds": 30.0, "cpu_seconds": 40.0}, {"seconds": 10.0, "cpu_seconds": 20.0}
    assert ratio_of(peer, own) == {"wall": 3.0, "cpu": 2.0}


def side(seconds: float) -> dict[str, Any]:
    trials = [{"val_accuracy": 0.8, "seconds": 1.0}]
    return {
        "seconds": seconds,
        "cpu_seconds": 2 * seconds,
        "trials_an_hour": 3600 / seconds,
        "mean_val_accuracy": 0.8,
        "trials": trials,
    }


def throughput_record() -> dict[str, Any]:
    """Return the record of two data sets and a missing one."""
    sides = sides_with(iter([FREE] * 3 + [FREE, THROTTLED]), repeats=0)
    sides.measure("ours", lambda: 1)
    names = ("kerastuner_random", "optuna_script", "kerastuner_default_space")
    sets = [
        {
            "name": name,
            "ratios": {f"ratio_{peer}": {"wall": wall, "cpu": wall / 2} for peer in names},
            "sides": {"ours": side(10.0), "kerastuner_random": side(10.0 * wall)},
            "noise": sides.record(),
        }
        for name, wall in (("film reviews", 3.0), ("own.csv", 4.0))
    ]
    missing = [{"name": "Amazon reviews", "reason": "the file amazon.csv.gz does not exist"}]
    return {"data_sets": sets, "missing": missing}


def test_table_has_a_column_for_each_data_set() -> None:
    ((columns, lines),) = part_tables("throughput", throughput_record())
    assert columns == ("figure", "film reviews", "own.csv", "Amazon reviews")
    table = {line[0]: line[1:] for line in lines}
    assert table["measured"] == ("yes", "yes", "no: the file amazon.csv.gz does not exist")
    assert table["KerasTuner RandomSearch: ratio of wall seconds"] == ("3.00 ×", "4.00 ×", "")
    assert table["KerasTuner RandomSearch: ratio of CPU seconds"] == ("1.50 ×", "2.00 ×", "")
    assert table["this program: CPU seconds"] == ("20.0", "20.0", "")
    assert all(len(line) == len(columns) for line in lines)


def test_table_of_the_default_search_names_the_accuracy_that_was_not_reached() -> None:
    ratios = {
        "ratio_fasttext": {"wall": 2.0, "cpu": 1.5, "note": ""},
        "ratio_kerastuner_default_space": {"wall": None, "cpu": None, "note": "not reached"},
    }
    ((_, lines),) = part_tables("time-to-accuracy", {"ratios": ratios})
    assert [line[1:] for line in lines] == [("2.00 ×", "1.50 ×"), ("not reached", "not reached")]


def test_page_shows_the_data_sets_and_the_sides_that_stayed_throttled(tmp_path: Path) -> None:
    facts = {
        "machine": {"cpu": "a processor", "cores": 2, "memory_gib": 4},
        "data": {"name": "own.csv", "fingerprint": "abc", "n_rows": {"train": 1}},
        **{"date": "2026-01-02", "command": "x", "versions": {}, "seed": 0, "n_workers": 1},
    }
    page = write_page(tmp_path, {"throughput": {**facts, **throughput_record()}}, tiny=True)
    text = page.read_text()
    assert "<th>own.csv" in text and "the file amazon.csv.gz does not exist" in text
    assert "film reviews: this program was measured once and stayed disturbed" in text


def reading(moment: float, **changes: float) -> shared_readings.Reading:
    names = ("cpu", "n_trials", "idle", "waited", "held", "held_cpu")
    counters: dict[str, Any] = dict.fromkeys(names, 0)
    return shared_readings.Reading(moment, **{**counters, **changes})


def test_coordinator_is_measured_between_two_readings() -> None:
    first = reading(10.0, cpu=1.0, n_trials=5, idle=7.0)
    last = reading(30.0, cpu=3.0, n_trials=15, idle=17.0, waited=1.0, held=2.0, held_cpu=1.5)
    coordinator_figures = shared_readings.between(first, last, n_workers=10)
    assert coordinator_figures == {
        "n_trials": 10,
        "seconds": 20.0,
        "cpu_seconds_a_trial": 0.2,
        "cpu_share": 0.1,
        "lock_seconds": 0.2,
        "lock_cpu_seconds": 0.15,
        "lock_wait_seconds": 0.1,
        "idle_share": 0.05,
    }
    with pytest.raises(ArgumentError, match="no training ended"):
        shared_readings.between(first, first, n_workers=10)
    busier = {**coordinator_figures, "n_trials": 30, "lock_seconds": 0.4, "idle_share": 0.15}
    both = shared_readings.summary_of([coordinator_figures, busier])
    assert both["n_trials"] == 40 and both["lock_seconds"] == pytest.approx(0.35)
    assert both["idle_share"] == pytest.approx(0.1)


@pytest.mark.nightly
def test_coordinators_that_share_a_study_are_measured(tmp_path: Path) -> None:
    case = shared_study.Case(
        url=f"sqlite:///{tmp_path}/shared.db",
        n_coordinators=2,
        n_workers=2,
        trial_seconds=3.0,
        n_rounds=2,
        n_before=20,
        n_elsewhere=7,
    )
    measurements = shared_study.measure(case)
    assert "url" not in measurements["case"] and len(measurements["coordinators"]) == 2
    for coordinator_figures in measurements["coordinators"]:
        assert coordinator_figures["n_trials"] >= 1
        assert 0 < coordinator_figures["cpu_share"] <= 1.1
        assert coordinator_figures["lock_seconds"] > 0
    assert measurements["server_cpu_seconds_a_trial"] is None
