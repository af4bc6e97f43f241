"""Several coordinators on one study: trial slots, heartbeats, seed streams, joining; on SQLite, and
in the slow tests on PostgreSQL.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from tests.fake_fit import FakeFit
from tests.fake_workers import FakePool, trains
from tests.studies import CONFIG, SPACE, Setting, session_of, tune_with
from tests.texts import make_reviews
from tuning.atomic_io import read_json
from tuning.cli.studies import coordinator_sentences
from tuning.config import StudyConfig
from tuning.errors import StudyError, TuningError
from tuning.outcomes import FailureReason, SearchEnd
from tuning.results import ResultsDir, StudyDir
from tuning.search import proposals
from tuning.search.events import Progressed
from tuning.search.linear_model import follow
from tuning.search.loop import Search
from tuning.search.open_trials import OpenTrial
from tuning.search.proposals import Proposals
from tuning.search.recovery import start, take_over
from tuning.search.writer import StudyWriter
from tuning.study import coordinators
from tuning.study.coordinators import (
    FIRST_COORDINATOR,
    SEARCHED_SECONDS,
    TOTAL_SECONDS,
    Coordinators,
    heartbeats_of,
    identify,
    searched_seconds,
)
from tuning.study.gain import N_MORE
from tuning.study.handle import CoordinatorStatus, StudyHandle, status_of
from tuning.study.storage import close_study
from tuning.study.study import (
    fetch_study,
    load_study,
    open_study,
    read_record,
    recorded_space,
)

RANDOM = replace(CONFIG, sampler="random", pruner="none")
NO_PROCESS = 2**22 + 1  # Linux has no larger process id than 2**22.


@dataclass(frozen=True)
class Shared:
    """A study in a storage that several coordinators open, each with a folder of its own."""

    folder: Path
    url: str
    config: StudyConfig
    opened: list[optuna.Study] = field(default_factory=list)

    def writer(self, own: str = FIRST_COORDINATOR) -> StudyWriter:
        """Return the study's writer of a coordinator that has written its first heartbeat."""
        results = ResultsDir(self.folder / own)
        if own != FIRST_COORDINATOR:
            fetch_study(results.study(self.config.study), storage_url=self.url, moved={})
        study = open_study(results, self.config, SPACE, data_fingerprint="d0", storage_url=self.url)
        self.opened.append(study)
        coordinators = Coordinators(study, own)
        coordinators.exchange_heartbeats()
        return StudyWriter(session_of(study, self.config, SPACE, results), coordinators)


