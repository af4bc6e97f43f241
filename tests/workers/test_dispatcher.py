"""The dispatcher, with fake workers that send the messages of a script."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from tests.fake_workers import FakePool, Script, epoch, result_of, trains
from tests.numbered import TWO
from tuning.config import Limits, TrainConfig
from tuning.outcomes import MAX_LOST, FailureReason
from tuning.training.result import Answer, TrainingJob
from tuning.workers import dispatcher as dispatcher_module
from tuning.workers.dispatcher import Dispatcher, run_jobs
from tuning.workers.messages import Ending, EpochEnded, Train, TrainingEnded, TrainingFailed

JOB = TrainingJob(values={"units": 2}, target=TWO, train=TrainConfig(epochs=2), seed=0)
REQUEST = Train("space.py", "corpus", JOB, takes_texts=False)


def dispatcher_of(pool: FakePool, **options: float) -> Dispatcher[str]:
    return Dispatcher(pool.as_pool, Limits(**options))


def start(dispatcher: Dispatcher[str], *jobs: str) -> None:
    for worker, job in zip(dispatcher.free(), jobs, strict=False):
        dispatcher.start(worker, job, REQUEST)


def test_events_of_two_workers_come_with_their_jobs() -> None:
    dispatcher = dispatcher_of(FakePool(trains, 2))
    start(dispatcher, "a", "b")
    assert dispatcher.running == ["a", "b"]
    assert dispatcher.free() == []
    seen = []
    while dispatcher.running:
        for job, message in dispatcher.events(0):
            seen.append((job, type(message)))
            if isinstance(message, EpochEnded):
                dispatcher.reply(job, Answer.GO_ON)
    for job in ("a", "b"):
        kinds = [kind for name, kind in seen if name == job]
        assert kinds == [EpochEnded, EpochEnded, TrainingEnded]
    assert len(dispatcher.free()) == 2


def test_threads_of_a_worker_without_a_job_go_to_the_others() -> None:
    """Two workers on two cores: one training has both, and the other one's start takes one back."""
    pool = FakePool(trains, 2)
    dispatcher = dispatcher_of(pool)
    start(dispatcher, "a")
    given = []
    while dispatcher.running:
        for job, message in [*dispatcher.events(0)]:
            if isinstance(message, EpochEnded):
                dispatcher.reply(job, Answer.GO_ON)
                given.append((job, [worker.n_threads for worker in pool.workers]))
                if job == "a" and "b" not in dispatcher.running and len(given) == 1:
                    start(dispatcher, "b")
    assert given[0] == ("a", [2, None])
    assert ("a", [1, None]) in given
    assert given[-1] == ("b", [1, 2])


def ends_at_once(job: TrainingJob) -> Script:
    yield TrainingEnded(result_of([epoch(1, 0.5)]))


def test_job_has_left_the_dispatcher_when_its_end_is_received() -> None:
    dispatcher = dispatcher_of(FakePool(ends_at_once))
    start(dispatcher, "a")
    for job, message in dispatcher.events(0):
        assert job == "a" and isinstance(message, TrainingEnded)
        assert dispatcher.running == []
        start(dispatcher, "b")
    assert dispatcher.running == ["b"]


def test_worker_is_replaced_after_its_maximum_number_of_trainings() -> None:
    pool = FakePool(ends_at_once, 2)
    pool.max_trainings = 3
    first, second = pool.workers
    dispatcher = dispatcher_of(pool)
    n_replaced = []
    for job in range(14):
        start(dispatcher, str(job))
        assert [name for name, _ in dispatcher.events(0)] == [str(job)]
        assert dispatcher.running == []
        n_replaced.append(len(pool.replaced))
    # Two workers in turn: each has had three trainings after the jobs 4 and 5.
    assert n_replaced == [0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4]
    assert pool.replaced[:2] == [first, second]
    assert [worker.settings.number for worker in pool.workers] == [0, 1]


def test_idle_worker_that_dies_is_replaced_without_an_event() -> None:
    pool = FakePool(trains)
    pool.workers[0].outbox.append(None)
    assert [*dispatcher_of(pool).events(0)] == []
    assert len(pool.replaced) == 1


