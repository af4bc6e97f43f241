"""Samplers and pruners by name, the indices of draws, and the trials that TPE fits."""

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.studies import SPACE
from tuning.config import PRUNERS, SAMPLERS, TrainConfig
from tuning.spaces.hyperparameters import defaults, suggest, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.samplers import (
    derive_seed,
    fitted_trials,
    grid_points,
    make_pruner,
    make_sampler,
    next_draw_index,
)

CELL = Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru"))


def units_of(cell: str, *, high: int) -> Hyperparameter:
    """Return a number of units, from 1 to `high`, that only one cell has."""
    conditions = (("cell", (cell,)),)
    return Hyperparameter(
        name="units", kind="int", default=8, low=1, high=high, step=1, conditions=conditions
    )


CONDITIONAL = SearchSpace("conditional", (CELL, units_of("lstm", high=99)))
BRANCHES = SearchSpace(
    "branches",
    (
        CELL,
        units_of("lstm", high=64),
        units_of("gru", high=64),
        Hyperparameter(
            name="learning_rate", kind="float", default=0.001, low=0.0001, high=0.1, log=True
        ),
    ),
)


WIDE = SearchSpace(
    "wide", (Hyperparameter(name="x", kind="float", default=0.0, low=0.0, high=1.0),)
)


def asked(study: optuna.Study, name: str, space: SearchSpace, *, seed: int = 0) -> optuna.Trial:
    """Return a new trial of a search, with a sampler of its own as each draw has it."""
    trials = study.trials
    study.sampler = make_sampler(
        name, space=space, trials=trials, metric="val_loss", seed=seed, draw_index=len(trials)
    )
    return study.ask()


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_proposes_legal_values(name: str) -> None:
    study = optuna.create_study()
    for number in range(6):
        trial = asked(study, name, SPACE)
        values = suggest(trial, SPACE.hyperparameters)
        assert all(item.is_legal(values[item.name]) for item in SPACE.hyperparameters)
        study.tell(trial, float(number))
    if name != "grid":  # Each draw has a new sampler, as after a restart: the points are fresh.
        fresh = optuna.create_study()
        for _ in range(8):
            trial = asked(fresh, name, WIDE)
            suggest(trial, WIDE.hyperparameters)
            fresh.tell(trial, 0.0)
        assert len({t.params["x"] for t in fresh.trials}) == 8


def qmc_trials(
    space: SearchSpace, n: int, *, state: TrialState = TrialState.COMPLETE
) -> list[FrozenTrial]:
    """Return the trials of a quasi-random search: the baseline, then n trials."""
    study = optuna.create_study()
    study.enqueue_trial(to_params(defaults(space.hyperparameters), space.hyperparameters))
    for _ in range(n + 1):
        trial = asked(study, "qmc", space, seed=3)
        suggest(trial, space.hyperparameters)
        study.tell(trial, None if state == TrialState.FAIL else 0.0, state=state)
    return study.trials


