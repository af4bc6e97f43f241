"""`python -m tests.faults`: inject faults into real studies, check the study after each fault, and
print the faults as tables.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.injections import (
    ALL_OF_SEVERAL,
    AT_REST,
    DATABASE,
    ENDS,
    GOES_ON,
    OF_SEVERAL,
    Inject,
    InjectAll,
    Skipped,
    let_go_on,
)
from tests.faults.invariants import Seen, check_readers
from tests.faults.study import Call, Setting
from tests.postgresql import Server, programs, server

DISK_MB = 96
DATABASE_MB = 256  # a new cluster takes 40, its WAL 32 to 64
READERS_EVERY = 10  # number of faults between two checks of the readers
GOES_ON_SHARE = 2 / 3  # share of the faults that a call survives
MORE_TRIALS = 1000  # number of trials beyond the existing ones: no call finishes its trials
LAST_TRIALS = 4
N_MACHINES = 3
FINISH_SECONDS = 1800.0  # maximum duration of the last trials, of which hundreds may be paused
SETTLE_SECONDS = 300.0  # maximum time until other machines have taken over a machine's trials


@dataclass(frozen=True)
class Part:
    """A part of the faults: its share, its storage, and the number of machines on the study."""

    share: float
    in_database: bool = False
    n_machines: int = 1


PARTS = {
    "sqlite": Part(0.35),
    "postgresql": Part(0.15, in_database=True),
    "join": Part(0.5, in_database=True, n_machines=N_MACHINES),
}


@dataclass
class Report:
    """The number of injections of each fault, the reasons why faults were skipped, and the state of
    the study at the end.
    """

    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    n_finished: int = 0
    n_starts: int = 0
    seconds: float = 0.0


def run(
    *,
    n_faults: int,
    seed: int,
    database: Server | None = None,
    n_machines: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Inject `n_faults` faults, at moments drawn from the seed. With a PostgreSQL server, the study
    is stored there, and several machines may work on it.

    Raises:
        AssertionError: an invariant does not hold; a note names the folder of the study.
    """
    started = time.monotonic()
    with _machines(n_machines, database) as settings:
        made = _Run(settings, random.Random(seed), say)
        try:
            while made.report.counts.total() < n_faults:
                made.start()
                made.inject()
            made.finish()
        finally:
            made.kill_all()
    made.report.seconds = time.monotonic() - started
    return made.report


