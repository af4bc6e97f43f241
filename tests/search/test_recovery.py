"""The trials that a coordinator finds after an earlier coordinator died, and the configurations
that it gives up.
"""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from tests.studies import CONFIG, SPACE, session_of
from tuning.outcomes import FailureReason
from tuning.results import ResultsDir
from tuning.search.open_trials import OpenTrial
from tuning.search.proposals import Proposals
from tuning.search.recovery import start
from tuning.search.writer import DEATH_LIMIT, StudyWriter
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.training.result import Epoch

EPOCH = Epoch(1, {"val_accuracy": 0.5, "loss": 0.7}, 1.0)


class Machine:
    """A study whose coordinator is started several times. A coordinator ends only when the next one
    starts.
    """

    def __init__(self, folder: Path) -> None:
        config = replace(CONFIG, sampler="random", pruner="none")
        self.results = ResultsDir(folder / "results")
        self.folder = self.results.study(config.study)
        url = f"sqlite:///{folder}/s.db"
        self.study = open_study(self.results, config, SPACE, data_fingerprint="d0", storage_url=url)
        self._config = config

    def start(self) -> tuple[StudyWriter, list[OpenTrial]]:
        """Start a coordinator, and return it with the trials that it continues."""
        session = session_of(self.study, self._config, SPACE, self.results)
        writer = StudyWriter(session)
        return writer, start(writer, n_trials=99)

    def states(self) -> list[TrialState]:
        return [t.state for t in self.study.get_trials(deepcopy=False)]

    def save(self, opened: OpenTrial, n_epochs: int) -> None:
        """Write a trial's checkpoint and pause the trial, as the worker and the search do."""
        seen = json.dumps(
            {"history": [asdict(replace(EPOCH, number=n)) for n in range(1, n_epochs + 1)]}
        )
        buffer = io.BytesIO()
        np.savez(buffer, seen=np.frombuffer(seen.encode(), dtype=np.uint8))
        self.folder.checkpoint_path(opened.number).write_bytes(buffer.getvalue())
        opened.trial.set_user_attr("n_epochs", n_epochs)