@pytest.mark.parametrize(
    ("option", "reason"),
    [("trial_seconds", FailureReason.TOO_LONG), ("silent_seconds", FailureReason.SILENT)],
)
def test_worker_beyond_a_limit_is_replaced_and_its_job_failed(
    option: str, reason: FailureReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(job: TrainingJob) -> Script:
        while True:
            yield EpochEnded(epoch(1, 0.5))

    monkeypatch.setattr(dispatcher_module, "CHECK_SECONDS", 0.0)
    pool = FakePool(hangs)
    dispatcher = dispatcher_of(pool, **{option: 1e-9})
    start(dispatcher, "a")
    pool.workers[0].outbox.clear()
    ((job, message),) = [*dispatcher.events(0)]
    assert isinstance(message, TrainingFailed)
    assert (job, message.reason) == ("a", reason)
    assert message.detail.endswith(", and was replaced")
    assert len(pool.replaced) == 1


def test_released_job_has_no_events() -> None:
    pool = FakePool(trains)
    dispatcher = dispatcher_of(pool)
    start(dispatcher, "a")
    dispatcher.release("a")
    assert dispatcher.running == []
    assert [*dispatcher.events(0)] == []


def test_worker_that_has_not_started_gets_no_job() -> None:
    pool = FakePool(trains, 2)
    pool.workers[0].is_ready = False
    dispatcher = dispatcher_of(pool)
    assert dispatcher.free() == [pool.workers[1]]
    assert dispatcher.has_ready_worker
    pool.workers[1].is_ready = False
    assert not dispatcher.has_ready_worker


def test_time_in_which_the_coordinator_was_stopped_is_no_time_of_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by Ctrl-Z and fg, or in a container that was paused."""
    clock = SimpleNamespace(now=1_000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(dispatcher_module, "time", clock)
    dispatcher = dispatcher_of(FakePool(trains), trial_seconds=90.0, silent_seconds=60.0)
    start(dispatcher, "a")
    clock.now += 1.0
    assert dispatcher._exceeded() == []
    clock.now += 3_600.0
    assert dispatcher._exceeded() == []
    for _ in range(30):
        clock.now += 2.0
        assert dispatcher._exceeded() == []
    clock.now += 2.0
    ((_, reason, _),) = dispatcher._exceeded()
    assert reason is FailureReason.SILENT


def test_jobs_are_trained_to_their_ends_and_a_lost_job_again() -> None:
    def dies_once(job: TrainingJob) -> Script:
        if len(pool.jobs) == 2:
            yield None
        yield from trains(job)

    pool: FakePool = FakePool(dies_once)
    seen = [(job, type(message)) for job, message in run_all(pool, 3)]
    assert [job.values["units"] for job in pool.jobs] == [0, 1, 2, 1]
    training = [EpochEnded, EpochEnded, TrainingEnded]
    assert seen == [(job, kind) for job in (0, 2, 1) for kind in training]


def test_job_that_is_lost_again_has_failed() -> None:
    def dies(job: TrainingJob) -> Script:
        yield None

    pool = FakePool(dies)
    ((job, message),) = run_all(pool, 1)
    assert (job, cast("TrainingFailed", message).reason) == (0, FailureReason.LOST)
    assert len(pool.replaced) == MAX_LOST


def test_no_job_starts_once_the_caller_stops() -> None:
    ended: list[int] = []
    for job, message in run_all(FakePool(trains), 3, is_stopped=lambda: len(ended) == 2):
        if isinstance(message, TrainingEnded):
            ended.append(job)
    assert ended == [0, 1]


def run_all(
    pool: FakePool, n_jobs: int, *, is_stopped: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, EpochEnded | Ending]]:
    """Train jobs that are numbers, which are the values of `units` too."""
    requests = {
        number: replace(REQUEST, job=replace(JOB, values={"units": number}))
        for number in range(n_jobs)
    }
    dispatcher: Dispatcher[int] = Dispatcher(pool.as_pool, Limits())
    return run_jobs(dispatcher, requests, is_stopped=is_stopped)
