"""Samplers and pruners by word and as objects."""

import contextlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tests.studies import SPACE
from tuning.config import PRUNERS, SAMPLERS, StudyConfig, TrainConfig
from tuning.errors import ArgumentError, SpaceError, StudyError
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.samplers import (
    derive_seed,
    make_pruner,
    make_sampler,
    name_of_pruner,
    name_of_sampler,
    require_finite,
    require_objects,
)

CELL = Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru"))


def units_of(cell: str, *, high: int) -> Hyperparameter:
    """Return a number of units, from 1 to `high`, that only one cell has."""
    conditions = (("cell", (cell,)),)
    return Hyperparameter(
        name="units", kind="int", default=1, low=1, high=high, step=1, conditions=conditions
    )


RATE = Hyperparameter(name="rate", kind="float", default=0.1, low=0.0, high=1.0)
BRANCHES = SearchSpace("branches", (CELL, units_of("lstm", high=64), units_of("gru", high=9), RATE))
SMALL = SearchSpace("small", (CELL, units_of("lstm", high=3), units_of("gru", high=2)))
WIDE = SearchSpace("wide", (RATE,))


@pytest.fixture(params=SAMPLERS)
def word(request: pytest.FixtureRequest) -> str:
    if request.param == "gp" and find_spec("torch") is None:
        pytest.skip("torch is not installed")
    return str(request.param)


def asked(study: optuna.Study, word: str, *, seed: int = 0) -> optuna.Trial:
    """Return a new trial of a search, with a sampler of its own as each draw has it."""
    own = derive_seed(seed, len(study.trials))
    study.sampler = make_sampler(word, seed=own, study_seed=seed)
    return study.ask()


@pytest.mark.parametrize("space", [SPACE, BRANCHES], ids=lambda space: space.name)
def test_sampler_proposes_legal_values_beside_pruned_failed_and_running_trials(
    word: str, space: SearchSpace
) -> None:
    if word == "grid" and space is BRANCHES:
        space = SMALL
    study = optuna.create_study()
    for number in range(4 if word == "grid" else 15):
        trial = asked(study, word)
        values = suggest(trial, space.hyperparameters)
        active = [item for item in space.hyperparameters if item.is_active(values)]
        assert all(item.is_legal(values[item.name]) for item in active)
        trial.report(float(number), 1)
        if number % 5 == 1:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 5 == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 5 != 3:
            study.tell(trial, float(number))


def test_each_draw_is_a_new_point_that_follows_from_the_seed(word: str) -> None:
    if word == "grid":
        return
    drawn = []
    for seed in (3, 3, 4):
        study = optuna.create_study()
        for _ in range(8):
            trial = asked(study, word, seed=seed)
            study.tell(trial, suggest(trial, WIDE.hyperparameters)["rate"])
        drawn.append([trial.params["rate"] for trial in study.trials])
    assert len(set(drawn[0])) == 8
    assert drawn[0] == drawn[1] != drawn[2]


def test_points_of_qmc_are_of_one_sequence() -> None:
    """Of 16 points each sixteenth of the range has one."""
    study = optuna.create_study()
    study.enqueue_trial({"rate": 0.5})
    for _ in range(18):
        trial = asked(study, "qmc", seed=3)
        suggest(trial, WIDE.hyperparameters)
        study.tell(trial, 0.0)
    drawn = [trial.params["rate"] for trial in study.trials[1:17]]
    assert sorted(np.floor(np.array(drawn) * 16)) == [*range(16)]


@pytest.mark.parametrize("word", ["tpe", "random", "qmc"])
def test_sampler_draws_for_several_objectives(word: str) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(15):
        trial = asked(study, word)
        values = suggest(trial, BRANCHES.hyperparameters)
        if number != 12:  # Another worker trains it.
            study.tell(trial, [values["rate"], number])
    assert len({trial.params["rate"] for trial in study.trials}) == 15


def test_grid_has_each_configuration_of_each_branch_once() -> None:
    study = optuna.create_study()
    seen = []
    for is_last in (False, False, False, False, True):
        trial = asked(study, "grid")
        seen.append(tuple(suggest(trial, SMALL.hyperparameters).values()))
        says_so = pytest.raises(RuntimeError, match=r"Study\.stop")
        with says_so if is_last else contextlib.nullcontext():
            study.tell(trial, 0.0)
    assert sorted(seen) == [("gru", 1), ("gru", 2), ("lstm", 1), ("lstm", 2), ("lstm", 3)]
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


@pytest.mark.parametrize("log", [False, True])
def test_grid_refuses_a_float_without_a_step(log: bool) -> None:
    item = Hyperparameter(name="a", kind="float", default=0.5, low=0.1, high=1.0, log=log)
    with pytest.raises(SpaceError, match="for 'a'; it is 0"):
        require_finite((CELL, item))
    require_finite(SMALL.hyperparameters)


@pytest.mark.parametrize(
    ("word", "kind"),
    [*zip(PRUNERS, ("Nop", "Hyperband", "SuccessiveHalving", "Median", "Nop"), strict=True)],
)
def test_pruner_by_word(word: str, kind: str) -> None:
    assert type(make_pruner(word, TrainConfig(epochs=5))).__name__ == f"{kind}Pruner"


def test_object_is_used_as_it_is_and_recorded_by_the_name_of_its_class() -> None:
    sampler, pruner = optuna.samplers.NSGAIISampler(), optuna.pruners.ThresholdPruner(lower=0)
    assert make_sampler(sampler, seed=1, study_seed=1) is sampler
    assert make_pruner(pruner, TrainConfig()) is pruner
    assert name_of_sampler(sampler) == "NSGAIISampler"
    assert name_of_pruner(pruner) == "ThresholdPruner"


@pytest.mark.parametrize("value", ["TPESampler", optuna.samplers.TPESampler, 3])
def test_other_values_are_refused_with_all_words(value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"sampler must be one of {', '.join(SAMPLERS)}, or"):
        name_of_sampler(value)
    with pytest.raises(ArgumentError, match=f"pruner must be one of {', '.join(PRUNERS)}, or"):
        name_of_pruner(value)


@pytest.mark.parametrize("name", ["sampler", "pruner"])
def test_study_of_an_object_says_how_to_pass_the_object(name: str) -> None:
    config = StudyConfig(study="s", **{name: "Mine"})
    with pytest.raises(StudyError, match=rf"tuning\.tune\(study='s', {name}=Mine\(\.\.\.\)\)"):
        require_objects(config, sampler=None, pruner=None)


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_gp_names_the_package_that_it_needs() -> None:
    with pytest.raises(ArgumentError, match="pip install torch"):
        require_objects(StudyConfig(study="s", sampler="gp"), sampler=None, pruner=None)
