"""Faults that are injected into a running search.

Each function injects one fault, and raises an `AssertionError` if the
calls are not in the expected state afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.faults.study import Call, Setting, alive_in_session
from tuning.atomic_io import read_json

MANY = 1_000_000  # a number of trials that no call finishes
TRIES = 5
GONE_SECONDS = 180.0  # maximum duration of the end of a process and of the failure of its trial
# Maximum duration of a stop by Ctrl-C. Users wait for 10 s at most; here other programs may use the
# cores.
STOP_SECONDS = 120.0
Inject = Callable[[Setting, Call, random.Random], None]


class Skipped(Exception):
    """Raised when this machine does not allow the fault."""


def kill_worker(setting: Setting, call: Call, rng: random.Random) -> None:
    """Kill a worker with SIGKILL: it is replaced, and its trial fails as lost."""
    _end_worker(call, rng, signal.SIGKILL, "failed: lost")


def stop_worker(setting: Setting, call: Call, rng: random.Random) -> None:
    """Stop a worker with SIGSTOP for longer than its limit."""
    _end_worker(call, rng, signal.SIGSTOP, "failed: silent")


def _end_worker(call: Call, rng: random.Random, number: signal.Signals, words: str) -> None:
    for _ in range(TRIES):
        # Only a worker that trains has a trial to lose. In a large study, it is idle most of the
        # time, because its coordinator is slower than the tiny trainings.
        call.wait_for(" starts: ", after=len(call.lines), seconds=GONE_SECONDS / 3)
        victim, seen = rng.choice(_workers_of(call)), len(call.lines)
        os.kill(victim.pid, number)
        has_failed = call.wait_for(words, after=seen, seconds=GONE_SECONDS / 3)
        assert _is_gone(victim), f"worker {victim.pid} must be replaced"
        if has_failed:
            return
        # Otherwise the worker had no trial at that moment, so no trial failed.
    raise AssertionError(f"no line contains {words!r}: {call.lines[-5:]}")


def _workers_of(call: Call) -> list[psutil.Process]:
    """Return the workers of a search. A search whose only worker is being replaced has none for a
    moment.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        if workers := call.workers():
            return workers
        time.sleep(0.1)
    raise AssertionError("a search must have workers")