class _Run:
    """A study under faults, and the calls of its machines."""

    def __init__(
        self, settings: list[Setting], rng: random.Random, say: Callable[[str], None]
    ) -> None:
        self.settings, self.rng, self.say = settings, rng, say
        self.report, self.seen = Report(), Seen()
        self.calls: dict[Setting, Call] = {}

    def start(self) -> None:
        """Start the machines whose calls have ended. The first machine creates the study."""
        n_trials = self.report.n_finished + self.seen.n_open + MORE_TRIALS
        ended = [
            setting
            for setting in self.settings
            if setting not in self.calls or self.calls[setting].process.poll() is not None
        ]
        self.rng.shuffle(ended)
        if not self.calls:
            ended.remove(self.settings[0])
            self._start(self.settings[:1], n_trials)
        self._start(ended, n_trials)

    def _start(self, settings: Sequence[Setting], n_trials: int) -> None:
        for setting in settings:
            self.calls[setting] = Call(setting, n_trials=n_trials)
        for setting in settings:
            self.report.n_starts += 1
            call = self.calls[setting]
            assert call.wait_for("] trial "), f"the search must start: {call.lines[-8:]}"

    def inject(self) -> None:
        """Inject a fault, and check the study after it."""
        setting = self.rng.choice(self.settings)
        name, inject = self._draw(setting)
        time.sleep(self.rng.uniform(0, 2))
        for call in self.calls.values():
            assert call.works, f"the call must not end without a fault: {call.lines[-8:]}"
        number = self.report.counts.total() + 1
        try:
            inject()
            self._settle(at_rest=setting if name in AT_REST else None)
        except Skipped as why:
            self.report.skipped[name] = str(why)
            return
        except AssertionError as error:
            error.add_note(f"This was after {name} (fault {number}).")
            raise
        self.report.counts[name] += 1
        self.say(f"{number}: {name}, {self.report.n_finished} trials finished")
        if number % READERS_EVERY == 0:
            check_readers(self.rng.choice(self.settings))

    def _draw(self, setting: Setting) -> tuple[str, Callable[[], None]]:
        """Return the name of a fault, and a function that injects it into a machine or into all."""
        several = len(self.settings) > 1
        of_one: tuple[Inject, ...] = GOES_ON
        of_all: tuple[InjectAll, ...] = ()
        if self.rng.random() >= GOES_ON_SHARE:
            # A repeated fault is drawn more often.
            of_one = (*ENDS, *(OF_SEVERAL * 3 if several else ()))
            of_all = (
                *(DATABASE * 2 if setting.server else ()),
                *(ALL_OF_SEVERAL if several else ()),
            )
        number = self.rng.randrange(len(of_one) + len(of_all))
        if number < len(of_one):
            single = of_one[number]
            return single.__name__, partial(single, setting, self.calls[setting], self.rng)
        every = of_all[number - len(of_one)]
        return every.__name__, partial(every, [*self.calls.values()], self.rng)

    def _settle(self, *, at_rest: Setting | None) -> None:
        """Check the study. A machine that was stopped goes on after the others have taken over its
        trials; of the machines that have ended, half are started again only then.

        Raises:
            AssertionError: a condition does not hold, or a trial is running on which no process
                works.
        """
        away = [setting for setting, call in self.calls.items() if not call.works]
        stopped = [call for call in self.calls.values() if call.is_stopped]
        is_waited_for = len(away) < len(self.settings) and (
            bool(stopped) or self.rng.random() < 0.5
        )
        n_workers = {
            setting.coordinator: 0 if setting in away and is_waited_for else setting.n_workers
            for setting in self.settings
            if setting is not at_rest
        }
        self._check(n_workers)
        for call in stopped:
            let_go_on(call)
            self._check({setting.coordinator: setting.n_workers for setting in self.settings})

    def _check(self, n_workers: dict[str, int]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            self.report.n_finished = self.seen.check(self.settings[0])
            ghosts = self.seen.ghosts(n_workers)
            if not ghosts:
                return
            assert time.monotonic() < deadline, f"nothing works on trials {ghosts}, in RUNNING"
            time.sleep(0.5)

    def finish(self) -> None:
        """Finish the study, and check the number of trials.

        Raises:
            AssertionError: another number of trials is finished, or a trial is open.
        """
        self.kill_all()
        self.report.n_finished = self.seen.check(self.settings[0])
        wanted = self.report.n_finished + self.seen.n_open + LAST_TRIALS
        self.calls = {setting: Call(setting, n_trials=wanted) for setting in self.settings}
        for call in self.calls.values():
            code = call.ended(seconds=FINISH_SECONDS)
            assert code == 0, f"exit status {code}: {call.lines[-8:]}"
        self.report.n_finished = self.seen.check(self.settings[0])
        assert self.report.n_finished == wanted, (
            f"{self.report.n_finished} trials are finished, {wanted} were requested"
        )
        assert not self.seen.n_open, f"{self.seen.n_open} trials are open"
        for setting in self.settings:
            check_readers(setting)

    def kill_all(self) -> None:
        """Kill the processes of all machines."""
        for call in self.calls.values():
            call.kill_all()


@contextlib.contextmanager
def _machines(n_machines: int, database: Server | None) -> Iterator[list[Setting]]:
    """Yield the files of each machine in a folder of its own, and in each folder a small disk for
    the results, where mounting is allowed.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as name, contextlib.ExitStack() as stack:
        settings = []
        for number in range(n_machines):
            folder = Path(name) / str(number)
            disk = stack.enter_context(_small_disk(folder / "disk"))
            joins, n_workers = number > 0, 2 if n_machines == 1 else 1
            setting = Setting(folder, disk / "results", database, joins=joins, n_workers=n_workers)
            settings.append(setting)
        try:
            yield settings
        except AssertionError as error:
            kept = Path(tempfile.mkdtemp(prefix="faults-kept-"))
            shutil.copytree(name, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("filler"))
            error.add_note(f"The study is kept in {kept}.")
            raise


@contextlib.contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(path)]
    mounted = (
        os.geteuid() == 0
        and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    )
    try:
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", path], check=True)


def table(report: Report) -> str:
    """Return the run as Markdown."""
    rows = [
        f"| {name.replace('_', ' ')} | {report.counts[name]} |"
        for name in (i.__name__ for i in (*GOES_ON, *ENDS, *OF_SEVERAL, *ALL_OF_SEVERAL, *DATABASE))
        if report.counts[name]
    ]
    skipped = [
        f"Not injected: {name.replace('_', ' ')}, {why}." for name, why in report.skipped.items()
    ]
    total = (
        f"{report.counts.total()} faults, {report.n_starts} starts, {report.n_finished} finished"
        f" trials, {report.seconds:.0f} s"
    )
    return "\n".join(["| fault | times |", "|---|---|", *rows, "", total, *skipped])


def main() -> None:
    """Read the flags, run the parts, print the table of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--n-faults", type=int, default=200, help="number of faults of all parts (default 200)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part",
        choices=PARTS,
        action="append",
        help="run this part alone: on SQLite, on PostgreSQL, or with three machines on PostgreSQL",
    )
    flags = parser.parse_args()
    parts = {name: PARTS[name] for name in flags.part or PARTS}
    bin_dir = programs()
    if bin_dir is None and any(part.in_database for part in parts.values()):
        parser.error("PostgreSQL must be installed (Debian's package postgresql)")
    for name, part in parts.items():
        with (
            server(bin_dir, disk_mb=DATABASE_MB)
            if bin_dir and part.in_database
            else contextlib.nullcontext()
        ) as database:
            report = run(
                n_faults=round(flags.n_faults * part.share),
                seed=flags.seed,
                database=database,
                n_machines=part.n_machines,
                say=lambda text: print(text, flush=True),
            )
        print(f"\n{name}\n\n{table(report)}\n", flush=True)


if __name__ == "__main__":
    main()
