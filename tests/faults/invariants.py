"""The conditions that the study must fulfil after every fault, read from the storage as another
program would read them.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tests.faults.study import ROOT, STUDY, Setting
from tuning.report.dashboard_server import make_server
from tuning.study.storage import close_study
from tuning.study.study import load_study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
REASONS = {"lost", "silent", "interrupted", "timeout", "NaN loss", "out of memory"}


@dataclass
class Seen:
    """The ended trials, as they were when they were first read, and the number of open trials at
    the last check.
    """

    trials: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    n_open: int = 0

    def check(self, setting: Setting, *, url: str, at_rest: bool) -> int:
        """Check all trials, and return how many are finished.

        Args:
            at_rest: whether no process works on the study and the last process ended without fault.

        Raises:
            AssertionError: a condition does not hold.
        """
        study = load_study(setting.results, setting.study, storage_url=url)
        trials = study.get_trials(deepcopy=False)
        close_study(study)
        assert [trial.number for trial in trials] == list(range(len(trials))), "numbers have gaps"
        now = {trial.number: _of(trial) for trial in trials if trial.state.is_finished()}
        for number, before in self.trials.items():
            assert now.get(number) == before, (
                f"trial {number} has changed: {before} → {now.get(number)}"
            )
        self.trials = now
        self.n_open = sum(trial.state == TrialState.RUNNING for trial in trials)
        for trial in trials:
            _check_trial(trial)
        if at_rest:
            ghosts = [
                t.number
                for t in trials
                if t.state == TrialState.RUNNING and not t.user_attrs.get("paused")
            ]
            assert not ghosts, f"nothing works on trials {ghosts}, which are RUNNING"
        again = [
            t.user_attrs["retry_of"]
            for t in trials
            if "retry_of" in t.user_attrs and t.state in FINISHED
        ]
        assert len(again) == len(set(again)), f"queued again twice: {again}"
        return sum(trial.state in FINISHED for trial in trials)


def _of(trial: FrozenTrial) -> tuple[Any, ...]:
    return (
        trial.state,
        trial.values,
        dict(trial.params),
        dict(trial.intermediate_values),
        trial.user_attrs.get("reason"),
    )


def _check_trial(trial: FrozenTrial) -> None:
    for name, distribution in trial.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(trial.params[name])), (
            f"trial {trial.number}: {name} is out of range"
        )
    for value in [*(trial.values or []), *trial.intermediate_values.values()]:
        assert math.isfinite(value) and 0 <= value <= 1, (
            f"trial {trial.number} has the accuracy {value}"
        )
    if trial.state == TrialState.COMPLETE:
        assert trial.values and trial.user_attrs["n_epochs"] == len(trial.intermediate_values)
        assert trial.values[0] == max(trial.intermediate_values.values())
    if trial.state == TrialState.FAIL:
        assert trial.user_attrs.get("reason") in REASONS, (
            f"trial {trial.number} failed for {trial.user_attrs.get('reason')!r}"
        )


def check_readers(setting: Setting, *, url: str) -> None:
    """Check that status, report and Dashboard open the study.

    Raises:
        AssertionError: one of them fails.
    """
    for command in ("status", "report"):
        where = ["--results", str(setting.results.path), "--storage", url]
        done = subprocess.run(
            [sys.executable, "-m", "tuning", command, *where],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    server = make_server(setting.results, storage_url=url, port=_free_port())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/api/studies"
        with urllib.request.urlopen(address, timeout=20) as answer:
            studies = json.loads(answer.read())["study_summaries"]
        assert [study["study_name"] for study in studies] == [STUDY]
    finally:
        server.shutdown()
        server.server_close()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


optuna.logging.set_verbosity(optuna.logging.WARNING)
