"""The dispatcher, which gives jobs to the workers of a pool, receives their messages, and replaces
workers that ended unexpectedly or exceeded a limit of time or memory.

The confirmation and the retraining of an export train with `run_jobs`. The search has a loop of its
own, because it answers epochs with pauses and stops, and decides on a trial only when a worker is
free.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from tuning.config import Limits
from tuning.outcomes import LOST_REASONS, MAX_LOST, FailureReason
from tuning.training.result import Answer
from tuning.workers.messages import Ending, EpochEnded, Reply, Train, TrainingFailed
from tuning.workers.pool import AnyPool, AnyWorker
from tuning.workers.worker import Usage

# Maximum time for which a caller waits for events before it checks for other changes.
TICK_SECONDS = 0.5
# CPU seconds since the last recorded activity that count as new activity.
BUSY_SECONDS = 0.5
# Minimum interval between two measurements of the workers.
CHECK_SECONDS = 0.5
# If no measurement was made for a longer time, the coordinator itself was stopped or blocked.
MAX_UNSEEN_SECONDS = 5.0

Job = TypeVar("Job")  # The caller's object for one training.


@dataclass
class _Training(Generic[Job]):
    """A job and the activity of its worker. Times are those of `time.monotonic`."""

    job: Job
    started: float
    last_active: float  # Time of the last message or of the last computation.
    cpu_seconds: float = 0.0  # CPU seconds of the worker at the last computation.


class Dispatcher(Generic[Job]):
    """The jobs that the workers of a pool have now, at most one for each worker.

    A job is removed with its last event, before the caller receives that event.
    """

    def __init__(self, pool: AnyPool, limits: Limits) -> None:
        self._pool, self._limits = pool, limits
        self._trainings: dict[AnyWorker, _Training[Job]] = {}
        # Number of trainings of each worker since its start.
        self._n_trainings: Counter[AnyWorker] = Counter()
        self._next = 0  # Index of the worker that comes first in `free`.
        self._measured_at = time.monotonic()

    @property
    def running(self) -> Sequence[Job]:
        return [training.job for training in self._trainings.values()]

    @property
    def has_ready_worker(self) -> bool:
        return any(worker.is_ready for worker in self._pool.workers)

    def free(self) -> list[AnyWorker]:
        """The order rotates: the worker that was given the last job comes last."""
        workers = [*self._pool.workers[self._next :], *self._pool.workers[: self._next]]
        return [worker for worker in workers if worker.is_ready and worker not in self._trainings]

    def start(self, worker: AnyWorker, job: Job, request: Train) -> None:
        now = time.monotonic()
        self._trainings[worker] = _Training(job, now, now)
        self._next = (self._pool.workers.index(worker) + 1) % len(self._pool.workers)
        worker.send(request)

    def reply(self, job: Job, answer: Answer) -> None:
        # The threads of workers without a job are shared by the others.
        n_threads = self._pool.threads_of_each(len(self._trainings))
        self._worker_of(job).send(Reply(answer, n_threads))

    def release(self, job: Job) -> None:
        """Remove a job whose worker will end with the pool. No event of the job follows."""
        del self._trainings[self._worker_of(job)]

    def events(self, seconds: float) -> Iterator[tuple[Job, EpochEnded | Ending]]:
        """Yield the messages that arrive within `seconds`, each with its job.

        A worker that ended unexpectedly or exceeded a limit is replaced, and the event of its job
        is a `TrainingFailed`. A worker is also replaced after the pool's maximum number of
        trainings.
        """
        for worker, message in self._pool.wait(seconds):
            replaced = self._replace(worker) if message is None else None
            if worker not in self._trainings:
                continue
            training = self._trainings[worker]
            training.last_active = time.monotonic()
            if isinstance(message, EpochEnded):
                yield training.job, message
                continue
            del self._trainings[worker]
            if replaced:
                detail = f"its worker {worker.ending} and was replaced by {replaced.description}"
                yield training.job, TrainingFailed(FailureReason.LOST, detail)
                continue
            self._n_trainings[worker] += 1
            if self._n_trainings[worker] == self._pool.max_trainings:
                self._replace(worker)
            yield training.job, cast(Ending, message)
        for worker, reason, detail in self._exceeded():
            self._replace(worker)
            job = self._trainings.pop(worker).job
            yield job, TrainingFailed(reason, f"{detail}, and was replaced")

    def _worker_of(self, job: Job) -> AnyWorker:
        return next(worker for worker, own in self._trainings.items() if own.job is job)

    def _replace(self, worker: AnyWorker) -> AnyWorker:
        del self._n_trainings[worker]  # A counter deletes nothing if it lacks the worker.
        return self._pool.replace(worker)

    def _exceeded(self) -> list[tuple[AnyWorker, FailureReason, str]]:
        """Return the workers that exceed a limit, each with the reason and the text of the failure.

        A call within `CHECK_SECONDS` of the previous measurement returns an empty list. Workers
        that have ended are reported by `AnyPool.wait`.
        """
        now = time.monotonic()
        if now - self._measured_at < CHECK_SECONDS:
            return []
        unseen, self._measured_at = now - self._measured_at, now
        # Time in which the coordinator itself was stopped, by Ctrl-Z or a paused container, is no
        # time of the workers.
        if unseen > MAX_UNSEEN_SECONDS:
            for training in self._trainings.values():
                training.started = min(training.started + unseen, now)
                training.last_active = now
        reasons = {
            worker: _reason(training, worker.measure(), self._limits)
            for worker, training in self._trainings.items()
        }
        return [(worker, *reason) for worker, reason in reasons.items() if reason]


def _reason(
    training: _Training[Any], usage: Usage | None, limits: Limits
) -> tuple[FailureReason, str] | None:
    now = time.monotonic()
    memory_mb = usage.memory_mb if usage else 0.0
    if usage and usage.cpu_seconds - training.cpu_seconds >= BUSY_SECONDS:
        training.last_active, training.cpu_seconds = now, usage.cpu_seconds
    if limits.trial_seconds is not None and now - training.started > limits.trial_seconds:
        detail = f"it ran for more than {limits.trial_seconds:g} s (trial_seconds)"
        return FailureReason.TOO_LONG, detail
    if limits.trial_memory_mb is not None and memory_mb > limits.trial_memory_mb:
        detail = (
            f"its worker used {memory_mb:,.0f} MB of memory; trial_memory_mb is"
            f" {limits.trial_memory_mb:,.0f}"
        )
        return FailureReason.OUT_OF_MEMORY, detail
    if now - training.last_active > limits.silent_seconds:
        detail = f"its worker was inactive for {limits.silent_seconds:g} s (silent_seconds)"
        return FailureReason.SILENT, detail
    return None


def run_jobs(
    dispatcher: Dispatcher[Job],
    requests: Mapping[Job, Train],
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    more: Callable[[], Mapping[Job, Train]] = dict,
) -> Iterator[tuple[Job, EpochEnded | Ending]]:
    """Train jobs to their ends, in their order, and yield their messages. A job whose worker is
    lost is queued again, until it was lost `MAX_LOST` times. Without workers' messages,
    `is_stopped` is called every `TICK_SECONDS`. `more` returns further jobs; it is called when a
    worker is free and no job waits, and before the end.

    Calls with the same workers must share a dispatcher, which counts the trainings of each worker.
    """
    requests, waiting, n_lost = {**requests}, [*requests], Counter[Job]()
    while not is_stopped():
        if not waiting and (dispatcher.free() or not dispatcher.running):
            further = more()
            requests |= further
            waiting += further
        if not waiting and not dispatcher.running:
            return
        for worker in dispatcher.free()[: len(waiting)]:
            job = waiting.pop(0)
            dispatcher.start(worker, job, requests[job])
        for job, message in dispatcher.events(TICK_SECONDS):
            if isinstance(message, EpochEnded):
                dispatcher.reply(job, Answer.GO_ON)
            elif isinstance(message, TrainingFailed) and message.reason in LOST_REASONS:
                n_lost[job] += 1
                if n_lost[job] < MAX_LOST:
                    waiting.append(job)
                    continue
            yield job, message
