"""Workers that train nothing: each worker sends at once the messages of a script."""

from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.workers.messages import (
    EpochEnded,
    Reply,
    Request,
    Response,
    Train,
    TrainingEnded,
)
from tuning.workers.pool import AnyPool
from tuning.workers.worker import Usage

Script = Generator[Response | None, Answer, None]
EPOCHS = 4
MAX_EMPTY = 100  # maximum number of waits without a message, one after the other


def epoch(number: int, value: float) -> Epoch:
    return Epoch(number, {"loss": 1 - value, "val_accuracy": value}, 0.1)


def result_of(history: list[Epoch], **changes: object) -> FitResult:
    best = max(history, key=lambda epoch: epoch.metrics["val_accuracy"])
    result = FitResult(
        history=history,
        best_epoch=best.number,
        best_value=best.metrics["val_accuracy"],
        metrics=best.metrics,
        n_parameters=100,
        seconds={"train": 0.1 * len(history)},
    )
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def trains(job: TrainingJob, *, value: float = 0.5, can_pause: bool = True) -> Script:
    """Yield the messages of a training: an epoch at a time until the answer is to stop, or to pause
    with a checkpoint.

    A resumed training continues after the epoch at which it paused.
    """
    checkpoint = Path(job.checkpoint or "")
    n_before = int(checkpoint.read_text()) if job.resume else 0
    history = [epoch(number, value) for number in range(1, n_before + 1)]
    while len(history) < job.train.epochs:
        history.append(epoch(len(history) + 1, value))
        answer = yield EpochEnded(history[-1])
        if answer is Answer.PAUSE and can_pause:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write_text(str(len(history)))
            yield TrainingEnded(result_of(history, stopped=True, paused=True))
        elif answer is not Answer.GO_ON:
            yield TrainingEnded(result_of(history, stopped=True))
    yield TrainingEnded(result_of(history))


class FakeWorker:
    """A worker that sends the messages of a script for each training. The message None means that
    the worker died.
    """

    def __init__(self, script: Callable[[TrainingJob], Script], number: int = 0) -> None:
        self.settings = SimpleNamespace(number=number)
        self.pid, self.description, self.ending, self.is_ready = 1, "process 1", "ended", True
        self.outbox: list[Response | None] = []
        self.script = script
        self.n_threads: int | None = None  # The number of threads in the last reply.
        self._running: Script | None = None

    def send(self, message: Request) -> None:
        if isinstance(message, Train):
            self._running = self.script(message.job)
            self.outbox.append(next(self._running))
        elif isinstance(message, Reply) and self._running:
            self.n_threads = message.n_threads
            self.outbox.append(self._running.send(message.answer))

    def measure(self) -> Usage | None:
        return None


class FakePool:
    """Workers in this process. `jobs` contains the trainings that were started, and `replaced` the
    workers that were replaced.
    """

    def __init__(self, script: Callable[[TrainingJob], Script], n_workers: int = 1) -> None:
        self.jobs: list[TrainingJob] = []

        def recorded(job: TrainingJob) -> Script:
            self.jobs.append(job)
            return script(job)

        self.workers = [FakeWorker(recorded, number) for number in range(n_workers)]
        self.replaced: list[FakeWorker] = []
        self.max_trainings: int | None = None
        self._n_empty = 0

    def wait(self, timeout_seconds: float) -> list[tuple[FakeWorker, Response | None]]:
        """Return at most one message of each worker.

        Raises:
            AssertionError: the caller waits for a message that no worker sends.
        """
        messages = [(worker, worker.outbox.pop(0)) for worker in self.workers if worker.outbox]
        self._n_empty = 0 if messages else self._n_empty + 1
        assert self._n_empty < MAX_EMPTY, "the search must not wait for idle workers"
        return messages

    def threads_of_each(self, n_jobs: int) -> int:
        return max(len(self.workers) // n_jobs, 1)

    def replace(self, worker: FakeWorker) -> FakeWorker:
        new = FakeWorker(worker.script, worker.settings.number)
        self.workers[self.workers.index(worker)] = new
        self.replaced.append(worker)
        return new

    @property
    def as_pool(self) -> AnyPool:
        return cast("AnyPool", self)
