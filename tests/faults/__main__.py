"""`python -m tests.faults`: inject faults into a real study, check the study after each fault, and
print the faults as a table.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.injections import (
    AT_REST,
    ENDS,
    GOES_ON,
    Inject,
    Skipped,
)
from tests.faults.invariants import Seen, check_readers
from tests.faults.study import Call, Setting

DISK_MB = 96
READERS_EVERY = 10  # number of faults between two checks of the readers
GOES_ON_SHARE = 2 / 3  # share of the faults that a call survives
MORE_TRIALS = 1000  # number of trials beyond the existing ones: no call finishes its trials
LAST_TRIALS = 4
FINISH_SECONDS = 1800.0  # maximum duration of the last trials, of which hundreds may be paused


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
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Inject `n_faults` faults, at moments drawn from the seed.

    Raises:
        AssertionError: an invariant does not hold; a note names the folder of the study.
    """
    started = time.monotonic()
    with _files() as setting:
        made = _Run(setting, random.Random(seed), say)
        try:
            while made.report.counts.total() < n_faults:
                made.start_again()
                made.inject()
            made.finish()
        finally:
            made.kill()
    made.report.seconds = time.monotonic() - started
    return made.report


class _Run:
    """A study under faults, and its call of `tune`."""

    def __init__(self, setting: Setting, rng: random.Random, say: Callable[[str], None]) -> None:
        self.setting, self.rng, self.say = setting, rng, say
        self.report, self.seen = Report(), Seen()
        self.call: Call | None = None

    def start_again(self) -> Call:
        """Return the call that goes on, or start another."""
        if self.call and self.call.works:
            return self.call
        n_trials = self.report.n_finished + self.seen.n_open + MORE_TRIALS
        self.report.n_starts += 1
        self.call = Call(self.setting, n_trials=n_trials)
        assert self.call.wait_for("] trial "), f"the search must start: {self.call.lines[-8:]}"
        return self.call

    def inject(self) -> None:
        """Inject a fault, and check the study after it."""
        call = self.start_again()
        inject = self._draw()
        name = inject.__name__
        time.sleep(self.rng.uniform(0, 2))
        assert call.works, f"the call must not end without a fault: {call.lines[-8:]}"
        number = self.report.counts.total() + 1
        try:
            inject(self.setting, call, self.rng)
            self._check(at_rest=name in AT_REST)
        except Skipped as why:
            self.report.skipped[name] = str(why)
            return
        except AssertionError as error:
            error.add_note(f"This was after {name} (fault {number}).")
            raise
        self.report.counts[name] += 1
        self.say(f"{number}: {name}, {self.report.n_finished} trials finished")
        if number % READERS_EVERY == 0:
            check_readers(self.setting)

    def _draw(self) -> Inject:
        if self.rng.random() < GOES_ON_SHARE:
            return self.rng.choice(GOES_ON)
        return self.rng.choice(ENDS)

    def _check(self, *, at_rest: bool) -> None:
        """Check the study.

        Raises:
            AssertionError: a condition does not hold, or a trial is running on which no process
                works.
        """
        self.report.n_finished = self.seen.check(self.setting)
        ghosts = self.seen.ghosts(0 if at_rest else self.setting.n_workers)
        assert not ghosts, f"nothing works on trials {ghosts}, in RUNNING"

    def finish(self) -> None:
        """Finish the study, and check the number of trials.

        Raises:
            AssertionError: another number of trials is finished, or a trial is open.
        """
        self.kill()
        self.report.n_finished = self.seen.check(self.setting)
        wanted = self.report.n_finished + self.seen.n_open + LAST_TRIALS
        self.call = Call(self.setting, n_trials=wanted)
        code = self.call.ended(seconds=FINISH_SECONDS)
        assert code == 0, f"exit status {code}: {self.call.lines[-8:]}"
        self.report.n_finished = self.seen.check(self.setting)
        assert self.report.n_finished == wanted, (
            f"{self.report.n_finished} trials are finished, {wanted} were requested"
        )
        assert not self.seen.n_open, f"{self.seen.n_open} trials are open"
        check_readers(self.setting)

    def kill(self) -> None:
        """Kill all processes of the call."""
        if self.call:
            self.call.kill_all()


@contextlib.contextmanager
def _files() -> Iterator[Setting]:
    """Yield the files of a study, with a small disk for the results where mounting is allowed."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name, contextlib.ExitStack() as stack:
        folder = Path(name) / "study"
        disk = stack.enter_context(_small_disk(folder / "disk"))
        try:
            yield Setting(folder, disk / "results")
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
        for name in (inject.__name__ for inject in (*GOES_ON, *ENDS))
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
    """Read the flags, inject the faults, and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-faults", type=int, default=200, help="number of faults (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    report = run(n_faults=flags.n_faults, seed=flags.seed, say=lambda text: print(text, flush=True))
    print(f"\n{table(report)}\n", flush=True)


if __name__ == "__main__":
    main()
