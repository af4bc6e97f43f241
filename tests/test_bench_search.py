"""Searches that are replayed on a table of made-up trainings."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.curves import Noise, Table, Training, distance, read_table
from benchmarks.peers.oracles import EPOCHS, Proposal
from benchmarks.replay import _with_choice, search_and_confirm
from benchmarks.search import OURS, PEERS, compare, figure_of, search_of_peer, summary_of
from tuning.atomic_io import write_json
from tuning.config import StudyConfig
from tuning.spaces.files import find_space
from tuning.spaces.hyperparameters import defaults, suggest, to_params
from tuning.spaces.loading import SearchSpace, declare
from tuning.spaces.ranges import Values

# KerasTuner calls `threading.currentThread`.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return declare(find_space(StudyConfig.space), n_classes=2)


@pytest.fixture(scope="module")
def table(space: SearchSpace) -> Table:
    """Return a table in which a higher learning rate is better, and n-grams are best."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rng = np.random.default_rng(0)

    def training(number: int, values: Values) -> Training:
        value = 0.7 + 0.1 * ("ngrams" in values) + float(values.get("learning_rate", 0.0))
        # Every seventh training ends early, at a rung.
        n_epochs = 2 if number % 7 == 6 else EPOCHS
        curve = [value - 0.01 * abs(3 - epoch) for epoch in range(1, n_epochs + 1)]
        n_seeds = 3 if number < 5 else 1
        curves = [[v + rng.normal(0, 0.003) for v in curve] for _ in range(n_seeds)]
        return Training(number, values, 1.0, 2.0 + number % 3, 1, curves)

    configurations = [
        defaults(space.hyperparameters),
        *space.starting_points,
        *(suggest(study.ask(), space.hyperparameters) for _ in range(40)),
    ]
    trainings = [training(number, values) for number, values in enumerate(configurations)]
    return Table("made up", StudyConfig.space, "val_accuracy", 2, 0.8, trainings)


