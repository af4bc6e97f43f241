"""Several coordinators on one study: what a trial costs each of them, and how long each holds the
lock of the trial slots.

    export STORAGE=postgresql+psycopg://tuner@127.0.0.1/tuning
    .venv/bin/python -m benchmarks.shared_study --coordinators 4 --workers 100 --trial-seconds 240

Each coordinator is a process with its own results folder, which runs `tuning.search.loop.Search`
with TPE and without a pruner. Its workers are fake: a training only lets real time pass, because
the processes share a real database. With one coordinator no real time passes either, as in
`benchmarks.scale_out`.

All processes share the cores of one machine, and with too many processes the machine is the limit
and not the coordinators. So choose trainings that are long enough for the machine, and compare CPU
seconds: from `cpu_seconds_a_trial` follows how many trials one core asks for. `lock_seconds` are
the wall seconds per trial in which a coordinator held the lock. Only one coordinator holds the lock
at any time, so a study has at most `1 / lock_seconds` trials per second, however many coordinators
share it.

An ask reads all running trials of the study. `--running-elsewhere` adds running trials of another
coordinator, which does nothing: such a trial costs an ask as much as a trial of a real worker, and
needs neither a process nor time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from optuna.trial import TrialState

from benchmarks.configurations import SPACE_PATH
from benchmarks.coordinator import fake_reviews, past_trials
from benchmarks.fake_workers import Clock, FakePool, FakeWorker, fake_session
from benchmarks.ours import study_config
from benchmarks.processes import cpu_seconds, in_fresh_process
from benchmarks.shared_readings import Reading, TimedCoordinators, between, summary_of
from tuning.config import DataConfig, StudyConfig
from tuning.data.corpus import build_corpus
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.spaces.loading import SearchSpace, declare
from tuning.study.coordinators import Coordinators, identify
from tuning.study.storage import close_study
from tuning.study.study import fetch_study, open_study
from tuning.workers.dispatcher import TICK_SECONDS

N_BEFORE = 2_000
ELSEWHERE = "e15e"  # the name of the coordinator that does nothing; a hexadecimal number
MANY_TRIALS = 1_000_000  # a number of trials that does not fit in the time

_ready: Barrier


class RealClock(Clock):
    """The machine's clock without skipped time. A wait takes real time, and ends after
    `TICK_SECONDS` at the latest, so that the coordinator can write its heartbeats.
    """

    def skip_to(self, moment: float) -> None:
        time.sleep(min(max(moment - self.now(), 0.0), TICK_SECONDS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """The settings of a measurement.

    Args:
        n_workers: number of workers of each coordinator.
        n_rounds: number of trainings of each worker that are measured, after its first one.
        n_before: number of finished trials at the start.
        n_elsewhere: number of running trials of another coordinator.
    """

    url: str
    n_coordinators: int
    n_workers: int
    trial_seconds: float
    n_rounds: int
    n_before: int
    n_elsewhere: int = 0
    seed: int = 0

    @property
    def skips_time(self) -> bool:
        """Whether trainings take no real time, as in `benchmarks.scale_out`."""
        return self.n_coordinators == 1

    @property
    def warm_seconds(self) -> float:
        """The duration of each worker's first training, until the first message of its second. This
        time is not measured, because all workers ask at once when it begins.
        """
        return self.trial_seconds * 1.2

    @property
    def seconds(self) -> float:
        """The duration of the search."""
        return self.warm_seconds + self.trial_seconds * self.n_rounds


def measure(case: Case, *, server_pid: int | None = None) -> dict[str, Any]:
    """Return what the coordinators use for a trial, and the CPU seconds of the database's
    server.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_fresh_process(
            store, log_path=folder / "store.log", case=case, folder=folder / "coordinator-0"
        )
        context = get_context("spawn")
        barrier = context.Barrier(case.n_coordinators + 1)
        with ProcessPoolExecutor(
            case.n_coordinators, mp_context=context, initializer=_keep, initargs=(barrier,)
        ) as executor:
            feeds = [
                executor.submit(feed, case, number, folder=folder / f"coordinator-{number}")
                for number in range(case.n_coordinators)
            ]
            barrier.wait()
            before = None if server_pid is None else cpu_seconds(server_pid)
            measured = [feeding.result() for feeding in feeds]
            used = None if server_pid is None else cpu_seconds(server_pid) - (before or 0.0)
    n_all = sum(coordinator["n_trials_all"] for coordinator in measured)
    facts = dataclasses.asdict(case)
    del facts["url"]  # it may contain a password
    return {
        "case": facts,
        "server_cpu_seconds_a_trial": None if used is None else used / n_all,
        **summary_of(measured),
        "coordinators": measured,
    }


def _keep(barrier: Barrier) -> None:
    global _ready  # noqa: PLW0603 - a barrier reaches a process only when the process starts
    _ready = barrier


def _config() -> StudyConfig:
    return dataclasses.replace(study_config("shared", DataConfig(), seed=0), pruner="none")