@dataclass
class Clock:
    """The monotonic clock of all coordinators in this process."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(coordinators, "time", made)
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """Yield a study in each of both storages, with which all tests below must pass."""
    if request.param == "postgresql":
        made = Shared(
            tmp_path,
            request.getfixturevalue("postgresql"),
            replace(RANDOM, study=f"s-{tmp_path.name}"),
        )
    else:
        made = Shared(tmp_path, f"sqlite:///{tmp_path}/shared.db", RANDOM)
    yield made
    for study in made.opened:
        close_study(study)


def ask(writer: StudyWriter) -> OpenTrial:
    """Return a new trial of a coordinator, in a study of three trials."""
    trial = Proposals(writer).ask(n_trials=3)
    assert trial is not None
    return trial


def ask_all(shared: Shared, own: str, n_trials: int) -> None:
    """Take trial slots until no slot is left. A process runs this function."""
    writer = shared.writer(own)
    while Proposals(writer).ask(n_trials=n_trials) is not None:
        pass


def states(shared: Shared) -> list[TrialState]:
    return [t.state for t in load_study_of(shared).trials]


def load_study_of(shared: Shared) -> optuna.Study:
    results = ResultsDir(shared.folder / FIRST_COORDINATOR)
    study = load_study(results.study(shared.config.study), storage_url=shared.url)
    shared.opened.append(study)
    return study


@pytest.mark.slow
def test_number_of_slots_is_exact_over_concurrent_processes(shared: Shared) -> None:
    shared.writer()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=ask_all, args=(replace(shared, opened=[]), f"{number:x}", 17))
        for number in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 2
    assert states(shared) == [TrialState.RUNNING] * 17


def test_failed_trial_gives_its_slot_back(shared: Shared) -> None:
    first, second = shared.writer(), shared.writer("a")
    trial = Proposals(first).ask(n_trials=1)
    assert trial is not None and Proposals(second).ask(n_trials=1) is None
    first.fail(trial, FailureReason.NAN_LOSS, "")
    assert Proposals(second).ask(n_trials=1) is not None


def test_trials_of_a_dead_coordinator_are_queued_again_by_another(
    shared: Shared, clock: Clock
) -> None:
    first, second = shared.writer(), shared.writer("a")
    trial = ask(second)
    clock.now += 10
    assert not taken_over(first)  # it has read the second's heartbeat for the first time
    clock.now += 59
    assert not taken_over(first)
    clock.now += 2
    assert taken_over(first)
    assert ask(first).values == trial.values
    lost = load_study_of(shared).trials[trial.number]
    assert (lost.state, lost.user_attrs["reason"]) == (TrialState.FAIL, "lost")


@pytest.mark.parametrize("intervals", [[40] * 10, [3600]], ids=["often", "after the first stopped"])
def test_trials_of_a_coordinator_with_heartbeats_stay_its_own(
    intervals: list[int], shared: Shared, clock: Clock
) -> None:
    first, second = shared.writer(), shared.writer("a")
    ask(second)
    assert not taken_over(first)
    for seconds in intervals:
        clock.now += seconds
        second.coordinators.exchange_heartbeats()
        assert not taken_over(first)


def test_paused_trials_of_a_coordinator_that_left_are_taken_over_last(
    shared: Shared, clock: Clock
) -> None:
    first, second = shared.writer(), shared.writer("a")
    trial = ask(second)
    second.mark(trial, paused=True)
    second.coordinators.leave()
    clock.now += 10
    assert not taken_over(first)
    assert take_over(first, paused=True)


def test_trial_that_ends_while_it_is_taken_over_keeps_its_state(
    shared: Shared, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shared.writer(), shared.writer("a")
    trial = ask(second)
    second.coordinators.leave()
    clock.now += 10
    first.coordinators.exchange_heartbeats()
    first.refresh()
    second.prune(trial)
    # The first has the trials as they were read before the end.
    monkeypatch.setattr(first, "refresh", lambda: None)
    take_over(first, paused=True)
    assert states(shared) == [TrialState.PRUNED]


def test_trial_that_is_taken_over_while_it_fails_is_queued_again_once(
    shared: Shared, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first coordinator waits for the lock while the second takes over its trials."""
    first, second = shared.writer(), shared.writer("a")
    trial = ask(first)
    clock.now += 61
    monkeypatch.setattr(first, "write_error", lambda *_, **__: taken_over(second))
    with pytest.raises(UpdateFinishedTrialError):
        first.fail(trial, FailureReason.LOST, "")
    assert states(shared) == [TrialState.FAIL, TrialState.WAITING]


def test_each_coordinator_draws_from_its_own_seed_stream(shared: Shared, tmp_path: Path) -> None:
    alone = Shared(tmp_path / "alone", f"sqlite:///{tmp_path}/alone.db", RANDOM)
    undisturbed = drawn(alone.writer(), 6)
    first, second = shared.writer(), shared.writer("a")
    together = [(drawn(first, 1)[0], drawn(second, 1)[0]) for _ in range(6)]
    assert [mine for mine, _ in together] == undisturbed
    assert [other for _, other in together] != undisturbed


def drawn(writer: StudyWriter, n: int) -> list[object]:
    trials = [Proposals(writer).ask(n_trials=100) for _ in range(n)]
    return [trial and trial.values for trial in trials]


def taken_over(writer: StudyWriter) -> bool:
    """Read the heartbeats again, and return whether a running trial was taken over."""
    writer.coordinators.exchange_heartbeats()
    writer.refresh()
    return take_over(writer, paused=False)


def start_again(writer: StudyWriter) -> bool:
    return bool(start(writer, n_trials=99))


