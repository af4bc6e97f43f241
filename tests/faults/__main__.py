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

from tests.faults.injections import AT_REST, DATABASE, ENDS, GOES_ON, Inject, Skipped
from tests.faults.invariants import Seen, check_readers
from tests.faults.study import Call, Setting
from tests.postgresql import Server, programs, server

DISK_MB = 24
DATABASE_MB = 160  # a new cluster takes 40, its WAL 32 to 64
READERS_EVERY = 20  # number of starts between two checks of the readers
MORE_TRIALS = 100  # number of trials beyond the existing ones: no call finishes its trials
LAST_TRIALS = 4


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
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Inject `n_faults` faults, at moments drawn from the seed. With a PostgreSQL server, the study
    is stored there.

    Raises:
        AssertionError: an invariant does not hold; a note names the folder of the study.
    """
    rng, report, seen, started = random.Random(seed), Report(), Seen(), time.monotonic()
    with _folder() as (folder, disk):
        setting = Setting(folder, disk / "results", database)
        url = setting.url
        while report.counts.total() < n_faults:
            call = _start(setting, report, n_trials=report.n_finished + seen.n_open + MORE_TRIALS)
            try:
                for inject in _plan(
                    rng, n_left=n_faults - report.counts.total(), database=database is not None
                ):
                    if not _inject(inject, setting, call, rng, report, say):
                        continue
                    if call.process.poll() is None:
                        report.n_finished = seen.check(setting, url=url, at_rest=False)
            finally:
                call.kill_all()
            last = inject if inject.__name__ not in report.skipped else None
            report.n_finished = seen.check(setting, url=url, at_rest=last in AT_REST)
            if report.n_starts % READERS_EVERY == 0:
                check_readers(setting, url=url)
        _finish(setting, seen, report, url=url)
    report.seconds = time.monotonic() - started
    return report


def _plan(rng: random.Random, *, n_left: int, database: bool) -> list[Inject]:
    """Return some faults that the call survives, then a fault that ends the call."""
    n = min(rng.randint(0, 4), n_left - 1)
    return [
        *(rng.choice(GOES_ON) for _ in range(n)),
        rng.choice((*ENDS, *DATABASE, *DATABASE) if database else ENDS),
    ]


def _start(setting: Setting, report: Report, *, n_trials: int) -> Call:
    call = Call(setting, n_trials=n_trials)
    report.n_starts += 1
    assert call.wait_for("] trial "), f"the search must start: {call.lines[-8:]}"
    return call


def _inject(
    inject: Inject,
    setting: Setting,
    call: Call,
    rng: random.Random,
    report: Report,
    say: Callable[[str], None],
) -> bool:
    time.sleep(rng.uniform(0, 2))
    try:
        inject(setting, call, rng)
    except Skipped as why:
        report.skipped[inject.__name__] = str(why)
        return False
    except AssertionError as error:
        raise AssertionError(
            f"after {inject.__name__} (fault {report.counts.total() + 1}): {error}"
        ) from error
    report.counts[inject.__name__] += 1
    say(f"{report.counts.total()}: {inject.__name__}, {report.n_finished} trials finished")
    return True


def _finish(setting: Setting, seen: Seen, report: Report, *, url: str) -> None:
    """Finish the study, and check the number of trials.

    Raises:
        AssertionError: another number of trials is finished, or a trial is open.
    """
    wanted = report.n_finished + seen.n_open + LAST_TRIALS
    call = Call(setting, n_trials=wanted)
    code = call.ended(seconds=300)
    assert code == 0, f"exit status {code}: {call.lines[-8:]}"
    report.n_finished = seen.check(setting, url=url, at_rest=True)
    assert report.n_finished == wanted, (
        f"{report.n_finished} trials are finished, {wanted} were requested"
    )
    check_readers(setting, url=url)


@contextlib.contextmanager
def _folder() -> Iterator[tuple[Path, Path]]:
    """Yield a folder for the study's files, and in it a small disk for the results, where mounting
    is allowed.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        disk = Path(name) / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
        mounted = (
            os.geteuid() == 0
            and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        )
        try:
            yield Path(name), disk
        except AssertionError as error:
            kept = Path(tempfile.mkdtemp(prefix="faults-kept-"))
            shutil.copytree(name, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("filler"))
            error.add_note(f"The study is kept in {kept}.")
            raise
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", disk], check=True)


def table(report: Report) -> str:
    """Return the run as Markdown."""
    rows = [
        f"| {name.replace('_', ' ')} | {report.counts[name]} |"
        for name in (i.__name__ for i in (*GOES_ON, *ENDS, *DATABASE))
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
    """Read the flags, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--postgresql",
        action="store_true",
        help="store the study in a PostgreSQL server, which is restarted and killed too",
    )
    flags = parser.parse_args()
    bin_dir = programs() if flags.postgresql else None
    if flags.postgresql and bin_dir is None:
        parser.error("--postgresql needs Debian's package postgresql")
    with server(bin_dir, disk_mb=DATABASE_MB) if bin_dir else contextlib.nullcontext() as database:
        report = run(
            n_faults=flags.n_faults,
            seed=flags.seed,
            database=database,
            say=lambda text: print(text, flush=True),
        )
    print(table(report))


if __name__ == "__main__":
    main()
