"""Gives jobs to the workers of a pool, receives their messages, watches and replaces them.

The search, the confirmation and the retraining of an export all train through a dispatcher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, cast

from tuning.outcomes import FailureReason
from tuning.training.result import Answer
from tuning.workers.limits import TrialLimits, WorkerLimits
from tuning.workers.messages import Ending, EpochEnded, Reply, Train, TrainingFailed
from tuning.workers.pool import AnyPool, AnyWorker

Job = TypeVar("Job")  # whatever the caller keeps of a training


class Dispatcher(Generic[Job]):
    """The jobs that the workers of a pool have now, at most one for each worker.

    A job leaves the dispatcher with its last event, before the caller receives the event.
    """

    def __init__(self, pool: AnyPool, limits: TrialLimits) -> None:
        self._pool, self._limits = pool, WorkerLimits(limits)
        self._jobs: dict[AnyWorker, Job] = {}
        self._next = 0  # position of the worker that is first in `free`

    @property
    def running(self) -> Sequence[Job]:
        """The jobs that workers have now."""
        return [*self._jobs.values()]

    @property
    def n_workers(self) -> int:
        return len(self._pool.workers)

    @property
    def has_ready_worker(self) -> bool:
        """Whether any worker has started, with or without a job."""
        return any(worker.is_ready for worker in self._pool.workers)

    def free(self) -> list[AnyWorker]:
        """The workers that can be given a job. The worker after the one that was given the last job
        comes first, so that all of them are used.
        """
        workers = [*self._pool.workers[self._next :], *self._pool.workers[: self._next]]
        return [worker for worker in workers if worker.is_ready and worker not in self._jobs]

    def start(self, worker: AnyWorker, job: Job, request: Train) -> None:
        """Give a free worker a job."""
        self._jobs[worker] = job
        self._next = (self._pool.workers.index(worker) + 1) % self.n_workers
        self._limits.begin(worker)
        worker.send(request)

    def reply(self, job: Job, answer: Answer) -> None:
        """Answer the `EpochEnded` of a job."""
        self._worker_of(job).send(Reply(answer))

    def release(self, job: Job) -> None:
        """Drop a job whose worker is to be ended with the pool; no event of the job follows."""
        self._drop(self._worker_of(job))

    def events(self, seconds: float) -> Iterator[tuple[Job, EpochEnded | Ending]]:
        """Yield what happens to the jobs within the time.

        A worker that died is replaced, and so is one beyond its limits; the event of its job is a
        `TrainingFailed`.
        """
        for worker, message in self._pool.wait(seconds):
            self._limits.received(worker)
            replaced = self._pool.replace(worker) if message is None else None
            if worker not in self._jobs:
                continue
            if isinstance(message, EpochEnded):
                yield self._jobs[worker], message
            elif replaced:
                detail = f"its worker {worker.ending} and was replaced by {replaced.place}"
                yield self._drop(worker), TrainingFailed(FailureReason.LOST, detail)
            else:
                yield self._drop(worker), cast(Ending, message)
        for worker, reason, detail in self._limits.exceeded():
            self._pool.replace(worker)
            yield self._drop(worker), TrainingFailed(reason, f"{detail}, and was replaced")

    def _worker_of(self, job: Job) -> AnyWorker:
        return next(worker for worker, its_job in self._jobs.items() if its_job is job)

    def _drop(self, worker: AnyWorker) -> Job:
        self._limits.end(worker)
        return self._jobs.pop(worker)