def test_trial_that_was_stopped_in_a_fold_has_the_attributes_of_its_checkpoint(
    machine: Machine,
) -> None:
    """It may be pruned without a further training, and its seconds count for the budgets."""
    _, opened = ask_baseline(machine)
    machine.folder.checkpoint_path(0).parent.mkdir(parents=True)
    machine.save(opened, 2)
    opened.trial.set_user_attr("n_epochs", 1)  # its last pause was after fold 1
    (again,) = machine.start()[1]
    attributes = machine.study.trials[0].user_attrs
    assert (attributes["n_epochs"], again.n_epochs) == (2, 2)
    assert attributes["seconds"] and attributes["paused"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    close_study(made.study)


def ask(writer: StudyWriter) -> OpenTrial | None:
    return Proposals(writer).ask(n_trials=9)


def ask_baseline(machine: Machine) -> tuple[StudyWriter, OpenTrial]:
    """Start a coordinator, which asks for the baseline."""
    writer, _ = machine.start()
    opened = ask(writer)
    assert opened is not None and opened.is_baseline
    return writer, opened


def pause_after_one_epoch(machine: Machine) -> None:
    writer, open_trial = ask_baseline(machine)
    writer.report(open_trial, EPOCH)
    machine.save(open_trial, 1)
    writer.mark(open_trial, paused=True)


def test_configuration_at_work_in_every_death_is_dropped(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []
    for _ in range(DEATH_LIMIT):
        writer, _ = machine.start()
        open_trial = ask(writer)
        assert open_trial is not None
        tried.append(open_trial.values)
    with caplog.at_level(logging.WARNING, "tuning.search.ends"):
        machine.start()
    assert tried == [tried[0]] * DEATH_LIMIT
    assert machine.states() == [TrialState.FAIL] * DEATH_LIMIT
    assert {t.user_attrs["reason"] for t in machine.study.trials} == {"lost"}
    text = "trial 2 is not tried again: its process has died 3 times while it was at work"
    error = machine.folder.error_path(2).read_text()
    assert text in caplog.text and text in error and "vocab_size 10" in error
    following = ask(machine.start()[0])
    assert following is not None and following.values != tried[0]


def test_values_are_queued_once_if_the_coordinator_dies_before_the_failure_is_written(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, open_trial = ask_baseline(machine)

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_tell", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.fail(open_trial, FailureReason.INTERRUPTED, "stopped")
    assert machine.states() == [TrialState.RUNNING, TrialState.WAITING]
    writer, _ = machine.start()
    assert machine.states() == [TrialState.FAIL, TrialState.WAITING]
    again = ask(writer)
    assert again is not None and again.is_baseline and again.values == open_trial.values


@pytest.mark.parametrize(
    ("n_epochs_of_tries", "is_dropped"),
    [
        ([1, 2, 3, 4, 5], False),
        # A configuration whose memory grows ends its first epoch in every try.
        ([1, 1, 1, 1], True),
        ([0, 0, 1, 0, 0], False),
        ([0, 0, 1, 0, 0, 1], True),
    ],
)
def test_deaths_count_until_a_try_trains_a_further_epoch(
    n_epochs_of_tries: list[int], is_dropped: bool, machine: Machine
) -> None:
    for n_epochs in n_epochs_of_tries:
        writer, open_trial = ask_baseline(machine)
        for number in range(1, n_epochs + 1):
            writer.report(open_trial, replace(EPOCH, number=number))
    machine.start()
    queued = [] if is_dropped else [TrialState.WAITING]
    assert machine.states() == [TrialState.FAIL] * len(n_epochs_of_tries) + queued
    if is_dropped:
        error = machine.folder.error_path(len(n_epochs_of_tries) - 1).read_text()
        assert "without an epoch after epoch 1" in error


def test_trial_that_was_interrupted_is_not_counted(machine: Machine) -> None:
    for _ in range(2 * DEATH_LIMIT):
        writer, open_trial = ask_baseline(machine)
        writer.fail(open_trial, FailureReason.INTERRUPTED, "the search was stopped")
    machine.start()
    assert machine.states()[-1] == TrialState.WAITING


def test_trial_that_was_not_at_work_is_not_counted(machine: Machine) -> None:
    """One trial was killed before it had its values, and the other trial waits for a trial of the
    same configuration.
    """
    for _ in range(2 * DEATH_LIMIT):
        writer, _ = machine.start()
        machine.study.ask()
        duplicate = ask(writer)
        assert duplicate is not None
        writer.wait_for(duplicate, 0)
    machine.start()
    assert machine.states().count(TrialState.WAITING) == 2


def test_configuration_that_was_at_work_in_two_deaths_is_tried_alone(machine: Machine) -> None:
    """Four trials were running. Any of them may have ended the machine, and the third try shows
    which.
    """
    for _ in range(DEATH_LIMIT - 1):
        writer, _ = machine.start()
        assert all(ask(writer) for _ in range(2))
    writer, _ = machine.start()
    first = ask(writer)
    assert first is not None
    assert ask(writer) is None
    # The first trial completes an epoch, and may still end the coordinator in a later one.
    writer.report(first, EPOCH)
    assert ask(writer) is None
    writer.fail(first, FailureReason.INTERRUPTED, "stopped")
    second = ask(writer)
    assert second is not None and second.values != first.values
    assert ask(writer) is None
    # The second trial ended the coordinator.
    writer, _ = machine.start()
    assert machine.states().count(TrialState.WAITING) == 1
    again = ask(writer)
    assert again is not None and again.values == first.values
    assert ask(writer) is None
    writer.report(again, EPOCH)
    assert ask(writer) is not None


def test_no_paused_trial_goes_on_beside_a_configuration_on_its_last_try(machine: Machine) -> None:
    for _ in range(DEATH_LIMIT - 1):
        writer, _ = machine.start()
        assert ask(writer) is not None
    writer, _ = machine.start()
    opened = ask(writer)
    assert opened is not None
    proposals = Proposals(writer)
    assert proposals.has_suspect([opened]) and not proposals.has_suspect([])
    writer.report(opened, EPOCH)
    writer.refresh()
    assert not proposals.has_suspect([opened])


def test_paused_trial_that_ends_its_coordinator_whenever_it_goes_on_is_dropped(
    machine: Machine,
) -> None:
    pause_after_one_epoch(machine)
    for _ in range(DEATH_LIMIT):
        writer, (paused,) = machine.start()
        assert (paused.number, paused.n_epochs) == (0, 1)
        writer.mark(paused, paused=False)
    assert machine.start()[1] == []
    assert machine.states() == [TrialState.FAIL]


def test_trial_with_a_damaged_checkpoint_is_queued_again_without_it(machine: Machine) -> None:
    pause_after_one_epoch(machine)
    path = machine.folder.checkpoint_path(0)
    path.write_bytes(b"damaged")
    assert machine.start()[1] == []
    assert machine.states() == [TrialState.FAIL, TrialState.WAITING]
    assert not path.exists()
