"""Searches on small data that are replayed on made-up trainings."""

import itertools
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from benchmarks import folds
from benchmarks.folds import (
    CROSS_VALIDATED,
    ONE_SPLIT,
    OURS,
    TRUTH_SEEDS,
    Rows,
    Table,
    Training,
    Trial,
    compare,
    draw,
    rows_of,
    search,
)
from tuning.atomic_io import read_json, write_json
from tuning.config import AUTO_FOLDS, DataConfig, StudyConfig
from tuning.spaces.ranges import Values
from tuning.training.fit import build_anew

QUALITIES = (0.6, 0.65, 0.7, 0.8, 0.62, 0.75, 0.68, 0.72)


class MadeUp:
    """Trainings whose best epoch is 2. A value is the quality of the configuration plus noise; the
    truth has no noise.
    """

    def __init__(self, noise: float) -> None:
        self.noise, self.n_measured = noise, 0

    def __call__(
        self, values: Values, rows: Rows, seed: int, epochs: float | None
    ) -> list[Training]:
        self.n_measured += 1
        quality, is_truth = float(values["quality"]), rows in (Rows.TRUTH, Rows.PART)
        scale = 0.0 if is_truth else self.noise
        rng = np.random.default_rng([seed, round(1000 * quality), len(rows)])
        n_epochs = 4 if epochs is None else int(epochs)

        def training() -> Training:
            shift = rng.normal(0, scale) if scale else 0.0
            curve = [quality + shift - 0.01 * abs(2 - epoch) for epoch in range(1, n_epochs + 1)]
            return Training(curve, 1, 2, start_seconds=1.0, epoch_seconds=0.5)

        return [training() for _ in range(AUTO_FOLDS if rows is Rows.FOLDS else 1)]


def made_up(*, seed: int = 0, noise: float = 0.0) -> Table:
    configurations: list[Values] = [{"quality": quality} for quality in QUALITIES]
    return Table(seed, configurations, {}, MadeUp(noise))


def test_without_noise_all_sides_choose_the_best_configuration() -> None:
    sides = compare(made_up())
    assert set(sides) == {OURS, ONE_SPLIT, CROSS_VALIDATED}
    for side in sides.values():
        assert side["regret"] == pytest.approx(0)
        assert side["lead"] == pytest.approx(0.2)
    assert sides[OURS]["error"] == pytest.approx(0)
    assert {name for name, side in sides.items() if "held_of_fold" in side} == {OURS}


def test_cross_validation_has_no_more_seconds_than_folds() -> None:
    sides = compare(made_up(noise=0.02))
    assert sides[CROSS_VALIDATED]["seconds"] <= sides[OURS]["seconds"]
    # Each of its configurations takes five folds of four epochs.
    assert sides[CROSS_VALIDATED]["seconds"] == sides[CROSS_VALIDATED]["n"] * 5 * (1 + 4 * 0.5)


def test_a_search_trains_bad_configurations_on_one_fold_and_the_baseline_on_all() -> None:
    table = made_up()
    trials = [Trial.of(table, number, Rows.FOLDS) for number in range(len(QUALITIES))]
    complete, seconds = search(trials, n_steps=AUTO_FOLDS)
    numbers = {trial.number for trial in complete}
    assert {0, 3} <= numbers
    assert 4 not in numbers
    assert seconds < sum(trial.seconds_anew for trial in trials)
    assert search(trials[:1], n_steps=AUTO_FOLDS) == (trials[:1], trials[0].seconds_anew)


def test_epochs_of_one_split_have_seconds_and_epoch_0_has_none() -> None:
    fitted = Training([0.8, 0.7, 0.7], 0, 0, start_seconds=1.0, epoch_seconds=0.5)
    table = Table(0, [{}], {}, lambda *_: [fitted])
    trial = Trial.of(table, 0, Rows.SPLIT)
    assert trial.steps == {0: (0.8, 1.0), 1: (0.7, 0.5), 2: (0.7, 0.5)}
    assert (trial.value, trial.epochs, trial.seconds_anew) == (0.8, 0, 2.0)
    assert trial.seconds_of_resuming(2) == 1.0