def store(*, case: Case, folder: Path) -> None:
    """Create the study, with finished trials, and with running trials of another coordinator."""
    results, space, config = ResultsDir(folder), declare(SPACE_PATH, n_classes=2), _config()
    study = open_study(results, config, space, data_fingerprint="fake", storage_url=case.url)
    epochs = config.train.epochs
    study.add_trials(past_trials(case.n_before, space=space, epochs=epochs, seed=case.seed))
    if case.n_elsewhere:
        # This heartbeat is the last of the other coordinator. It never becomes too old.
        other = Coordinators(study, ELSEWHERE, n_workers=case.n_elsewhere, dead_seconds=1e9)
        other.exchange_heartbeats()
        study.add_trials(
            running_trials(case.n_elsewhere, space=space, epochs=epochs, seed=case.seed + 1)
        )
    close_study(study)


def running_trials(
    n: int, *, space: SearchSpace, epochs: int, seed: int
) -> list[optuna.trial.FrozenTrial]:
    """Return `n` running trials of the other coordinator, in the middle of their epochs."""
    trials = past_trials(n, space=space, epochs=epochs, seed=seed)
    for number, trial in enumerate(trials):
        trial.state, trial.values, trial.datetime_complete = TrialState.RUNNING, None, None
        values = trial.intermediate_values
        trial.intermediate_values = dict(list(values.items())[: number % epochs])
        trial.user_attrs = {"coordinator": ELSEWHERE}
    return trials


def feed(case: Case, number: int, *, folder: Path) -> dict[str, float]:
    """Search as coordinator `number` of the study, and return what the coordinator used."""
    results, space, config = ResultsDir(folder), declare(SPACE_PATH, n_classes=2), _config()
    fetch_study(results.study(config.study), storage_url=case.url, moved={})
    corpus = build_corpus(results.cache_dir("fake"), fake_reviews())
    study = open_study(results, config, space, data_fingerprint="fake", storage_url=case.url)
    study.get_trials(deepcopy=False)  # fills the cache of the finished trials
    clock = Clock() if case.skips_time else RealClock()
    rng = np.random.default_rng(case.seed + number)
    _ready.wait()
    workers = [
        FakeWorker(clock, epochs=config.train.epochs, rng=rng, trial_seconds=case.trial_seconds)
        for _ in range(case.n_workers)
    ]
    own = identify(results.study(config.study))
    coordinators = TimedCoordinators(study, own, n_workers=case.n_workers)
    pool = FakePool(workers, clock)
    session = fake_session(study, config, space, corpus=corpus, results=results, pool=pool)
    readings: list[Reading] = []
    n_trials, started = 0, clock.now()

    def on_change(progressed: Progressed) -> None:
        nonlocal n_trials
        n_trials += " complete" in progressed.event
        if progressed.event:
            now = clock.now()
            idle = sum(worker.idle_until(now) for worker in workers)
            waited, held = coordinators.waited_seconds, coordinators.held_seconds
            locks = waited, held, coordinators.held_cpu_seconds
            readings.append(Reading(now, time.process_time(), n_trials, idle, *locks))
            # The trials of the other coordinator never end, so the search would not end either.
            session.interrupt.requested |= now - started >= case.seconds

    Search(session, coordinators, on_change=on_change).run(MANY_TRIALS, timeout_seconds=None)
    close_study(study)
    moments = (started + case.warm_seconds, started + case.seconds)
    within = [reading for reading in readings if moments[0] <= reading.moment <= moments[1]]
    means = between(within[0], within[-1], n_workers=case.n_workers)
    return {**means, "n_trials_all": n_trials}


def main(
    *,
    coordinators: Annotated[int, typer.Option(help="Number of coordinators (default 2).")] = 2,
    workers: Annotated[
        int, typer.Option(help="Number of workers of each coordinator (default 100).")
    ] = 100,
    trial_seconds: Annotated[
        float, typer.Option(help="Duration of a training, in seconds (default 120).")
    ] = 120.0,
    rounds: Annotated[
        int, typer.Option(help="Number of measured trainings of each worker (default 2).")
    ] = 2,
    trials_before: Annotated[
        int, typer.Option(help=f"Number of finished trials at the start (default {N_BEFORE}).")
    ] = N_BEFORE,
    running_elsewhere: Annotated[
        int, typer.Option(help="Number of running trials of another coordinator (default 0).")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Random seed of the trials (default 0).")] = 0,
    server_pid: Annotated[
        int | None,
        typer.Option(help="Process id of a PostgreSQL server on this machine, to count its CPU."),
    ] = None,
) -> None:
    """Print as JSON what coordinators use that share a study in the database of the environment
    variable STORAGE.
    """
    case = Case(
        url=os.environ["STORAGE"],
        n_coordinators=coordinators,
        n_workers=workers,
        trial_seconds=trial_seconds,
        n_rounds=rounds,
        n_before=trials_before,
        n_elsewhere=running_elsewhere,
        seed=seed,
    )
    record = measure(case, server_pid=server_pid)
    print(json.dumps(record, indent=2, sort_keys=True))


if __name__ == "__main__":
    typer.run(main)
