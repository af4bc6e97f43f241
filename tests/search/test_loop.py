"""A search with fake workers: each way in which a trial can end, and the updated records."""

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.fake_fit import CHOSEN, FakeFit
from tests.fake_workers import EPOCHS, FakePool, Script, epoch, result_of, trains
from tests.studies import CONFIG, on, session_of
from tuning.atomic_io import read_history
from tuning.config import MAX_TRIALS, PRUNERS, SAMPLERS, TrainConfig
from tuning.data.rows import Redraw
from tuning.errors import SpaceBug, SpaceError, StorageError
from tuning.evaluation.linear_reference import NgramSettings
from tuning.outcomes import FailureReason, SearchEnd
from tuning.results import ResultsDir
from tuning.search import ends, loop, open_trials
from tuning.search.events import Interrupt, Progressed
from tuning.search.linear_model import NICENESS
from tuning.search.loop import Search
from tuning.search.open_trials import OpenTrials
from tuning.search.session import Session
from tuning.search.tune import Budget, _left
from tuning.spaces.hyperparameters import defaults, key
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, Values
from tuning.spaces.sizes import USUAL_LENGTH
from tuning.study.budget import requested_n_trials, set_n_trials
from tuning.study.trials import values_of
from tuning.trackers.contents import tracked_trial
from tuning.training.result import TrainingJob
from tuning.workers.dispatcher import Dispatcher
from tuning.workers.messages import (
    EpochEnded,
    ErrorRaised,
    ModelRefused,
    TrainingEnded,
    TrainingFailed,
)

# The space is so large that random trials are not duplicates.
SPACE = SearchSpace(
    "large",
    (
        Hyperparameter(name="vocab_size", kind="int", default=10, low=10, high=100_000),
        Hyperparameter(name="sequence_length", kind="fixed", default=8),
    ),
)

Scripts = Callable[[TrainingJob], Script]


@dataclass
class Run:
    """A search over a study in memory. `on_change` is called after each change of the search, and
    `events` are the events of all changes.
    """

    session: Session
    pool: FakePool
    on_change: Callable[[Progressed], None] = lambda progressed: None
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        session = replace(self.session, subscribers=[on(Progressed, self._changed)])
        self.search = Search(session)

    def _changed(self, progressed: Progressed) -> None:
        self.events.append(progressed.event)
        self.on_change(progressed)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.session.study.get_trials(deepcopy=False)

    @property
    def open(self) -> OpenTrials:
        return self.search._open

    @property
    def is_empty(self) -> bool:
        """Whether no trial is running, paused or waiting."""
        return (
            not self.open.dispatcher.running
            and not self.open.paused
            and all(trial.state.is_finished() for trial in self.trials)
        )

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.trials]

    def go(self, n_trials: int | str, **options: Any) -> SearchEnd:
        return self.search.run(n_trials, **{"timeout_seconds": None, **options})


Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(script: Scripts, *, n_workers: int = 1, pruner: str = "none", **changes: Any) -> Run:
        config = replace(
            CONFIG,
            pruner=pruner,
            train=TrainConfig(epochs=EPOCHS, patience=EPOCHS),
            **{"sampler": "random", **changes.pop("config", {})},
        )
        study, results = optuna.create_study(direction="maximize"), ResultsDir(tmp_path / "results")
        pool = FakePool(script, n_workers)
        changes = {"space": SPACE, "pool": pool.as_pool, **changes}
        session = session_of(study, config, results=results, **changes)
        session.folder.path.mkdir(parents=True, exist_ok=True)
        return Run(session, pool)

    return made


def after_the_baseline(script: Scripts, *, n: int = 1) -> Scripts:
    """Return scripts in which the baseline trains normally, the next `n` trainings follow `script`,
    and all later trainings are normal.
    """
    numbers = itertools.count()
    return lambda job: script(job) if 1 <= next(numbers) <= n else trains(job)


def sends(*messages: Any) -> Scripts:
    """Return scripts of a training that sends these messages for any answers."""

    return lambda job: (message for message in messages)


def has_value(value: float) -> Scripts:
    return lambda job: trains(job, value=value)


BUG = ErrorRaised("bug", "KeyError: 'cell'", "Traceback of the space")
REPLACED = (FailureReason.LOST, FailureReason.TOO_LONG, FailureReason.SILENT)


@dataclass(frozen=True, kw_only=True)
class End:
    """One way in which trial 1 ends after a normal baseline. Its duplicate is trial 2.

    Attributes:
        script: the messages of the training.
        exceeds: whether the worker exceeds a limit, for `reason`.
        is_queued_again: whether the values of the trial are trained again, as trial 3.
        n_trials: number of finished trials of the search.
    """

    script: Scripts = trains
    state: TrialState = TrialState.FAIL
    reason: FailureReason | None = None
    exceeds: bool = False
    is_queued_again: bool = False
    n_trials: int = 3

    @property
    def has_failed(self) -> bool:
        return self.state is TrialState.FAIL

    @property
    def first(self) -> int | None:
        """The first trial with a result of the configuration; None without a result."""
        if self.is_queued_again:
            return 3
        return None if self.has_failed else 1