def test_folds_after_the_first_share_its_model_until_a_pause() -> None:
    first, *others = (Training([0.8], 1, 1, start, 0.5) for start in (1.0, 0.2, 0.2))
    trial = Trial.of(Table(0, [{}], {}, lambda *_: [first, *others]), 0, Rows.FOLDS)
    assert [seconds for _, seconds in trial.steps.values()] == pytest.approx([1.5, 0.7, 0.7])
    assert trial.seconds_anew == pytest.approx(4.5)
    assert trial.seconds_of_resuming(2) == pytest.approx(0.8)


@pytest.mark.slow
def test_trainer_trains_on_folds_that_share_a_model_and_on_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "N_TRUTH", 20)
    texts = [f"{'good' if row % 2 else 'bad'} number {row}" for row in range(90)]
    rows = pd.DataFrame({"text": texts, "label": np.arange(90) % 2})
    rows.to_csv(tmp_path / "reviews.csv", index=False)
    data, space = DataConfig(data=str(tmp_path / "reviews.csv")), "search_spaces/mean_embedding.py"
    trainer = folds.Trainer(data, space, tmp_path, n_rows=60, seed=0)
    values = draw(space, n_trials=1, seed=0)[0]
    with mock.patch("tuning.training.folds.build_anew", side_effect=build_anew) as build:
        numbers = [len(trainer(values, kind, 3, 1)) for kind in Rows]
    assert numbers == [AUTO_FOLDS, 1, 1, 1]
    build.assert_called_once()  # The folds share a model.


def test_folds_choose_better_than_one_noisy_split() -> None:
    searches = [compare(made_up(seed=seed, noise=0.05)) for seed in range(20)]
    regrets = {name: np.mean([s[name]["regret"] for s in searches]) for name in searches[0]}
    assert regrets[OURS] < regrets[ONE_SPLIT]
    ours, one_split, _ = rows_of(searches)
    assert float(ours[3]) == pytest.approx(100 * regrets[OURS], abs=0.005)
    behind = 100 * (regrets[ONE_SPLIT] - regrets[OURS])
    assert float(one_split[4].split()[0]) == pytest.approx(behind, abs=0.005)


def test_a_stored_subsample_is_trained_only_for_what_its_file_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version did not measure the truth of a fold's size."""
    measures = [MadeUp(0.02) for _ in range(3)]
    made = iter(measures)
    monkeypatch.setattr(folds, "Trainer", lambda *_, **__: next(made))
    monkeypatch.setattr(folds, "draw", lambda *_, **__: made_up().configurations)
    options: Any = {"data": DataConfig(), "space": "", "n_rows": 1000, "folder": tmp_path}
    first, again = (folds.measure(3, n_trials=8, **options) for _ in range(2))
    assert first == again
    path = tmp_path / "3.json"
    stored = read_json(path)
    kept = {key: group for key, group in stored["trainings"].items() if "part" not in key}
    write_json(path, stored | {"trainings": kept})
    completed = folds.measure(3, n_trials=8, **options)
    assert completed == first and read_json(path) == stored
    n_measured = [measure.n_measured for measure in measures]
    assert n_measured == [len(stored["trainings"]), len(TRUTH_SEEDS), 0]


def test_configurations_are_the_defaults_and_random_ones_that_are_not_slow() -> None:
    configurations = draw(StudyConfig.space, n_trials=12, seed=1)
    assert configurations == draw(StudyConfig.space, n_trials=12, seed=1)
    assert configurations[0]["architecture"] == "lstm"
    assert len(configurations) == 12
    assert all(first != second for first, second in itertools.pairwise(configurations))
    used = {value for values in configurations[1:] for value in values.values()}
    assert {"ngrams", "mean_embedding"} <= used
    assert not folds.SLOW & used
