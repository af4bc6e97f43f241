"""The study into which faults are injected: its files, and one call of `tune` on
the study as a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.paths import ROOT
from tests.studies import TINY_SPACE
from tests.texts import make_reviews
from tuning.results import ResultsDir, StudyDir

N_REVIEWS = 240
STUDY = "faults"
# Other programs may use the cores: with a limit of 5 s, workers that computed counted as silent.
SILENT_SECONDS = 20.0
WAIT_SECONDS = 600.0
MEMORY_MB = 2500.0

# A function with which a worker reads the file `fault` beside the space, removes the file, and
# injects the fault that the file contains.
FAULTY = """
def misbehave(model):
    import numpy as np
    try:
        path = Path(__file__).with_name("fault")
        kind = path.read_text()
        path.unlink()
    except FileNotFoundError:
        return
    if kind == "asks for too much memory":
        np.ones(2**37)
    if kind == "holds too much memory":
        held = []
        while True:
            held.append(np.ones(2**24))
    if kind == "loss is not a number":
        model.layers[-1].bias.assign([float("nan")])


"""

# Changes of the space, after which `build` calls `misbehave`.
PATCHES = {
    "return lstm_classifier(": "model = lstm_classifier(",
    "        )\n\n\nhypermodel": (
        "        )\n        misbehave(model)\n        return model\n\n\nhypermodel"
    ),
}


class Setting:
    """The files of the study, in `folder`. `results` may be on another disk."""

    n_workers = 2

    def __init__(self, folder: Path, results: Path) -> None:
        self.results, self.data, self.space = (
            ResultsDir(results),
            folder / "reviews.csv",
            folder / "tiny.py",
        )
        self.fault = folder / "fault"
        make_reviews(N_REVIEWS).to_csv(self.data, index=False)
        head, rest = TINY_SPACE.split("\n\nclass", 1)
        for old, new in PATCHES.items():
            assert rest.count(old) == 1, f"TINY_SPACE must contain {old!r} once"
            rest = rest.replace(old, new)
        self.space.write_text(f"{head}\nfrom pathlib import Path\n\n{FAULTY}class{rest}")

    @property
    def study(self) -> StudyDir:
        return self.results.study(STUDY)

    @property
    def url(self) -> str:
        return self.results.storage_url(None)


class Call:
    """One `tune` process, and its lines so far."""

    def __init__(
        self, setting: Setting, *, n_trials: int, env: dict[str, str] | None = None
    ) -> None:
        options = {
            "--study": STUDY,
            "--space": setting.space,
            "--data": setting.data,
            "--n-trials": n_trials,
            "--epochs": 3,
            "--folds": 1,  # a trial's value is that of its best epoch
        }
        options |= {"--workers": setting.n_workers, "--results": setting.results.path}
        options |= {"--trial-memory-mb": MEMORY_MB, "--silent-seconds": SILENT_SECONDS}
        command = [
            sys.executable,
            "-m",
            "tuning",
            "tune",
            "--no-confirm",
            *(str(word) for pair in options.items() for word in pair),
        ]
        variables = {**os.environ, "COLUMNS": "400", "STORAGE": setting.url, **(env or {})}
        self.setting = setting
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout  # for mypy: it is a pipe
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip())

    @property
    def works(self) -> bool:
        return self.process.poll() is None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str, *, after: int = 0, seconds: float = WAIT_SECONDS) -> bool:
        """Return whether a line with these words is printed in time. Lines before number `after`
        are ignored.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(words in line for line in self.lines[after:]):
                return True
            if self.process.poll() is not None:
                self._reader.join(5)
                return any(words in line for line in self.lines[after:])
            time.sleep(0.02)
        return False

    def ended(self, *, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the end of the process, and return its exit status.

        Raises:
            AssertionError: the process does not end within `seconds`.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(
                f"the call must end within {seconds:g} s; the last lines: {self.lines[-5:]}"
            ) from None
        self._reader.join(5)
        return code

    def workers(self) -> list[psutil.Process]:
        """Return the training processes: children of the server from which the coordinator forks
        them.
        """
        with contextlib.suppress(psutil.Error):
            return [
                child
                for server in psutil.Process(self.process.pid).children()
                for child in server.children()
            ]
        return []

    def kill(self) -> None:
        """Kill the coordinator alone with SIGKILL. Its workers must then end."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill every process at once with SIGKILL, as when a machine fails."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)


def alive_in_session(leader: int) -> list[int]:
    """Return the ids of the processes that a call has left behind."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
    return pids
