"""The conditions that the study must fulfil after every fault, read from the storage as another
program would read them.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tests.faults.study import ROOT, STUDY, Setting
from tests.servers import free_port
from tuning.report.dashboard_server import dashboard
from tuning.study.storage import close_study
from tuning.study.study import load_study
from tuning.study.trials import is_at_work

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
REASONS = {"lost", "silent", "interrupted", "timeout", "NaN loss", "out of memory"}


@dataclass
class Seen:
    """The study at the last check.

    Attributes:
        trials: the ended trials, as they were when they were first read.
        n_open: the number of trials that have not ended.
        running: the open trials that are not paused.
    """

    trials: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    n_open: int = 0
    running: list[FrozenTrial] = field(default_factory=list)

    def check(self, setting: Setting) -> int:
        """Check all trials, and return how many are finished.

        Raises:
            AssertionError: a condition does not hold.
        """
        study = load_study(setting.study, storage_url=setting.url)
        trials = study.get_trials(deepcopy=False)
        close_study(study)
        assert [trial.number for trial in trials] == list(range(len(trials))), "numbers have gaps"
        now = {trial.number: _of(trial) for trial in trials if trial.state.is_finished()}
        for number, before in self.trials.items():
            assert now.get(number) == before, (
                f"trial {number} has changed: {before} → {now.get(number)}"
            )
        self.trials = now
        is_open = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self.n_open = len(is_open)
        self.running = [trial for trial in is_open if not trial.user_attrs.get("paused")]
        finished = [trial for trial in trials if trial.state in FINISHED]
        for trial in trials:
            _check_trial(trial)
        again = [t.user_attrs["retry_of"] for t in finished if "retry_of" in t.user_attrs]
        assert len(again) == len(set(again)), f"queued again twice: {again}"
        doubled = {trial.number for trial in finished}.intersection(again)
        assert not doubled, f"finished and queued again: {doubled}"
        return len(finished)

    def ghosts(self, n_workers: int) -> list[int]:
        """Return the running trials on which no process works. `n_workers`: the number of workers
        that may train; 0 after a call that has ended without a fault.
        """
        running = [t.number for t in self.running if is_at_work(t) or not n_workers]
        return running[n_workers:]


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


def check_readers(setting: Setting) -> None:
    """Check that status, report and Dashboard open the study.

    Raises:
        AssertionError: one of them fails.
    """
    for command in ("status", "report"):
        where = ["--results", str(setting.results.path), "--storage", setting.url]
        done = subprocess.run(
            [sys.executable, "-m", "tuning", command, *where],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    port = free_port()
    with dashboard(setting.url, port=port):
        address = f"http://127.0.0.1:{port}/api/studies"
        with urllib.request.urlopen(address, timeout=300) as answer:
            studies = json.loads(answer.read())["study_summaries"]
        assert [study["study_name"] for study in studies] == [STUDY]


optuna.logging.set_verbosity(optuna.logging.WARNING)