@pytest.mark.parametrize("settle", [start_again, taken_over])
def test_slot_of_a_coordinator_that_died_before_it_wrote_its_name_is_free_again(
    settle: Callable[[StudyWriter], bool], shared: Shared, clock: Clock
) -> None:
    first = shared.writer()
    shared.writer("a")
    clock.now += 10
    load_study_of(shared).ask()
    settle(first)
    assert states(shared) == [TrialState.FAIL, TrialState.WAITING]


def test_copy_of_a_folder_is_refused_and_keeps_its_heartbeats_when_the_other_leaves(
    shared: Shared, clock: Clock
) -> None:
    first, copy = shared.writer(), shared.writer()
    clock.now += 10
    with pytest.raises(StudyError, match="copy of this folder"):
        first.coordinators.exchange_heartbeats()
    first.coordinators.leave()
    copy.coordinators.read_heartbeats()
    copy.coordinators.leave()
    assert heartbeats_of(copy.study)[FIRST_COORDINATOR].left


@pytest.mark.parametrize("is_alive", [True, False])
def test_copy_of_a_folder_at_work_on_another_machine_is_refused_at_its_start(
    is_alive: bool, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken from the process that is at work. In containers, both have the id 1."""
    monkeypatch.setattr("socket.gethostname", lambda: "first")
    first = shared.writer()
    monkeypatch.setattr("socket.gethostname", lambda: "second")

    def wait(seconds: float) -> None:
        assert seconds > coordinators.DEAD_SECONDS / coordinators.HEARTBEATS
        if is_alive:
            first.coordinators._due = 0.0
            first.coordinators.exchange_heartbeats()

    monkeypatch.setattr(coordinators, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))
    expected = pytest.raises(StudyError, match="copy of this folder")
    with expected if is_alive else contextlib.nullcontext():
        shared.writer()
    if is_alive:
        first.coordinators.read_heartbeats()


def test_killed_process_of_this_machine_is_not_waited_for(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.getpid", lambda: 2**22 + 1)  # larger than every process id of Linux
        shared.writer()
    waiting = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("waits"))
    monkeypatch.setattr(coordinators, "time", waiting)
    shared.writer()


def test_folder_of_another_study_of_the_same_name_is_refused(
    shared: Shared, tmp_path: Path
) -> None:
    shared.writer()
    other = Shared(tmp_path / "alone", f"sqlite:///{tmp_path}/alone.db", shared.config)
    other.writer()
    for study in other.opened:
        close_study(study)
    with pytest.raises(StudyError, match="must belong to the study in the storage"):
        replace(other, url=shared.url, opened=[]).writer()


class PatientPool(FakePool):
    """Workers of a search that may wait for the trials of another machine."""

    def wait(self, timeout_seconds: float) -> list[Any]:
        self._n_empty = 0
        time.sleep(0.01)
        return super().wait(timeout_seconds)


def test_search_of_two_machines_ends_on_both_when_more_trials_are_not_worth_it(
    shared: Shared,
) -> None:
    def search(writer: StudyWriter) -> SearchEnd:
        session = replace(writer.session, pool=PatientPool(trains).as_pool)
        own = Coordinators(session.study, writer.coordinators.own, dead_seconds=12.0)
        return Search(session, own).run("auto", timeout_seconds=100)

    # This sampler draws a duplicate only when no other configuration is left.
    study = replace(shared, config=replace(shared.config, sampler="auto"))
    writers = [study.writer(own) for own in (FIRST_COORDINATOR, "a")]
    with ThreadPoolExecutor() as threads:
        assert [*threads.map(search, writers)] == [SearchEnd.ENOUGH] * 2
    trials = load_study_of(shared).trials
    # The space has eight configurations; both machines may train one at the same time.
    assert len({tuple(trial.params.values()) for trial in trials}) == 8
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    assert all("same_as" in trial.user_attrs for trial in trials[-N_MORE:]) and len(trials) <= 60


def with_grid(shared: Shared) -> Shared:
    name = f"{shared.config.study}-grid"
    return replace(shared, config=replace(shared.config, study=name, sampler="grid"))


def test_grid_point_of_another_coordinator_is_not_queued_again(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    gridded = with_grid(shared)
    first, second = gridded.writer(), gridded.writer("a")
    storage = gridded.opened[0]._storage
    # The first has its point and has not drawn yet.
    monkeypatch.setattr(Proposals, "_draw", lambda self, trial_id, trials: None)
    with pytest.raises(AttributeError):
        Proposals(first).ask(n_trials=100)
    monkeypatch.undo()
    trial = Proposals(second).ask(n_trials=100)
    taken, own = storage.get_all_trials(gridded.opened[0]._study_id)
    assert trial is not None
    assert taken.system_attrs["fixed_params"] != own.system_attrs["fixed_params"]


POINTS = tuple(
    {"vocab_size": size, "sequence_length": 8, "cell": "gru"} for size in (10, 20, 30, 40)
)


def with_points(
    writer: StudyWriter, *, linear_points: tuple[int, ...] = (), **changes: Any
) -> StudyWriter:
    """Return a writer of the same coordinator whose space has starting points."""
    space = replace(SPACE, starting_points=POINTS, linear_points=linear_points)
    session = replace(writer.session, space=space, **changes)
    return StudyWriter(session, writer.coordinators)


def test_each_starting_point_is_queued_once_over_two_coordinators(shared: Shared) -> None:
    first, second = (with_points(shared.writer(own)) for own in (FIRST_COORDINATOR, "a"))
    start(first, n_trials=99)
    start(second, n_trials=99)
    open_trials = [Proposals(writer).ask(n_trials=9) for writer in (second, first) * 3]
    assert [trial and trial.values for trial in open_trials][1:5] == [*POINTS]
    trials = load_study_of(shared).trials
    assert [t.user_attrs.get("starting_point") for t in trials] == [None, 1, 2, 3, 4, None]
    assert trials[0].user_attrs["baseline"] is True


def test_each_point_that_waits_for_a_linear_model_is_queued_once_over_two_coordinators(
    shared: Shared,
) -> None:
    """The second machine has a linear model of these data, and the first still trains its own."""
    writers, fits = [], (FakeFit(n_polls=99), FakeFit())
    for own, fit in zip((FIRST_COORDINATOR, "a"), fits, strict=True):
        writer = with_points(shared.writer(own), linear_points=(2, 3), fit=fit)
        start(writer, n_trials=99)
        follow(writer.session, has_epoch=True)
        writers.append(writer)
    first, second = map(Proposals, writers)
    for writer in writers:
        writer.coordinators.read_heartbeats()
    # The baseline, then the points in their order; the first machine passes over what it awaits.
    asked = [asked.ask(n_trials=9) for asked in (first, first, second, first, first, second)]
    assert [trial is None for trial in asked] == [False] * 4 + [True, False]
    trials = load_study_of(shared).trials
    assert [t.user_attrs.get("starting_point") for t in trials] == [None, 1, 2, 4, 3]
    assert ["linear_ngrams" in t.user_attrs for t in trials] == [False, False, True, False, True]


@pytest.mark.parametrize("killed_in", ["claim_trial", "make_sampler"])
def test_starting_point_is_trained_once_though_its_coordinator_is_killed(
    killed_in: str, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator is killed right after it has queued the point, or before it has drawn its
    values.
    """
    writer = with_points(shared.writer())
    start(writer, n_trials=99)
    assert Proposals(writer).ask(n_trials=9)
    with monkeypatch.context() as patched:
        patched.delattr(proposals, killed_in)
        with pytest.raises(NameError):
            Proposals(writer).ask(n_trials=9)
    writer = with_points(shared.writer())
    start(writer, n_trials=99)
    while Proposals(writer).ask(n_trials=6):
        pass
    trials = [t for t in load_study_of(shared).trials if t.state == TrialState.RUNNING]
    by_point = {t.user_attrs.get("starting_point", 0): t.params for t in trials}
    for number, point in enumerate(POINTS, start=1):
        assert by_point[number] | {"sequence_length": 8} == point
    assert sum("starting_point" in t.user_attrs for t in trials) == len(POINTS)


def test_grid_is_not_exhausted_while_a_failed_point_is_queued(shared: Shared) -> None:
    gridded = with_grid(shared)
    writer = gridded.writer()
    trials = []
    proposals = Proposals(writer)
    while (trial := proposals.ask(n_trials=100)) is not None:
        trials.append(trial)
    assert proposals.is_exhausted
    writer.fail(trials[0], FailureReason.LOST, "")
    assert not proposals.is_exhausted
    again = proposals.ask(n_trials=100)
    assert again is not None and again.values == trials[0].values


def test_machines_join_with_the_corrected_file_of_the_creator(shared: Shared) -> None:
    """The creator continues with a corrected file, whose hyperparameters are the same."""
    shared.writer()
    joined = ResultsDir(shared.folder / "b").study(shared.config.study)
    fetch_study(joined, storage_url=shared.url, moved={})
    creator = ResultsDir(shared.folder / FIRST_COORDINATOR)
    corrected = replace(SPACE, source_sha256="f" * 64)
    shared.opened.append(
        open_study(creator, shared.config, corrected, data_fingerprint="d0", storage_url=shared.url)
    )
    assert recorded_space(joined).source_sha256 == SPACE.source_sha256
    for folder in (joined, ResultsDir(shared.folder / "c").study(shared.config.study)):
        fetch_study(folder, storage_url=shared.url, moved={})
        assert recorded_space(folder) == corrected
    # A machine that joined does not write its own file's hash.
    assert shared.writer("b").study.user_attrs["search_space"]["source_sha256"] == "f" * 64


def test_folder_keeps_its_name_among_the_coordinators(shared: Shared) -> None:
    shared.writer()
    joined = ResultsDir(shared.folder / "b").study(shared.config.study)
    fetch_study(
        joined, storage_url=shared.url, moved={"space": "here.py", "data": {"data": "here.csv"}}
    )
    own = identify(joined)
    creator = ResultsDir(shared.folder / FIRST_COORDINATOR).study(shared.config.study)
    fetch_study(creator, storage_url=shared.url, moved={"space": "here.py"})
    assert read_record(creator).config == shared.config  # It continues its own study.
    assert identify(creator) == FIRST_COORDINATOR != own
    assert identify(joined) == own
    assert read_json(joined.coordinator_path) == {"coordinator": own}
    # The next call corrects the paths, until the search has begun.
    fetch_study(joined, storage_url=shared.url, moved={"space": "there.py"})
    assert read_record(joined).config.space == "there.py"
    assert read_record(joined).config.data == shared.config.data
    assert identify(joined) == own
    load_study_of(shared).set_user_attr(f"coordinator {own}", {})
    fetch_study(joined, storage_url=shared.url, moved={"space": "elsewhere.py"})
    assert read_record(joined).config.space == "there.py"


def test_folder_whose_name_can_t_be_read_is_refused(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path)
    folder.coordinator_path.write_text('{"schema_version": 1}')
    with pytest.raises(TuningError, match="is missing"):
        identify(folder)


@pytest.mark.journey
def test_two_coordinators_finish_a_study_together(setting: Setting, tmp_path: Path) -> None:
    """The second joins in the same process, when the first one's search is at its third event. The
    trials have folds of products.
    """
    url, events, joined = setting.results.storage_url(None), [], []
    reviews = make_reviews().assign(product=[n // 10 for n in range(240)])
    reviews.to_csv(setting.config.data.data, index=False)
    setting.config = replace(
        setting.config,
        data=replace(setting.config.data, group_column="product"),
        train=replace(setting.config.train, epochs=1, n_folds=3),
    )

    def join(progressed: Progressed) -> None:
        events.append(progressed.event)
        if len(events) == 3:
            results = ResultsDir(tmp_path / "other")
            fetch_study(results.study("s"), storage_url=url, moved={})
            tune_with(setting.config, results, storage_url=url, on_change=leave)

    def leave(progressed: Progressed) -> None:
        joined.append(progressed.event)
        if sum("complete" in event for event in joined) == 2 and "complete" in progressed.event:
            # Otherwise the second waits for the first, which waits for the second.
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = setting.tune(6, on_change=join)
    trials = setting.study().trials
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 6
    assert not any(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in trials)
    assert len({t.user_attrs["coordinator"] for t in trials}) == 2
    assert {(*t.intermediate_values,) for t in trials} == {(1, 2, 3)}
    status = status_of(StudyHandle(setting.results, setting.folder, url))
    assert [(coordinator.pid, coordinator.left) for coordinator in status.coordinators] == [
        (os.getpid(), True)
    ] * 2
    assert len(coordinator_sentences(status.coordinators, n_running=0)) == 2
    assert outcome.ended == "finished"


@pytest.mark.parametrize(
    ("pid", "host", "n_running", "is_said"),
    [
        (NO_PROCESS, socket.gethostname(), 2, True),
        (NO_PROCESS, socket.gethostname(), 0, False),
        (os.getpid(), socket.gethostname(), 2, False),
        (NO_PROCESS, "another machine", 2, False),
    ],
    ids=["ended", "nothing runs", "alive", "elsewhere"],
)
def test_status_says_that_the_process_of_running_trials_has_ended(
    pid: int, host: str, n_running: int, is_said: bool
) -> None:
    own = CoordinatorStatus(
        coordinator="0", host=host, pid=pid, since="", n_workers=2, dead_seconds=60
    )
    sentences = coordinator_sentences([own], n_running=n_running)
    assert [sentence.split(".")[0] for sentence in sentences] == is_said * [
        "The process of the search has ended"
    ]


def test_joining_refuses_what_it_cannot_join(copied: Setting, tmp_path: Path) -> None:
    url, other = copied.results.storage_url(None), ResultsDir(tmp_path / "other")
    with pytest.raises(StudyError, match=r"'t' is not in .*, it contains s"):
        fetch_study(other.study("t"), storage_url=url, moved={})
    with pytest.raises(StudyError, match=r"none\.db does not exist"):
        fetch_study(other.study("s"), storage_url=f"sqlite:///{tmp_path}/none.db", moved={})


def test_joining_refuses_another_space_file_before_it_runs_any_of_it(
    copied: Setting, tmp_path: Path, tiny_space: Path
) -> None:
    url, other = copied.results.storage_url(None), ResultsDir(tmp_path / "other")
    copy, marker = tmp_path / "copy.py", tmp_path / "ran"
    copy.write_text(f"open({str(marker)!r}, 'w').close()\n{tiny_space.read_text()}")
    fetch_study(other.study("s"), storage_url=url, moved={"space": str(copy)})
    with pytest.raises(StudyError, match="search space of the others"):
        tune_with(replace(copied.config, space=str(copy)), other, storage_url=url)
    assert not marker.exists()


def test_heartbeats_name_the_coordinators_and_keep_their_keys(shared: Shared) -> None:
    shared.writer(), shared.writer("a")
    study = load_study_of(shared)
    heartbeats = heartbeats_of(study)
    assert set(heartbeats) == {FIRST_COORDINATOR, "a"}
    assert all(h.pid == os.getpid() and not h.left for h in heartbeats.values())
    keys = "host pid since n_workers dead_seconds left at beat"
    assert set(study.user_attrs["coordinator 0"]) == {*keys.split()}


def test_heartbeat_of_another_program_is_refused(shared: Shared) -> None:
    first = shared.writer()
    load_study_of(shared).set_user_attr("coordinator a", {"pid": 1})
    with pytest.raises(StudyError, match="must be as this program wrote them; host: is missing"):
        first.coordinators.read_heartbeats()


def test_searched_seconds_are_those_of_the_trials_until_the_search_is_over() -> None:
    study = optuna.create_study()
    assert searched_seconds(study) == 0
    Coordinators(study, n_workers=2).exchange_heartbeats()
    for seconds in ({"train": 5.0, "idle": 1.0, "storage": 100.0}, {"train": 4.0}):
        study.add_trial(create_trial(value=0.5, user_attrs={"seconds": seconds}))
    assert searched_seconds(study) == 5
    study.set_user_attr(TOTAL_SECONDS, 60)
    assert searched_seconds(study) == 5
    study.set_user_attr(SEARCHED_SECONDS, 60)
    assert searched_seconds(study) == 60
    study.set_user_attr(TOTAL_SECONDS, 90)
    assert searched_seconds(study) == 5