ENDS: Mapping[str, End] = {
    "complete": End(script=has_value(0.9), state=TrialState.COMPLETE),
    # At its first rung, the trial is worse than the baseline, and one of three trials may pass.
    "pruned": End(script=has_value(0.1), state=TrialState.PRUNED),
    # Two of five trials may pass, and trial 3 is better than trial 1.
    "paused and pruned": End(script=has_value(0.4), state=TrialState.PRUNED, n_trials=5),
    "refused": End(
        script=sends(ModelRefused(result_of([epoch(1, 0.5)], n_parameters=10_000))),
        state=TrialState.PRUNED,
        reason=FailureReason.OVER_A_LIMIT,
    ),
    "infeasible": End(
        script=sends(TrainingFailed(FailureReason.NAN_LOSS, "the loss is nan")),
        reason=FailureReason.NAN_LOSS,
    ),
    "infeasible in its second epoch": End(
        script=sends(EpochEnded(epoch(1, 0.5)), TrainingFailed(FailureReason.NAN_LOSS, "nan")),
        reason=FailureReason.NAN_LOSS,
    ),
    "lost": End(script=sends(None), reason=FailureReason.LOST, is_queued_again=True),
    "lost in its second epoch": End(
        script=sends(EpochEnded(epoch(1, 0.5)), None),
        reason=FailureReason.LOST,
        is_queued_again=True,
    ),
    "too long": End(reason=FailureReason.TOO_LONG, exceeds=True),
    "silent": End(reason=FailureReason.SILENT, exceeds=True, is_queued_again=True),
    "bug": End(script=sends(BUG), reason=FailureReason.BUG),
}


@pytest.fixture(params=ENDS)
def end(request: pytest.FixtureRequest) -> End:
    return ENDS[request.param]