@pytest.fixture(scope="module")
def path(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "curves-made-up.json"
    write_json(path, asdict(table))
    return path


def test_a_table_is_read_as_it_was_written(table: Table, path: Path) -> None:
    assert read_table(path) == table


def test_a_measured_configuration_is_the_nearest_to_itself(
    table: Table, space: SearchSpace
) -> None:
    for training in table.trainings:
        assert table.nearest(training.values, space) is training


def test_architectures_are_infinitely_far_apart(space: SearchSpace) -> None:
    baseline, (first, *_) = defaults(space.hyperparameters), space.starting_points
    assert distance(baseline, first, space) == math.inf
    changed = {**first, "ngram_c": 300.0}  # the range is 1 to 300, the starting point has 10
    assert distance(first, changed, space) == pytest.approx(math.log(30) / math.log(300))


def test_noise_is_that_of_two_seeds_and_belongs_to_one_training(
    table: Table, space: SearchSpace
) -> None:
    training = table.trainings[-1]
    curves = [Noise(table, space, seed=seed).curve(training, seed=0) for seed in range(200)]
    assert np.std([curve[0] for curve in curves]) == pytest.approx(0.003, rel=0.5)
    assert Noise(table, space, seed=7).curve(training, seed=0) == curves[7]
    assert Noise(table, space, seed=7).curve(training, seed=1) != curves[7]
    longer = replace(training, curves=[[*training.curves[0], 0.5, 0.5]])
    assert len(Noise(table, space, seed=7).curve(longer, seed=0)) == EPOCHS + 2


def test_noise_is_that_of_the_same_branch(table: Table, space: SearchSpace) -> None:
    def repeated(training: Training, difference: float) -> Training:
        (curve, *_) = training.curves
        return replace(training, curves=[curve, [value + difference for value in curve]])

    trainings = [
        repeated(t, 0.1 if t.values["architecture"] == "lstm" else 0.0) for t in table.trainings
    ]
    noise = Noise(replace(table, trainings=trainings), space, seed=0)
    for training in trainings:
        differences = np.subtract(noise.curve(training, seed=1), training.curves[0])
        expected = 0.1 / math.sqrt(2) if training.values["architecture"] == "lstm" else 0.0
        assert np.abs(differences) == pytest.approx(expected)


def test_this_program_finds_a_good_configuration_within_its_trainings(
    table: Table, space: SearchSpace
) -> None:
    options: dict[str, Any] = {
        "seed": 1,
        "n_trials": 12,
        "n_workers": 2,
        "noise": Noise(table, space, seed=1),
    }
    first = search_and_confirm(table, space, **options)
    assert first == search_and_confirm(table, space, **options)
    truths = [table.truth(training) for training in table.trainings]
    assert truths[first["chosen"]] > np.quantile(truths, 0.8)
    longest = max(t.start_seconds + EPOCHS * t.epoch_seconds for t in table.trainings)
    assert 0 < first["worker_seconds"] < 100 * longest
    assert 0 < first["confirmation"] < 1


class _Recorder:
    """A peer that asks for the same training, and records what it is told."""

    def __init__(self, table: Table, last_epoch: int) -> None:
        self.proposal = Proposal(None, table.trainings[0].values, 0, last_epoch)
        self.told: list[tuple[list[float], float]] = []
        self._values: list[float] = []
        self.named: Values | None = None

    def ask(self) -> Proposal:
        return self.proposal

    def goes_on(self, proposal: Proposal, epoch: int, value: float) -> bool:
        self._values.append(value)
        return True

    def tell(self, proposal: Proposal, value: float, *, is_complete: bool) -> None:
        self.told.append((self._values, value))
        self._values = []

    def incumbent(self) -> Values | None:
        return self.named


def test_a_peer_may_name_another_configuration_than_its_best(
    table: Table, space: SearchSpace
) -> None:
    peer, noise = _Recorder(table, last_epoch=3), Noise(table, space, seed=0)
    peer.named = table.trainings[1].values
    chosen = search_of_peer(peer, table, space, seconds=100.0, n_workers=1, noise=noise)
    assert chosen == table.trainings[1].number != table.trainings[0].number


def test_a_peer_is_told_the_epochs_that_it_has_time_for(table: Table, space: SearchSpace) -> None:
    peer, noise, training = (
        _Recorder(table, last_epoch=3),
        Noise(table, space, seed=0),
        table.trainings[0],
    )
    seconds = 2 * (training.start_seconds + 3 * training.epoch_seconds) + 0.1
    chosen = search_of_peer(peer, table, space, seconds=seconds, n_workers=1, noise=noise)
    curve = noise.curve(training, seed=0)[:3]
    assert peer.told == [(curve, max(curve))] * 2
    assert chosen == training.number


def test_an_epoch_before_the_training_takes_a_peer_no_time(
    table: Table, space: SearchSpace
) -> None:
    first, *others = table.trainings
    fitted = replace(first, first_epoch=0, curves=[[0.5, *curve] for curve in first.curves])
    table = replace(table, trainings=[fitted, *others])
    noise, seconds = Noise(table, space, seed=0), first.start_seconds + 3 * first.epoch_seconds
    for short, n_told in ((0.1, 0), (-0.1, 1)):
        peer = _Recorder(table, last_epoch=3)
        search_of_peer(peer, table, space, seconds=seconds - short, n_workers=1, noise=noise)
        assert len(peer.told) == n_told
    assert len(peer.told[0][0]) == 4


def test_optuna_s_brackets_depend_on_the_seed_alone(
    table: Table, space: SearchSpace, tmp_path: Path
) -> None:
    def searched(seed: int) -> list[int]:
        make = PEERS["Optuna, TPE with Hyperband"]
        peer, epochs = make(table, space, seed=seed, n_trials=20, folder=tmp_path), []
        for value in np.random.default_rng(0).random(40):
            proposal = peer.ask()
            assert proposal is not None
            n_passed = sum(peer.goes_on(proposal, n, value) for n in range(1, EPOCHS + 1))
            epochs.append(n_passed)
            peer.tell(proposal, value, is_complete=n_passed == EPOCHS)
        return epochs

    assert searched(0) == searched(0) != searched(1)


def test_smac_searches_the_same_space(space: SearchSpace) -> None:
    pytest.importorskip("smac")
    from benchmarks.peers.smac_peer import configuration_space, values_of

    items, searched = space.hyperparameters, configuration_space(space)
    searched.seed(0)
    baseline = searched.get_default_configuration()
    assert values_of(baseline, items) == defaults(items)
    for config in searched.sample_configuration(100):
        values = values_of(config, items)
        assert set(config) == set(to_params(values, items))
        assert all(item.is_legal(values[item.name]) for item in items if item.is_active(values))


def test_starting_points_have_the_ngrams_of_the_linear_model(
    table: Table, space: SearchSpace
) -> None:
    choice: Values = {"ngrams": 2, "ngram_c": 100.0}
    changed = _with_choice(space, choice)
    linear = [changed.starting_points[number - 1] for number in space.linear_points]
    assert linear and all({**point, **choice} == point for point in linear)
    assert not changed.linear_points
    others = [n for n in range(len(space.starting_points)) if n + 1 not in space.linear_points]
    assert all(changed.starting_points[n] == space.starting_points[n] for n in others)


def test_a_comparison_is_paired_by_seed(path: Path) -> None:
    one = compare(path, seed=0, n_trials=6, n_workers=2, peers=["random draws"])
    assert {*summary_of([one])["sides"]} == {OURS, "random draws"}
    searches = [compare(path, seed=seed, n_trials=6, n_workers=2) for seed in range(2)]
    summary = summary_of(searches)
    # The tuned linear model of the table has 0.8, and models of n-grams have it too.
    assert summary["n_behind_linear"] == sum(s["ahead_of_linear"] < 0 for s in searches) == 0
    assert set(summary["sides"]) == {OURS, *PEERS}
    assert all(search[name] >= 0 for search in searches for name in summary["sides"])
    for name, side in summary["sides"].items():
        if name != OURS:
            differences = [search[name] - search[OURS] for search in searches]
            assert side["behind"] == pytest.approx(np.mean(differences))
    kinds = [{"table": "made up", "n_workers": n, **summary} for n in (2, 2, 8)]
    figure = figure_of(kinds)
    titles = [title.text for title in figure.layout.annotations]
    assert titles == ["made up, 2 workers", "made up, 8 workers"]
    lines = figure.data
    assert [(line.name, len(line.x)) for line in lines] == [
        (name, n_points) for name in (OURS, *PEERS) for n_points in (2, 1)
    ]
    assert set(lines[0].y) == {summary["sides"][OURS]["regret"]}
