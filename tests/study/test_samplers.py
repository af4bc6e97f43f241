"""Samplers and pruners by name, the indices of draws, and the trials that TPE fits."""

from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.studies import MANY_SPACE, SPACE
from tuning.config import PRUNERS, SAMPLERS, TrainConfig
from tuning.spaces.hyperparameters import defaults, key, suggest, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.optuna_internals import set_intermediate_value
from tuning.study.samplers import (
    N_RANDOM,
    as_ended,
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
STEPPED = SearchSpace(
    "stepped",
    (Hyperparameter(name="x", kind="float", default=0.3, low=0.0, high=0.5, step=0.1),),
)


def asked(study: optuna.Study, name: str, space: SearchSpace, *, seed: int = 0) -> optuna.Trial:
    """Return a new trial of a search, with a sampler of its own as each draw has it."""
    trials = study.trials
    study.sampler = make_sampler(
        name,
        space=space,
        trials=trials,
        metric="val_loss",
        n_objectives=len(study.directions),
        seed=seed,
        draw_index=len(trials),
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
    # The oldest are the best.
    trials = [finished(number, [1 - number / 1000]) for number in range(100)]
    trials[40] = finished(40, [], TrialState.RUNNING)
    trials[90] = finished(90, [], TrialState.FAIL)
    trials[95] = finished(95, [], TrialState.PRUNED)
    numbers = [t.number for t in fitted_trials(trials, metric="val_accuracy", n_max=50)]
    assert numbers == [*range(25), 40, *(n for n in range(74, 100) if n != 90)]
    assert fitted_trials(trials, metric="val_accuracy", n_max=98) == [
        t for t in trials if t.state != TrialState.FAIL
    ]


def test_tpe_fits_the_pareto_front_of_several_objectives() -> None:
    # All are on the front: each is better and dearer than the one before.
    trials = [finished(number, [0.5 + number / 1000, float(number)]) for number in range(40)]
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
    fitted = fitted_trials([*trials, pruned, beyond], metric="val_accuracy", n_objectives=2)
    assert [trial.number for trial in fitted] == [*range(12), 13]


@pytest.mark.parametrize("name", ["auto", "tpe"])
def test_tpe_draws_for_several_objectives_before_a_trial_is_complete(name: str) -> None:
    """Another machine has stopped and has paused its trials; another program has pruned some."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(12):
        trial = asked(study, name, WIDE)
        suggest(trial, WIDE.hyperparameters)
        set_intermediate_value(trial, number / 10, step=1)
        trial.set_user_attr("paused", True)
        if name == "tpe":
            study.tell(trial, state=TrialState.PRUNED)
    assert len({trial.params["x"] for trial in study.trials}) == 12


def test_tpe_fits_the_newest_of_many_trials_that_wait_at_a_rung() -> None:
    trials = [finished(number, [], TrialState.RUNNING) for number in range(80)]
    fitted = fitted_trials(trials, metric="val_accuracy", n_max=50)
    assert [t.number for t in fitted] == [*range(30, 80)]


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


def test_cma_es_draws_beside_pruned_trials_of_another_branch() -> None:
    """The complete trials have `units` of one cell, and the pruned trials those of the other."""
    rate = Hyperparameter(name="rate", kind="float", default=0.1, low=0.0, high=1.0)
    width = Hyperparameter(name="width", kind="int", default=3, low=1, high=9)
    units = (units_of("lstm", high=16), units_of("gru", high=64))
    space = SearchSpace("conditional", (CELL, rate, width, *units))
    study = optuna.create_study()
    for _ in range(12):
        trial = asked(study, "cmaes", space)
        values = suggest(trial, space.hyperparameters)
        state = TrialState.PRUNED if values["cell"] == "gru" else TrialState.COMPLETE
        trial.report(values["rate"], 1)
        study.tell(trial, None if state == TrialState.PRUNED else values["rate"], state=state)
    assert {trial.params["cell"] for trial in study.trials} == {"lstm", "gru"}
    assert any("cma" in name for trial in study.trials for name in trial.system_attrs)


# State, last epoch and value of a trial. A trial whose state is "at work" is RUNNING, not paused.
told_trials = st.lists(
    st.tuples(
        st.sampled_from(["complete", "pruned", "paused", "at work", "over a limit", "fail"]),
        st.integers(1, 4),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=12,
)


def told(number: int, word: str, epoch: int, value: int) -> FrozenTrial:
    words = {"complete": "COMPLETE", "paused": "RUNNING", "at work": "RUNNING", "fail": "FAIL"}
    made = create_trial(
        state=TrialState[words.get(word, "PRUNED")],
        value=float(value) if word == "complete" else None,
        intermediate_values=dict.fromkeys(range(1, epoch), 99.0) | {epoch: float(value)},
        user_attrs={"paused": word == "paused"},
        constraints={"n_parameters": 1.0} if word == "over a limit" else {},
    )
    made.number = number
    return made


@given(rows=told_trials, n_good=st.integers(0, 12))
def test_tpe_is_told_one_order_of_all_trials(rows: list[tuple[str, int, int]], n_good: int) -> None:
    """Complete trials by value come first; then pruned and paused trials, by their last epoch, and
    then by the value there; then trials over a limit. A trial at work has no place.
    """
    trials = [told(number, *row) for number, row in enumerate(rows)]
    fitted = fitted_trials([as_ended(t) for t in trials], metric="val_accuracy")
    ended = [t for t in fitted if t.state != TrialState.RUNNING]
    study = optuna.create_study(direction="maximize")
    good, bad = _split_trials(study, ended, min(n_good, len(ended)))

    def place(trial: FrozenTrial) -> tuple[int, int, int]:
        word, epoch, value = rows[trial.number]
        kinds = ("complete", "pruned", "paused", "over a limit")
        kind = kinds.index(word.replace("paused", "pruned"))
        return (kind, -epoch if kind == 1 else 0, -value if kind < 3 else 0)

    assert sorted(t.number for t in [*good, *bad]) == [
        number for number, (word, *_) in enumerate(rows) if word not in ("at work", "fail")
    ]
    if good and bad:
        assert max(map(place, good)) <= min(map(place, bad))
    assert [t.state.name for t in trials if rows[t.number][0] == "paused"] == ["RUNNING"] * sum(
        word == "paused" for word, *_ in rows
    )


def drawn_params(name: str, *, points: int, n: int, fails: int | None = None) -> list[Any]:
    """Return the values that a sampler draws after a baseline and other queued configurations.
    The draw with the index `fails` loses its trial twice before it has values, and is drawn again.
    """
    study = optuna.create_study(direction="maximize")
    for number in range(points):
        study.enqueue_trial({"x": number / 100})
    for number in range(points + n):
        for is_lost in (True, True, False) if number - points == fails else (False,):
            trials = study.trials
            study.sampler = make_sampler(
                name,
                space=WIDE,
                trials=trials,
                metric="val_accuracy",
                seed=3,
                draw_index=next_draw_index(trials),
            )
            trial = study.ask()
            if is_lost:
                study.tell(trial, state=TrialState.FAIL)
                first = trial.user_attrs.get("retry_of", trial.number)
                study.enqueue_trial({}, user_attrs={"retry_of": first})
            else:
                study.tell(trial, suggest(trial, WIDE.hyperparameters)["x"])
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]
    return [t.params["x"] for t in ended][points:]


@pytest.mark.parametrize(
    ("space", "n_ended", "drawn"),
    [
        (BRANCHES, 4, {"cell": "lstm", "units": 15, "learning_rate": 0.021968812482214335}),
        (BRANCHES, 16, {"cell": "gru", "units": 26, "learning_rate": 0.05857709175195682}),
        (
            MANY_SPACE,
            16,
            {
                "learning_rate": 0.009309814800059175,
                "lstm_units": 125,
                "vocab_size": 25209,
                "dropout": 0.4858011795465808,
            },
        ),
    ],
)
def test_study_of_version_0_1_draws_as_that_version(
    space: SearchSpace, n_ended: int, drawn: dict[str, Any]
) -> None:
    """Its sampler is "tpe". Two of the last four trials are paused, and two are at work; that
    version drew these values after them.
    """
    study = optuna.create_study(direction="maximize")
    for number in range(n_ended + 4):
        trial = asked(study, "random", space, seed=5)
        rate = suggest(trial, space.hyperparameters)["learning_rate"]
        trial.report(rate, 1)
        if number >= n_ended:
            trial.set_user_attr("paused", number % 2 == 0)
        elif number % 3:
            study.tell(trial, rate)
        else:
            study.tell(trial, state=TrialState.PRUNED)
    trial = asked(study, "tpe", space, seed=5)
    assert suggest(trial, space.hyperparameters) == pytest.approx(drawn)


@pytest.mark.parametrize("points", [1, 4, 12])
def test_start_up_counts_random_draws_after_the_queued_configurations(points: int) -> None:
    drawn = drawn_params("auto", points=points, n=N_RANDOM + 1)
    random = drawn_params("random", points=points, n=N_RANDOM + 1)
    assert drawn[:N_RANDOM] == random[:N_RANDOM]
    assert drawn[N_RANDOM] != random[N_RANDOM]


@pytest.mark.parametrize("fails", [2, N_RANDOM - 1, N_RANDOM + 1])
def test_lost_draw_is_drawn_again_with_the_same_values(fails: int) -> None:
    n = N_RANDOM + 3
    assert drawn_params("auto", points=2, n=n, fails=fails) == drawn_params("auto", points=2, n=n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("space", "n"), [(SPACE, 8), (STEPPED, 6)])
def test_new_configurations_are_drawn_until_the_space_is_exhausted(
    space: SearchSpace, n: int, seed: int
) -> None:
    """A space has n configurations. In the stepped space a sampler draws 0.30000000000000004, which
    is the baseline's 0.3.
    """
    study = optuna.create_study(direction="maximize")
    items = space.hyperparameters
    study.enqueue_trial(to_params(defaults(items), items))
    for _ in range(n + 2):
        trial = asked(study, "auto", space, seed=seed)
        suggest(trial, items)
        study.tell(trial, float(trial.number))
    assert len({key(t.params) for t in study.trials[:n]}) == n


def test_model_that_sees_nothing_better_than_what_is_known_draws_at_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TPE would draw the best configuration 50 times."""
    grid = SearchSpace(
        "grid",
        tuple(
            Hyperparameter(name=name, kind="int", default=1, low=1, high=9, step=1)
            for name in ("a", "b")
        ),
    )
    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", lambda *_: {"a": 5, "b": 5})
    study = optuna.create_study()
    for _ in range(40):
        trial = asked(study, "auto", grid)
        suggest(trial, grid.hyperparameters)
        study.tell(trial, 0.0)
    assert len({tuple(t.params.values()) for t in study.trials}) == 40


def test_branch_without_trials_is_drawn() -> None:
    """TPE in groups knows no hyperparameter of a branch that no trial has."""
    study = optuna.create_study()
    for _ in range(30):
        trial = asked(study, "auto", BRANCHES)
        values = suggest(trial, BRANCHES.hyperparameters)
        study.tell(trial, float(values["cell"] == "lstm"))
    params = [tuple(sorted(t.params.items())) for t in study.trials]
    assert len(set(params)) == 30
    assert {t.params["cell"] for t in study.trials} == {"lstm", "gru"}