@pytest.fixture
def ended(end: End, make: Make, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a search after an end of trial 1, for which a duplicate has waited."""
    run = make(
        after_the_baseline(end.script),
        n_workers=3,
        pruner="asha",
        keep_going=True,
        config={"max_parameters": 1_000},
    )
    same_as_the_first(run, n=1)
    hold_messages(run, monkeypatch, until=lambda: bool(run.open.duplicates))
    if end.exceeds:
        assert end.reason is not None
        exceed_a_limit(end.reason, monkeypatch)
    assert run.go(end.n_trials) is SearchEnd.FINISHED
    return run


def on_event(run: Run, start: str, do: Callable[[], object]) -> None:
    """Call a function at each event that begins with `start`."""

    def on_change(progressed: Progressed) -> None:
        if progressed.event.startswith(start):
            do()

    run.on_change = on_change


def interrupt(run: Run, *, when: Callable[[Progressed], bool]) -> None:
    def on_change(progressed: Progressed) -> None:
        run.session.interrupt.requested |= when(progressed)

    run.on_change = on_change


def end_the_time(run: Run, monkeypatch: pytest.MonkeyPatch, *, after: str) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(loop, "time", clock)
    on_event(run, after, lambda: vars(clock).update(now=1_001.0))


def same_as_the_first(run: Run, *, n: int) -> None:
    def enqueue() -> None:
        for _ in range(n):
            run.session.study.enqueue_trial(run.trials[1].params)

    on_event(run, "trial 1 starts", enqueue)


def hold_messages(run: Run, monkeypatch: pytest.MonkeyPatch, *, until: Callable[[], bool]) -> None:
    """Keep the messages of all workers back until a condition holds for the first time."""
    wait, is_held = run.pool.wait, True

    def held(timeout_seconds: float) -> list[Any]:
        nonlocal is_held
        is_held = is_held and not until()
        return [] if is_held else wait(timeout_seconds)

    monkeypatch.setattr(run.pool, "wait", held)


def exceed_a_limit(reason: FailureReason, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker of trial 1 exceed a limit after its first epoch."""

    def exceeded(self: Dispatcher[Any]) -> list[Any]:
        jobs = {worker: training.job for worker, training in self._trainings.items()}
        hung = [worker for worker, job in jobs.items() if job.number == 1 and job.history]
        return [(worker, reason, "it hung") for worker in hung]

    monkeypatch.setattr(Dispatcher, "_exceeded", exceeded)


def test_end_of_a_trial_is_written_to_the_study(end: End, ended: Run) -> None:
    trial, duplicate = ended.trials[1:3]
    assert trial.state is duplicate.state is end.state
    assert not trial.user_attrs.get("paused")
    reason = None if end.reason is None else end.reason.value
    assert trial.user_attrs.get("reason") == duplicate.user_attrs.get("reason") == reason
    assert duplicate.user_attrs.get("same_as") == (None if end.has_failed else 1)
    if end.reason is FailureReason.OVER_A_LIMIT:  # 10,000 parameters are 9 times too many.
        assert trial.constraints == {"n_parameters": pytest.approx(9.0)}
    assert len(ended.trials) == end.n_trials + (2 if end.has_failed else 0)
    if end.has_failed:
        assert (ended.trials[3].params == trial.params) == end.is_queued_again
        error = ended.session.folder.error_path(1).read_text()
        assert error.startswith(f"{end.reason}: ")
        of_duplicate = ended.session.folder.error_path(2).read_text()
        assert "it is the same as trial 1" in of_duplicate
        assert "vocab_size" in error
        assert ("it hung, and was replaced" in error) == end.exceeds


def test_end_of_a_trial_updates_all_that_is_kept_of_it(end: End, ended: Run) -> None:
    """Nothing of an ended trial remains with a worker, on disk, or among the open trials."""
    trial = ended.trials[1]
    assert ("trial 1 pauses after epoch 1" in ended.events) == (end is ENDS["paused and pruned"])
    assert ended.is_empty
    assert not ended.session.folder.checkpoint_path(1).exists()
    assert len(ended.pool.replaced) == (end.reason in REPLACED)
    assert len(ended.open) == 0
    assert ended.open.paused == ended.open.duplicates == ended.open.awaited == []
    at_rungs = {number for values in ended.open.rungs.values.values() for number in values}
    has_rung = bool(trial.intermediate_values) and not end.has_failed
    assert at_rungs >= {0} and (1 in at_rungs) == has_rung
    firsts = [
        ended.open.configurations.get(key(values_of(each, SPACE))) for each in ended.trials[:2]
    ]
    assert firsts == [0, end.first]


def test_configuration_is_trained_again_only_after_a_failure(end: End, ended: Run) -> None:
    ended.session.study.enqueue_trial(ended.trials[1].params)
    assert ended.go(end.n_trials + 1) is SearchEnd.FINISHED
    again = ended.trials[-1]
    assert again.params == ended.trials[1].params
    assert again.user_attrs.get("same_as") == end.first


def test_configuration_that_is_lost_twice_keeps_its_source_and_is_not_tried_again(
    make: Make,
) -> None:
    """With its source it is no draw of the sampler, from which the gain of more trials is
    estimated.
    """
    run = make(after_the_baseline(sends(None), n=2))
    run.go(1)
    run.session.study.enqueue_trial({"vocab_size": 77}, user_attrs={"imported": "queue"})
    assert run.go(2) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    sources = [trial.user_attrs.get("imported") for trial in run.trials]
    assert sources == [None, "queue", "queue", None]
    assert run.trials[2].params == run.trials[1].params == {"vocab_size": 77}
    assert run.trials[2].user_attrs["n_lost"] == 1


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("traceback", [BUG.traceback, ""])  # A refused model has none.
def test_bug_in_the_search_space_stops_the_search_and_all_is_queued_again(
    traceback: str, n_workers: int, make: Make
) -> None:
    bug = replace(BUG, traceback=traceback)
    run = make(after_the_baseline(sends(bug)), n_workers=n_workers)
    with pytest.raises(SpaceBug, match=r"Trial 1 \(.*\) stopped the study: KeyError") as raised:
        run.go(2)
    assert raised.value.traceback == traceback
    assert ("The traceback is in" in str(raised.value)) == bool(traceback)
    # With two workers, the baseline is still running.
    states = ["COMPLETE", "FAIL", "WAITING"] if n_workers == 1 else ["FAIL"] * 2 + ["WAITING"] * 2
    assert run.states() == states
    reasons = [trial.user_attrs.get("reason") for trial in run.trials[:2]]
    assert reasons == [None if n_workers == 1 else "interrupted", "bug"]
    assert f"{BUG.message}\n\n{traceback}" in run.session.folder.error_path(1).read_text()


@pytest.mark.parametrize("message", ["Negative dimension size", "output is zero or negative", ""])
def test_layers_that_need_longer_texts_name_the_length_that_was_taken_from_the_data(
    message: str, make: Make
) -> None:
    note = f"mine declares no sequence_length: it is 16, {USUAL_LENGTH}."
    space = replace(SPACE, notes=("another note.", note))
    with pytest.raises(SpaceBug) as raised:
        make(sends(replace(BUG, message=message)), space=space).go(1)
    assert (f"{note} For longer texts, give sequence_length" in str(raised.value)) == bool(message)


def test_search_ends_when_all_trials_fail_one_after_the_other(make: Make) -> None:
    run = make(sends(TrainingFailed(FailureReason.OUT_OF_MEMORY, "9 GB")))
    with pytest.raises(SpaceError, match="10 failed one after the other, the last for 'out of mem"):
        run.go(99)
    assert run.states() == ["FAIL"] * ends.MAX_FAILURES_IN_A_ROW


def by_value(values: list[float]) -> Scripts:
    """Return scripts of trainings with these values, in the order in which the trials start.

    A resumed training has the same value as before.
    """
    of_checkpoint: dict[str | None, float] = {}
    left = iter(values)

    def script(job: TrainingJob) -> Script:
        if job.checkpoint not in of_checkpoint:
            of_checkpoint[job.checkpoint] = next(left)
        return trains(job, value=of_checkpoint[job.checkpoint])

    return script


def test_paused_trial_goes_on_when_worse_trials_have_come_after_it(make: Make) -> None:
    run = make(by_value([0.5, 0.9, 0.8, 0.3, 0.2, 0.1, 0.1, 0.1]), pruner="asha")
    assert run.go(8) is SearchEnd.FINISHED
    paused, went_on = (
        run.events.index(f"trial 2 {what} after epoch 1") for what in ("pauses", "goes on")
    )
    assert paused < run.events.index("trial 3 epoch 1: val_accuracy 0.3000") < went_on
    assert [*run.trials[2].intermediate_values][:2] == [1, 2]
    assert not [*run.session.folder.path.rglob("checkpoint*")]
    assert run.is_empty


def test_paused_trial_that_can_t_go_on_any_more_is_pruned_at_once(make: Make) -> None:
    events: list[tuple[str, int]] = []
    run = make(by_value([0.9, 0.1, 0.8, 0.7]), pruner="asha")
    run.on_change = lambda p: events.append((p.event, len(run.open.paused)))
    assert run.go(4) is SearchEnd.FINISHED
    pruned_at = [event for event, _ in events].index(
        "trial 1 pruned after epoch 1, behind too many at its rung"
    )
    assert not any(event.startswith("trial 3 complete") for event, _ in events[:pruned_at])
    assert run.states()[1] == "PRUNED"


def test_oldest_paused_trial_makes_room_for_the_checkpoints_of_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_trials, "MAX_CHECKPOINT_BYTES", 0)
    run = make(by_value([0.9, 0.8, 0.3, 0.2]), pruner="asha")
    assert run.go(4) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]