def test_qmc_covers_every_branch_of_a_conditional_space() -> None:
    """Of 64 points each branch has a half, and in it each quarter of the units an eighth of all."""
    drawn = [t.params for t in qmc_trials(BRANCHES, 64)[1:]]
    assert len({tuple(params.items()) for params in drawn}) == 64
    for cell in ("lstm", "gru"):
        units = [params[f"units[cell={cell}]"] for params in drawn if params["cell"] == cell]
        assert np.bincount([(value - 1) // 16 for value in units]).tolist() == [8, 8, 8, 8]


def test_qmc_walks_optuna_s_sequence_in_a_space_without_conditions() -> None:
    theirs = optuna.create_study(
        sampler=optuna.samplers.QMCSampler(scramble=True, seed=3, warn_asynchronous_seeding=False)
    )
    theirs.enqueue_trial({"vocab_size": 10, "cell": "lstm"})
    for _ in range(17):
        trial = theirs.ask()
        suggest(trial, SPACE.hyperparameters)
        theirs.tell(trial, 0.0)
    assert [t.params for t in qmc_trials(SPACE, 16)] == [t.params for t in theirs.trials]


def test_qmc_keeps_its_sequence_for_trials_without_values_of_their_own() -> None:
    """Two trials are queued with their values after the baseline."""
    study = optuna.create_study()
    queued = [{"vocab_size": size, "cell": "lstm"} for size in (10, 20, 30)]
    for params in queued:
        study.enqueue_trial(params)
    for _ in range(11):
        trial = asked(study, "qmc", SPACE, seed=3)
        suggest(trial, SPACE.hyperparameters)
        study.tell(trial, 0.0)
    params = [trial.params for trial in study.trials]
    assert params == [*queued, *(t.params for t in qmc_trials(SPACE, 8)[1:])]


def test_qmc_proposes_fresh_points_while_all_trials_fail() -> None:
    assert len({t.params["x"] for t in qmc_trials(WIDE, 5, state=TrialState.FAIL)}) == 6


def test_grid_points_are_complete_in_an_order_from_the_seed() -> None:
    points = grid_points(SPACE, seed=0)
    assert sorted((p["vocab_size"], p["cell"]) for p in points) == [
        (v, c) for v in (10, 20, 30, 40) for c in ("gru", "lstm")
    ]
    assert points == grid_points(SPACE, seed=0) != grid_points(SPACE, seed=1)


@pytest.mark.parametrize(
    ("name", "kind"), [*zip(PRUNERS, ("Nop", "Hyperband", "Median", "Nop"), strict=True)]
)
def test_pruner_by_name(name: str, kind: str) -> None:
    assert type(make_pruner(name, TrainConfig(epochs=5))).__name__ == f"{kind}Pruner"


@pytest.mark.parametrize("space", [SPACE, CONDITIONAL], ids=lambda space: space.name)
@pytest.mark.parametrize(
    "directions", [["maximize"], ["maximize", "minimize"]], ids=["one objective", "two"]
)
def test_tpe_draws_what_optuna_draws_while_it_fits_all_trials(
    space: SearchSpace, directions: list[str]
) -> None:
    own, theirs = (optuna.create_study(directions=directions) for _ in range(2))
    for number in range(25):
        own.sampler = make_sampler(
            "tpe", space=space, trials=own.trials, metric="val_accuracy", seed=3, draw_index=number
        )
        conditional = space is CONDITIONAL
        theirs.sampler = optuna.samplers.TPESampler(
            seed=derive_seed(3, number),
            n_startup_trials=10 if number < 10 else 1,
            group=conditional,
            multivariate=True if conditional else None,
        )
        for study in (own, theirs):
            trial = study.ask()
            numbers = [
                v for v in suggest(trial, space.hyperparameters).values() if isinstance(v, int)
            ]
            quality = 1 / (1 + sum(numbers))
            study.tell(trial, [quality, number % 7][: len(directions)])
    assert [t.params for t in own.trials] == [t.params for t in theirs.trials]


def finished(
    number: int, values: list[float], state: TrialState = TrialState.COMPLETE
) -> FrozenTrial:
    made = create_trial(state=state, values=values if state == TrialState.COMPLETE else None)
    made.number = number
    return made


def test_tpe_fits_the_best_and_the_newest_of_many_trials_and_all_running_ones() -> None:
    trials = [
        finished(number, [1 - number / 1000]) for number in range(100)
    ]  # the oldest are the best
    trials[40] = finished(40, [], TrialState.RUNNING)
    trials[90] = finished(90, [], TrialState.FAIL)
    trials[95] = finished(95, [], TrialState.PRUNED)
    numbers = [t.number for t in fitted_trials(trials, metric="val_accuracy", n_max=50)]
    assert numbers == [*range(25), 40, *(n for n in range(74, 100) if n != 90)]
    assert fitted_trials(trials, metric="val_accuracy", n_max=98) == [
        t for t in trials if t.state != TrialState.FAIL
    ]


def test_tpe_fits_the_pareto_front_of_several_objectives() -> None:
    trials = [
        finished(number, [0.5 + number / 1000, float(number)]) for number in range(40)
    ]  # better and dearer: all on the front
    trials += [finished(number, [0.1, 100.0]) for number in range(40, 140)]
    numbers = [t.number for t in fitted_trials(trials, metric="val_accuracy", n_max=100)]
    assert numbers == [*range(40), *range(80, 140)]
    few = [t.number for t in fitted_trials(trials, metric="val_accuracy", n_max=50)]
    assert len(few) == 50
    assert {0, 39} < set(few)  # both ends
    assert max(np.diff([n for n in few if n < 40])) == 2


def test_tpe_leaves_out_pruned_trials_of_several_objectives() -> None:
    """Another program may prune a trial; TPE compares its epochs by the study's only direction."""
    trials = [finished(number, [0.5, float(number)]) for number in range(12)]
    pruned = finished(12, [], TrialState.PRUNED)
    pruned.intermediate_values = {1: 0.4}
    beyond = finished(13, [], TrialState.PRUNED)
    beyond.set_constraint("n_parameters", 1.0)
    fitted = fitted_trials([*trials, pruned, beyond], metric="val_accuracy")
    assert [trial.number for trial in fitted] == [*range(12), 13]


def test_tpe_fits_the_newest_of_many_trials_that_wait_at_a_rung() -> None:
    trials = [finished(number, [], TrialState.RUNNING) for number in range(80)]
    assert [t.number for t in fitted_trials(trials, metric="val_accuracy", n_max=50)] == [
        *range(30, 80)
    ]


def test_tpe_reads_no_trials_of_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own TPE reads all running trials with all their values, twice for each draw."""
    study = optuna.create_study()
    for number in range(12):
        trial = study.ask()
        suggest(trial, SPACE.hyperparameters)
        study.tell(trial, float(number))
    study.sampler = make_sampler(
        "tpe", space=SPACE, trials=study.trials, metric="val_loss", seed=0, draw_index=12
    )
    trial_id = study._storage.create_new_trial(study._study_id)
    with monkeypatch.context() as patched:
        patched.setattr(
            study._storage, "get_all_trials", lambda *_, **__: pytest.fail("the storage was read")
        )
        suggest(optuna.trial.Trial(study, trial_id), SPACE.hyperparameters)
    assert study.trials[12].params.keys() == {"vocab_size", "cell"}


@pytest.mark.parametrize(
    ("words", "draw_index"),
    [
        ("", 0),
        ("complete", 1),
        ("waiting", 0),
        ("complete fail waiting-again", 1),  # the second trial failed, and draws the same again
        ("complete fail complete-again complete", 3),
        ("complete fail fail-again waiting-again", 1),
        ("complete fail complete-again complete fail", 4),
    ],
)
def test_next_draw_index_leaves_out_trials_that_are_queued_again(
    words: str, draw_index: int
) -> None:
    """A word with -again is trial 1, queued again."""
    trials = []
    for number, word in enumerate(words.split()):
        state = TrialState[word.removesuffix("-again").upper()]
        value = 0.5 if state == TrialState.COMPLETE else None
        made = create_trial(
            state=state, value=value, user_attrs={"retry_of": 1} if word.endswith("again") else {}
        )
        made.number = number
        trials.append(made)
    assert next_draw_index(trials) == draw_index


def test_cma_es_draws_beside_pruned_trials_of_another_branch() -> None:
    """The complete trials have `units` of one cell, and the pruned trials those of the other."""
    cell = Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru"))
    rate = Hyperparameter(name="rate", kind="float", default=0.1, low=0.0, high=1.0)
    width = Hyperparameter(name="width", kind="int", default=3, low=1, high=9)
    units = [
        Hyperparameter(
            name="units", kind="int", default=8, low=4, high=high, conditions=(("cell", (name,)),)
        )
        for name, high in (("lstm", 16), ("gru", 64))
    ]
    space = SearchSpace("conditional", (cell, rate, width, *units))
    study = optuna.create_study()
    for _ in range(12):
        trial = asked(study, "cmaes", space)
        values = suggest(trial, space.hyperparameters)
        state = TrialState.PRUNED if values["cell"] == "gru" else TrialState.COMPLETE
        trial.report(values["rate"], 1)
        study.tell(trial, None if state == TrialState.PRUNED else values["rate"], state=state)
    assert {trial.params["cell"] for trial in study.trials} == {"lstm", "gru"}
    assert any("cma" in name for trial in study.trials for name in trial.system_attrs)