def _is_gone(process: psutil.Process) -> bool:
    """Return whether a process ends within `GONE_SECONDS`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        deadline = time.monotonic() + GONE_SECONDS
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    return True


def ask_for_too_much(setting: Setting, call: Call, rng: random.Random) -> None:
    """Train a model that allocates a terabyte at once."""
    _misbehave(setting, call, "asks for too much memory", "failed: out of memory")


def hold_too_much(setting: Setting, call: Call, rng: random.Random) -> None:
    """Train a model whose memory grows until it exceeds the limit."""
    _misbehave(setting, call, "holds too much memory", "failed: out of memory")


def lose_the_loss(setting: Setting, call: Call, rng: random.Random) -> None:
    """Train a model whose loss is not a number."""
    _misbehave(setting, call, "loss is not a number", "failed: NaN loss")


def _misbehave(setting: Setting, call: Call, kind: str, words: str) -> None:
    seen = len(call.lines)
    for _ in range(TRIES):
        temporary = setting.fault.with_suffix(".new")
        temporary.write_text(kind)
        temporary.replace(setting.fault)
        if call.wait_for(words, after=seen, seconds=GONE_SECONDS):
            return
        # Otherwise the fault was lost: the checkpoint of a paused trial has replaced the weights.
    raise AssertionError(f"no line contains {words!r}: {call.lines[-5:]}")


def kill_coordinator(setting: Setting, call: Call, rng: random.Random) -> None:
    """Kill the coordinator alone with SIGKILL: its workers end."""
    call.kill()
    _require_gone(call)


def _require_gone(call: Call) -> None:
    """Wait until no process of a call is left, which takes a while on a busy machine."""
    deadline = time.monotonic() + GONE_SECONDS
    while alive_in_session(call.process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = alive_in_session(call.process.pid)
    call.kill_all()
    assert not left, f"processes are left behind: {left}"


def kill_everything(setting: Setting, call: Call, rng: random.Random) -> None:
    """Kill all processes at once with SIGKILL, as when the machine loses its power."""
    call.kill_all()


def interrupt(setting: Setting, call: Call, rng: random.Random) -> None:
    """Send SIGTERM: running epochs end, then the program ends."""
    started = time.monotonic()
    call.process.terminate()
    code = call.ended(seconds=2 * STOP_SECONDS)
    took = time.monotonic() - started
    assert code == 130, f"exit status {code}: {call.lines[-5:]}"
    assert took < STOP_SECONDS, f"the stop took {took:.1f} s"
    _require_gone(call)


def fill_disk(setting: Setting, call: Call, rng: random.Random) -> None:
    """Leave no space for the results: the call ends with one sentence. The same command continues
    the study when there is space again.
    """
    disk = setting.results.path.parent
    if not os.path.ismount(disk):
        raise Skipped("mounting a small disk is not allowed here")
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 2**12)
    except OSError:
        _refused(call)
    finally:
        filler.unlink(missing_ok=True)


def make_read_only(setting: Setting, call: Call, rng: random.Random) -> None:
    """Make the results folder read-only."""
    disk = setting.results.path.parent
    if not os.path.ismount(disk):
        raise Skipped("mounting a small disk is not allowed here")
    # Files that are open for writing forbid a plain remount, so the disk is mounted again on its
    # folder, read-only.
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
    try:
        call.kill_all()
        again = Call(setting, n_trials=MANY)
        _refused(again)
    finally:
        subprocess.run(["umount", disk], check=True)


def _refused(call: Call, *words: str) -> None:
    code = call.ended()
    errors = [line for line in call.lines if line.startswith("error:")]
    assert code == 1, f"exit status {code}: {call.lines[-5:]}"
    assert len(errors) == 1, f"one sentence must contain the reason: {call.lines[-8:]}"
    assert all(word in errors[0] for word in words), errors[0]
    assert "Traceback" not in call.text


def tear_wal(setting: Setting, call: Call, rng: random.Random) -> None:
    """Interrupt a write: half a page is at the end of SQLite's write-ahead log."""
    call.kill_all()
    wal = setting.results.database_path.with_name(setting.results.database_path.name + "-wal")
    with wal.open("ab") as file:
        file.write(rng.randbytes(rng.randint(1, 4096)))


def corrupt_cache(setting: Setting, call: Call, rng: random.Random) -> None:
    """Change a file of tokenized data, except for the empty lock files: the file is written
    again.
    """
    call.kill_all()
    folder = setting.results.cache_dir(read_json(setting.study.config_path)["data_fingerprint"])
    files = (path for path in folder.iterdir() if path.is_file() and path.stat().st_size)
    victim = rng.choice(sorted(files))
    data = bytearray(victim.read_bytes())
    place = rng.randrange(len(data))
    data[place] ^= 0xFF
    victim.write_bytes(bytes(data) if rng.random() < 0.5 else bytes(data[:place]))


def change_data(setting: Setting, call: Call, rng: random.Random) -> None:
    """Change the data file: the call is refused with both fingerprints, and nothing is written."""
    call.kill_all()
    kept = setting.data.read_text()
    setting.data.write_text(kept.replace("item7.", "item seven."))
    try:
        _refused(Call(setting, n_trials=MANY), "fingerprint")
    finally:
        setting.data.write_text(kept)


def change_clock(setting: Setting, call: Call, rng: random.Random) -> None:
    """Start the next call on another day."""
    program = shutil.which("faketime")
    if program is None:
        raise Skipped("faketime is not installed (Debian's package of that name)")
    call.kill_all()
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"))
    days = rng.choice([-400, -1, 1, 400])
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{days:+d}d",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    other = Call(setting, n_trials=MANY, env=env)
    assert other.wait_for("complete: val_accuracy"), other.lines[-5:]
    interrupt(setting, other, rng)


# The faults that a call survives, and the faults that end a call.
GOES_ON: tuple[Inject, ...] = (
    kill_worker,
    stop_worker,
    ask_for_too_much,
    hold_too_much,
    lose_the_loss,
)
ENDS: tuple[Inject, ...] = (
    kill_coordinator,
    kill_everything,
    interrupt,
    fill_disk,
    make_read_only,
    tear_wal,
    corrupt_cache,
    change_data,
    change_clock,
)
# After these faults no trial is running.
AT_REST = ("interrupt", "change_clock")