def test_paused_trial_whose_checkpoint_was_deleted_is_queued_again(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run = make(by_value([0.5, 0.9, 0.8, 0.3, 0.8, 0.2, 0.1, 0.1, 0.1]), pruner="asha")
    trials = run.session.folder.path / "trials"
    on_event(run, "trial 2 pauses", lambda: shutil.rmtree(trials))
    assert run.go(8) is SearchEnd.FINISHED
    assert run.trials[2].user_attrs["reason"] == "lost"
    (again,) = (t for t in run.trials if t.user_attrs.get("retry_of") == 2)
    assert again.params == run.trials[2].params and len(again.intermediate_values) > 1
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["trial 2 can't go on: its checkpoint was deleted"]
    assert run.is_empty


def test_duplicate_does_not_end_the_search_for_paused_trials(make: Make) -> None:
    """With one worker, nothing trains while a duplicate gets the result of its first trial."""
    run = make(by_value([0.9, 0.8, 0.3, 0.2]), pruner="asha")
    on_event(run, "trial 1 starts", lambda: run.session.study.enqueue_trial({"vocab_size": 10}))
    assert run.go(5) is SearchEnd.FINISHED
    assert run.trials[2].user_attrs["same_as"] == 0
    assert "trial 1 goes on after epoch 1" in run.events


@pytest.mark.parametrize("can_pause", [True, False])
@pytest.mark.parametrize("reason", ["interrupted", "timeout"])
def test_trial_of_a_search_that_is_stopped_is_paused_or_queued_again(
    reason: str, can_pause: bool, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(after_the_baseline(lambda job: trains(job, can_pause=can_pause)))
    if reason == "timeout":
        end_the_time(run, monkeypatch, after="trial 1 epoch 2")
    else:
        interrupt(run, when=lambda progressed: progressed.event.startswith("trial 1 epoch 2"))
    assert run.go(3, timeout_seconds=1_000) == reason
    # The search was stopped during the third epoch.
    assert len(run.trials[1].intermediate_values) == 3
    if can_pause:
        assert run.states() == ["COMPLETE", "RUNNING"]
        assert run.trials[1].user_attrs["paused"]
        assert run.session.folder.checkpoint_path(1).exists()
    else:
        assert run.states() == ["COMPLETE", "FAIL", "WAITING"]
        assert run.trials[1].user_attrs["reason"] == reason
    # The worker of the trial is free for the next call.
    run.session.interrupt.requested, run.on_change = False, lambda progressed: None
    assert run.go(3, timeout_seconds=1_000) is SearchEnd.FINISHED
    assert run.states().count("COMPLETE") == 3


def test_trial_that_another_program_has_finished_is_left_out(make: Make) -> None:
    run = make(after_the_baseline(trains))
    study = run.session.study
    on_event(run, "trial 1 epoch 2", lambda: study.tell(1, state=TrialState.FAIL))
    assert run.go(2) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "reason" not in run.trials[1].user_attrs
    assert run.is_empty
    study.enqueue_trial(run.trials[1].params)
    assert run.go(3) is SearchEnd.FINISHED
    assert "same_as" not in run.trials[3].user_attrs


def test_queued_value_that_is_no_choice_fails_its_trial_and_no_other(make: Make) -> None:
    item = Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru"))
    space = replace(SPACE, hyperparameters=(*SPACE.hyperparameters, item))
    run = make(trains, space=space)
    run.session.study.enqueue_trial({"cell": "rnn"})
    run.session.study.enqueue_trial({"cell": "gru"})
    assert run.go(3) is SearchEnd.FINISHED
    assert sorted(run.states()) == ["COMPLETE"] * 3 + ["FAIL"]
    assert "gru" in [trial.params.get("cell") for trial in run.trials]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_duplicates_get_the_result_of_the_trial_that_they_wait_for(
    n_workers: int, make: Make
) -> None:
    run = make(trains, n_workers=n_workers)
    same_as_the_first(run, n=2)
    assert run.go(4) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE"] * 4
    assert len(run.pool.jobs) == 2
    for duplicate in run.trials[2:]:
        assert duplicate.user_attrs["same_as"] == 1
        assert duplicate.values == run.trials[1].values
        assert duplicate.user_attrs["seconds"] == {}
        assert duplicate.intermediate_values == run.trials[1].intermediate_values
        histories = [run.session.folder.history_path(n) for n in (1, duplicate.number)]
        assert read_history(histories[0]) == read_history(histories[1]) != []
    assert run.is_empty


POINTS = ({"vocab_size": 20, "sequence_length": 8}, {"vocab_size": 30, "sequence_length": 8})
GRID = SearchSpace(
    "grid",
    (
        Hyperparameter(name="vocab_size", kind="int", default=10, low=10, high=40, step=10),
        Hyperparameter(name="sequence_length", kind="fixed", default=8),
    ),
)


def with_points(sampler: str = "random") -> dict[str, Any]:
    """Return the changes that give a session a space with starting points, and a sampler."""
    return {"space": replace(SPACE, starting_points=POINTS), "config": {"sampler": sampler}}


def vocab_sizes(run: Run) -> list[int]:
    return [trial.params["vocab_size"] for trial in run.trials]


def numbers(run: Run) -> list[int | None]:
    return [trial.user_attrs.get("starting_point") for trial in run.trials]


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "qmc"])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_starting_points_are_trained_right_after_the_baseline(
    n_workers: int, sampler: str, make: Make
) -> None:
    run = make(trains, n_workers=n_workers, **with_points(sampler))
    assert run.go(5) is SearchEnd.FINISHED
    # The study has no more trials than asked for.
    assert run.states() == ["COMPLETE"] * 5
    assert vocab_sizes(run)[:3] == [10, 20, 30]
    assert numbers(run) == [None, 1, 2, None, None]
    assert len(set(vocab_sizes(run))) == 5
    started = [event for event in run.events if " starts" in event]
    assert started[0] == "trial 0 starts: vocab_size 10"
    assert started[2] == "trial 2 starts (starting point 2): vocab_size 30"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_grid_searches_each_point_of_each_branch_once(n_workers: int, make: Make) -> None:
    conditions = (("vocab_size", (10, 20)),)
    depth = Hyperparameter(
        name="depth", kind="int", default=1, low=1, high=2, step=1, conditions=conditions
    )
    points = ({"vocab_size": 20, "sequence_length": 8, "depth": 2}, POINTS[1])
    space = replace(GRID, hyperparameters=(*GRID.hyperparameters, depth), starting_points=points)
    run = make(trains, n_workers=n_workers, space=space, config={"sampler": "grid"})
    assert run.go(20) is SearchEnd.EXHAUSTED
    assert vocab_sizes(run)[:3] == [10, 20, 30]
    assert sorted(vocab_sizes(run)) == [10, 10, 20, 20, 30, 40]
    assert len({tuple(trial.params.values()) for trial in run.trials}) == 6
    again = Run(run.session, FakePool(trains))
    assert again.go(20) is SearchEnd.EXHAUSTED and len(run.trials) == 6


@pytest.mark.parametrize("word", [word for word in SAMPLERS if word != "grid"])
@pytest.mark.parametrize("pruner", [word for word in PRUNERS if word != "asha"])
def test_search_with_each_sampler_and_pruner_in_a_conditional_space(
    word: str, pruner: str, make: Make
) -> None:
    if word == "gp":
        pytest.importorskip("torch")
    values = itertools.count()
    run = make(
        lambda job: trains(job, value=0.5 - next(values) / 100),
        n_workers=2,
        pruner=pruner,
        space=OF_NGRAMS,
        config={"sampler": word},
    )
    assert run.go(14) is SearchEnd.FINISHED
    assert {trial.params["kind"] for trial in run.trials} == {"words", "ngrams"}
    assert ("PRUNED" in run.states()) == (pruner != "none")


class Middle(optuna.samplers.BaseSampler):
    """A sampler that a user has written: it proposes the numbers from 100 upwards."""

    def __init__(self) -> None:
        self.n_drawn, self.told = 0, list[TrialState]()

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, dist: Any) -> Any:
        self.n_drawn += 1
        return 99 + self.n_drawn

    def after_trial(self, study: Any, trial: Any, state: TrialState, values: Any) -> None:
        self.told.append(state)


class Odd(optuna.pruners.BasePruner):
    """A pruner that a user has written: it prunes the trials of odd numbers after two epochs."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number % 2 == 1 and trial.last_step == 2


def test_sampler_and_pruner_of_a_user_keep_their_state(make: Make) -> None:
    run = make(trains, pruner="Odd", config={"sampler": "Middle"})
    sampler = run.session.study.sampler = Middle()
    run.session.study.pruner = Odd()
    assert run.go(5) is SearchEnd.FINISHED
    assert vocab_sizes(run) == [10, 100, 101, 102, 103]  # the baseline is not drawn
    assert run.states() == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "COMPLETE"]
    assert [trial.last_step for trial in run.trials] == [EPOCHS, 2, EPOCHS, 2, EPOCHS]
    assert run.session.study.sampler is sampler
    assert [state.name for state in sampler.told] == run.states()


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.BruteForceSampler(seed=0),
        optuna.samplers.GridSampler({"vocab_size": [10, 20, 30, 40]}, seed=0),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_sampler_of_a_user_that_stops_the_study_ends_the_search(
    sampler: optuna.samplers.BaseSampler, make: Make
) -> None:
    run = make(trains, space=GRID, config={"sampler": type(sampler).__name__})
    run.session.study.sampler = sampler
    assert run.go(20) is SearchEnd.EXHAUSTED
    assert {*vocab_sizes(run)} == {10, 20, 30, 40}


WEIGHTINGS = ("log_count_ratios", "inverse_document_frequencies")


def of_ngrams(name: str, kind: str, default: Any, **options: Any) -> Hyperparameter:
    conditions = (("kind", ("ngrams",)),)
    return Hyperparameter(name=name, kind=kind, default=default, conditions=conditions, **options)


OF_NGRAMS = SearchSpace(
    "of_ngrams",
    (
        *SPACE.hyperparameters,
        Hyperparameter(name="kind", kind="choice", default="words", choices=("words", "ngrams")),
        of_ngrams("ngrams", "int", 3, low=1, high=3),
        of_ngrams("ngram_vocab_size", "int", 9, low=3, high=90, log=True),
        of_ngrams("ngram_c", "float", 10.0, low=1.0, high=300.0, log=True),
        of_ngrams("ngram_weighting", "choice", WEIGHTINGS[0], choices=WEIGHTINGS),
    ),
)
WORDS: Values = {"vocab_size": 20, "sequence_length": 8, "kind": "words"}
NGRAMS: Values = {
    **{"vocab_size": 10, "sequence_length": 8, "kind": "ngrams", "ngrams": 3},
    **{"ngram_vocab_size": 9, "ngram_c": 10.0, "ngram_weighting": "log_count_ratios"},
}
LINEAR: Values = {
    **NGRAMS,
    **{"ngrams": 2, "ngram_vocab_size": 5, "ngram_c": 30.0},
    "ngram_weighting": "inverse_document_frequencies",
}


def with_linear_model(fit: FakeFit, **changes: Any) -> dict[str, Any]:
    """Return the changes that give a session a fit, and a space whose second point waits for it."""
    space = replace(OF_NGRAMS, starting_points=(WORDS, NGRAMS), linear_points=(2,))
    return {"space": replace(space, **changes), "fit": fit}


def values_at(run: Run, number: int) -> Values:
    return values_of(run.trials[number], run.session.space)


@pytest.mark.parametrize(
    ("n_workers", "n_polls", "points"),
    [
        (1, 0, [None, 2, 1, None, None]),
        (1, 7, [None, 2, 1, None, None]),
        # Other points go first while the model is trained beside two workers. A drawn trial would
        # have come before the second point, and both workers wait.
        (2, 30, [None, 1, 2, None, None]),
    ],
)
def test_point_waits_for_the_ngrams_of_the_linear_model(
    n_workers: int, n_polls: int, points: list[int | None], make: Make
) -> None:
    run = make(trains, n_workers=n_workers, **with_linear_model(FakeFit(n_polls=n_polls)))
    assert run.go(5) is SearchEnd.FINISHED
    assert numbers(run) == points
    assert values_at(run, points.index(2)) == LINEAR
    of_model = [point == 2 or None for point in points]
    assert [t.user_attrs.get("linear_ngrams") for t in run.trials] == of_model
    starts = f"trial {points.index(2)} starts (starting point 2, the linear model's n-grams): "
    assert sum(event.startswith(starts) for event in run.events) == 1


@pytest.mark.parametrize("n_workers", [1, 2])
def test_points_keep_their_defaults_without_a_linear_model(n_workers: int, make: Make) -> None:
    for changes in (
        with_linear_model(FakeFit(settings=None, n_polls=3)),
        {**with_linear_model(FakeFit()), "fit": None},
    ):
        run = make(trains, n_workers=n_workers, **changes)
        assert run.go(4) is SearchEnd.FINISHED
        by_point = {number: values_at(run, n) for n, number in enumerate(numbers(run)) if number}
        assert by_point == {1: WORDS, 2: NGRAMS}
        assert not any("linear_ngrams" in trial.user_attrs for trial in run.trials)


def test_point_that_is_lost_is_queued_again_with_the_ngrams_of_the_linear_model(make: Make) -> None:
    run = make(after_the_baseline(sends(None)), **with_linear_model(FakeFit()))
    assert run.go(3) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert numbers(run) == [None, 2, 2, 1]
    assert [values_at(run, number) for number in (1, 2)] == [LINEAR, LINEAR]
    assert [trial.user_attrs["linear_ngrams"] for trial in run.trials[1:3]] == [True, True]


@pytest.mark.parametrize(
    ("settings", "expected"), [(CHOSEN, [None, 1, None]), (None, [None, None, None])]
)
def test_baseline_is_no_point_without_the_ngrams_of_the_linear_model(
    settings: NgramSettings | None, expected: list[int | None], make: Make
) -> None:
    space = SearchSpace(
        "ngrams", tuple(replace(i, conditions=()) for i in OF_NGRAMS.hyperparameters)
    )
    space = replace(space, starting_points=(defaults(space.hyperparameters),), linear_points=(1,))
    run = make(trains, space=space, fit=FakeFit(settings))
    assert run.go(3) is SearchEnd.FINISHED
    assert numbers(run) == expected
    assert len({key(values_of(trial, space)) for trial in run.trials}) == 3


def test_search_that_was_interrupted_while_it_waited_gives_the_same_trials(make: Make) -> None:
    whole = make(trains, **with_linear_model(FakeFit()))
    whole.go(5)
    run = make(trains, **with_linear_model(FakeFit(n_polls=1_000_000)))
    interrupt(run, when=lambda progressed: progressed.summary.n_finished == 1)
    assert run.go(5) is SearchEnd.INTERRUPTED
    session = replace(run.session, fit=FakeFit(n_polls=2), interrupt=Interrupt())
    again = Run(session, run.pool)
    assert again.go(5) is SearchEnd.FINISHED
    assert [t.params for t in again.trials] == [t.params for t in whole.trials]
    assert numbers(again) == numbers(whole)


@pytest.mark.parametrize("has_points", [True, False])
def test_training_of_the_linear_model_begins_after_an_epoch_unless_points_wait_for_it(
    has_points: bool, make: Make
) -> None:
    fit, started = FakeFit(), []
    changes = with_linear_model(fit) if has_points else {"fit": fit}
    run = make(trains, **changes)
    run.on_change = lambda progressed: started.append(
        (fit.niceness, any(opened.n_epochs for opened in run.open.dispatcher.running))
    )
    run.go(2)
    assert fit.niceness == (0 if has_points else NICENESS)
    assert started[0][0] == (0 if has_points else None)
    first = next(n for n, (niceness, _) in enumerate(started) if niceness is not None)
    assert any(has_epoch for _, has_epoch in started[:first]) is not has_points


def test_patience_that_is_over_completes_a_trial_that_was_to_be_paused(make: Make) -> None:
    """The worker ends a training after its patience, for any answer."""

    def impatient(job: TrainingJob) -> Script:
        yield EpochEnded(epoch(1, 0.1))
        yield TrainingEnded(result_of([epoch(1, 0.1)]))

    run = make(after_the_baseline(impatient), pruner="asha")
    assert run.go(2) is SearchEnd.FINISHED
    assert run.states() == ["COMPLETE", "COMPLETE"]


def test_folds_are_the_rungs_and_each_value_is_that_of_the_last_fold(make: Make) -> None:
    run = make(by_value([0.5, 0.9, 0.8, 0.3, 0.2, 0.1, 0.1, 0.1]), pruner="asha")
    train = TrainConfig(epochs=4, n_folds=4)
    config = replace(run.session.config, train=train, seed=3)
    run = Run(replace(run.session, config=config), run.pool)
    assert run.go(8) is SearchEnd.FINISHED
    assert {job.redraw for job in run.pool.jobs} == {Redraw(seed=3, n_folds=4)}
    assert "trial 0 fold 4: val_accuracy 0.5000" in run.events
    stopped = [trial for trial in run.trials if trial.state == TrialState.PRUNED]
    assert {max(trial.intermediate_values) for trial in stopped} <= {1, 2} != set()
    assert {trial.user_attrs["n_folds"] for trial in run.trials} == {4}
    assert run.trials[0].user_attrs["n_epochs"] == 4
    history = read_history(run.session.folder.history_path(0))
    assert [row["fold"] for row in history] == [1, 2, 3, 4]
    tracked = tracked_trial(
        run.trials[0], run.session.space, run.session.folder, metric="val_accuracy"
    )
    assert tracked is not None
    assert [epoch.step for epoch in tracked.epochs] == [1, 2, 3, 4]
    assert [epoch.metrics.keys() for epoch in tracked.epochs] == [{"loss", "val_accuracy"}] * 4
    run.session.folder.history_path(0).unlink()  # A trial of another machine has none here.
    elsewhere = tracked_trial(
        run.trials[0], run.session.space, run.session.folder, metric="val_accuracy"
    )
    assert elsewhere is not None
    assert [epoch.metrics.keys() for epoch in elsewhere.epochs] == [{"val_accuracy"}] * 4


def test_failures_are_counted_anew_after_a_duplicate_has_its_result(make: Make) -> None:
    """One value of the space fails each time that it is drawn."""

    def fails(job: TrainingJob) -> Script:
        if job.values["vocab_size"] == 40:
            yield TrainingFailed(FailureReason.NAN_LOSS, "")
        yield from trains(job)

    run = make(fails, space=GRID)
    assert run.go(40) is SearchEnd.FINISHED
    assert run.states().count("FAIL") > ends.MAX_FAILURES_IN_A_ROW


@pytest.mark.parametrize("reason", [FailureReason.TOO_LONG, FailureReason.NAN_LOSS])
def test_baseline_that_a_limit_has_ended_is_tried_again_by_the_next_call(
    reason: FailureReason, make: Make
) -> None:
    fails_first = iter([True])

    def script(job: TrainingJob) -> Script:
        if next(fails_first, False):
            yield TrainingFailed(reason, "")
        yield from trains(job)

    run = make(script)
    assert run.go(1) is SearchEnd.FINISHED
    for _ in range(2):
        assert Run(run.session, run.pool).go(2) is SearchEnd.FINISHED
        assert run.states() == ["FAIL", "COMPLETE", "COMPLETE"]
    baselines = [trial.number for trial in run.trials if trial.user_attrs.get("baseline")]
    assert baselines == ([0] if reason is FailureReason.NAN_LOSS else [0, 2])


def test_duplicate_of_a_retried_starting_point_is_neither(make: Make) -> None:
    """Otherwise the seed stream would lose a draw index, and the point would count twice."""
    run = make(trains)
    assert run.go(1) is SearchEnd.FINISHED
    study, own = run.session.study, {"retry_of": 0, "n_lost": 1, "starting_point": 1}
    study.enqueue_trial({"vocab_size": 500}, user_attrs=own)
    study.enqueue_trial({"vocab_size": 500})
    assert run.go(3) is SearchEnd.FINISHED
    first, duplicate = run.trials[1:]
    assert first.user_attrs.items() >= own.items() and duplicate.user_attrs["same_as"] == 1
    assert not own.keys() & duplicate.user_attrs.keys()


def test_trials_after_one_that_can_not_be_written_are_set_aside(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not count as a death of the coordinator."""
    run = make(lambda job: trains(job, can_pause=False), n_workers=3)
    interrupt(run, when=lambda progressed: len(run.open.dispatcher.running) == 3)
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.0)

    def full(*arguments: Any, **options: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(run.search._writer, "write_error", full)
    with pytest.raises(StorageError):
        run.go(9)
    reasons = {trial.user_attrs.get("reason") for trial in run.trials}
    assert reasons == {FailureReason.INTERRUPTED}
    for _ in range(4):
        again = Run(run.session, run.pool)
        run.session.interrupt.requested = True
        again.go(9)
    assert not any(trial.user_attrs.get("n_deaths") for trial in run.trials)


def test_ctrl_c_fails_a_trial_and_its_duplicate_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The duplicate ends with the trial that it waits for."""
    run = make(lambda job: trains(job, can_pause=False), n_workers=3)
    hold_messages(run, monkeypatch, until=lambda: run.session.interrupt.requested)
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.0)

    def on_change(progressed: Progressed) -> None:
        if progressed.event.startswith("trial 1 starts"):
            run.session.study.enqueue_trial(run.trials[1].params)
        run.session.interrupt.requested |= bool(run.open.duplicates)

    run.on_change = on_change
    assert run.go(9) is SearchEnd.INTERRUPTED
    assert not [event for event in run.events if "another program" in event]
    assert "RUNNING" not in run.states()
    assert {
        trial.user_attrs.get("reason") for trial in run.trials if trial.state.is_finished()
    } == {FailureReason.INTERRUPTED}


def test_baseline_is_not_queued_again_in_a_study_that_has_no_room(make: Make) -> None:
    def too_long(job: TrainingJob) -> Script:
        if job.values["vocab_size"] == 10:
            yield TrainingFailed(FailureReason.TOO_LONG, "")
        yield from trains(job)

    run = make(too_long)
    for _ in range(2):
        assert Run(run.session, run.pool).go(3) is SearchEnd.FINISHED
    assert run.states() == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    for n_trials in (4, 5, 6, 7):
        assert Run(run.session, run.pool).go(n_trials) is SearchEnd.FINISHED
    assert sum(bool(trial.user_attrs.get("baseline")) for trial in run.trials) == 3


def test_call_goes_on_with_the_budget_of_the_study(make: Make) -> None:
    run, started = make(trains), time.monotonic()

    def left(**budget: Any) -> tuple[int, float | None]:
        return _left(Budget(**budget), run.session, started=started)

    set_n_trials(run.session.study, 9)
    assert left() == (9, None)
    assert left(n_trials=7) == (7, None)
    assert requested_n_trials(run.session.study) == 7
    n_trials, seconds = left(n_trials=MAX_TRIALS, timeout_seconds=600)  # as in a comparison
    assert n_trials == MAX_TRIALS and 590 < (seconds or 0.0) <= 600
    assert left() == (7, None)
