"""Whole searches over a tiny corpus, with real workers, a real SQLite file and real signals."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import psutil
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from tests.commands import start, tune_command, wait_for
from tests.studies import CONFIG, SPACE, Setting, on, session_of
from tuning.atomic_io import read_history, read_json
from tuning.config import MAX_TRIALS, DataConfig, Limits, TrainConfig
from tuning.documents import unstructure
from tuning.errors import SpaceBug, SpaceError, StudyError
from tuning.inputs.data_card import REFERENCE_NAME
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir
from tuning.search import open_trials
from tuning.search import tune as searching
from tuning.search.events import NotConfirmed, Progressed
from tuning.search.tune import Outcome, configure
from tuning.study.coordinators import requested_n_trials, searched_seconds
from tuning.study.handle import StudyHandle, status_of
from tuning.study.study import read_record
from tuning.study.summary import PHASES, summarize
from tuning.study.trials import epoch_values
from tuning.workers.pool import Pool

END_SECONDS = 60  # maximum time that a test waits for the end of a process


def test_trial_0_is_the_baseline(copied: Setting) -> None:
    trial = copied.study().trials[0]
    assert trial.params == {
        "vocab_size": 30,
        "sequence_length": 8,
        "embedding_dim": 2,
        "lstm_units": 2,
    }
    assert trial.user_attrs["baseline"] is True


@pytest.mark.slow
def test_study_keeps_the_starting_points_that_it_recorded(setting: Setting) -> None:
    end = "\nhypermodel = Tiny()\n"
    setting.edit_space(end, f"{end}starting_points = [{{'vocab_size': 20}}, {{'lstm_units': 4}}]\n")
    setting.tune(2)
    setting.edit_space("{'vocab_size': 20}, {'lstm_units': 4}", "{'lstm_units': 3}")
    outcome = setting.tune(3)
    assert [point["vocab_size"] for point in outcome.space.starting_points] == [20, 30]
    trials = setting.study().trials
    assert [(t.params["vocab_size"], t.params["lstm_units"]) for t in trials] == [
        (30, 2),
        (20, 2),
        (30, 4),
    ]
    assert [t.user_attrs.get("starting_point") for t in trials] == [None, 1, 2]


GAINS_A_METRIC = """
    def fit(self, hp, model, *arguments, **options):
        precision = keras.metrics.Precision(name="precision")
        model.compile(optimizer="adam", loss=model.loss, metrics=[precision])
        return model.fit(*arguments, validation_freq=2, **options)


hypermodel = Tiny()
"""


@pytest.mark.slow
def test_metrics_that_only_some_epochs_have_are_in_the_history(setting: Setting) -> None:
    """Keras evaluates every second epoch, so the logs of the first and third epoch do not contain
    `val_precision`.
    """
    setting.edit_space("\nhypermodel = Tiny()\n", GAINS_A_METRIC)
    outcome = setting.tune(2, config={"train": TrainConfig(epochs=3)})
    assert [t.state for t in outcome.summary.trials] == [TrialState.COMPLETE] * 2
    history = read_history(setting.folder.history_path(1))
    assert ["val_precision" in row for row in history] == [False, True, False]
    assert all({"epoch", "precision", "val_accuracy"} <= row.keys() for row in history)


def test_n_trials_counts_the_study_not_the_call(copied: Setting) -> None:
    first, second = copied.tune(9), copied.tune(9)
    assert [o.summary.n_finished for o in (first, second)] == [9, 9]
    assert [o.ended for o in (first, second)] == ["finished"] * 2


def test_trial_keeps_every_metric_of_every_epoch(copied: Setting) -> None:
    trial, history = copied.study().trials[0], read_history(copied.folder.history_path(0))
    names = {
        "loss",
        "accuracy",
        *(f"val_{name}" for name in ("loss", "accuracy", "balanced_accuracy", "f1", "auc")),
    }
    assert [set(row) >= names for row in history] == [True, True]
    assert trial.intermediate_values == {int(row["epoch"]): row["val_accuracy"] for row in history}
    assert trial.value == max(trial.intermediate_values.values())
    assert {
        "best_epoch",
        "n_parameters",
        "padding_share",
        "seconds",
        "peak_memory_mb",
        "val_f1",
        "val_auc",
    } <= set(trial.user_attrs)


@pytest.mark.slow
def test_trial_can_be_repeated(
    setting: Setting, tmp_path: Path, reviews_csv: Path, tiny_space: Path
) -> None:
    again = Setting(tmp_path / "again", reviews_csv, tiny_space)
    setting.tune(3)
    again.tune(3)
    first, second = (
        [(t.params, t.intermediate_values) for t in s.study().trials] for s in (setting, again)
    )
    assert first == second


def test_two_workers_finish_exactly_n(finished: tuple[ResultsDir, Outcome]) -> None:
    _, outcome = finished
    assert [t.state for t in outcome.summary.trials] == [TrialState.COMPLETE] * 8
    assert outcome.summary.n_finished == 8


@pytest.mark.slow
def test_pruner_stops_trials_but_never_the_baseline(setting: Setting) -> None:
    setting.tune(6, config={"pruner": "asha", "train": TrainConfig(epochs=3)})
    trials = setting.study().trials
    assert trials[0].state == TrialState.COMPLETE
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert all(len(t.intermediate_values) < 3 for t in trials if t.state == TrialState.PRUNED)
    assert list(setting.folder.path.glob("trials/*/checkpoint.npz")) == []


@pytest.mark.slow
def test_trials_are_compared_at_parts_of_the_first_epoch(setting: Setting) -> None:
    """The 168 training texts are 4 parts of 42; the 3 epochs have the rungs 1/4, 1/2 and 1."""
    config = {"pruner": "asha", "sampler": "random", "train": TrainConfig(epochs=3)}
    setting.tune(6, config=config, min_texts=40)
    assert read_record(setting.folder).config.train.parts_per_epoch == 4
    trials = setting.study().trials
    assert [*trials[0].intermediate_values] == [1, 2, 4, 8, 12]
    assert {trial.user_attrs["parts_per_epoch"] for trial in trials} == {4}
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        rows = read_history(setting.folder.history_path(trial.number))
        assert [row["epoch"] for row in rows] == [*epoch_values(trial)]
        assert trial.user_attrs["n_epochs"] == rows[-1]["epoch"] == max(epoch_values(trial))
        assert trial.user_attrs["n_epochs"] <= 1
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            best_epoch = trial.user_attrs["best_epoch"]
            assert trial.value == max(epoch_values(trial).values())
            assert trial.value == epoch_values(trial)[best_epoch]
    refusal = (
        r"parts_per_epoch: the study has 4, this command has 2 \(parts_per_epoch follows from"
        r" min_texts\)"
    )
    with pytest.raises(StudyError, match=refusal):
        setting.tune(7, config=config, min_texts=80)
    assert setting.tune(7, config=config).summary.n_finished == 7


PLANNED = '''
import keras, keras_tuner


class Planned(keras_tuner.HyperModel):
    """Every text gets the same probability, whatever the training: the loss is the plan's."""

    def declare_hyperparameters(self, hp):
        hp.Fixed("vocab_size", 10)
        hp.Fixed("sequence_length", 4)
        hp.Choice("bias", [5.0, 0.0, 2.0, 6.0, 7.0, 8.0], default=5.0)

    def build(self, hp):
        bias = keras.initializers.Constant(hp.get("bias"))
        output = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros", bias_initializer=bias)
        pooled = [keras.layers.Embedding(10, 2), keras.layers.GlobalAveragePooling1D()]
        model = keras.Sequential([keras.Input((None,), dtype="int32"), *pooled, output])
        optimizer = keras.optimizers.SGD(1e-9)
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
        return model


hypermodel = Planned
'''


@pytest.mark.parametrize(
    "n_workers",
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)],
)
def test_configuration_is_trained_once_and_its_duplicates_get_the_same_result(
    setting: Setting, n_workers: int
) -> None:
    """There are six values and ten trials. Each value is trained once, in any order."""
    Path(setting.config.space).write_text(PLANNED)
    trained: list[str] = []
    setting.tune(1, config={"sampler": "random"})
    setting.study().enqueue_trial({"bias": 0.0})
    # With two workers, a trial with the same values is running at this time.
    setting.study().enqueue_trial({"bias": 0.0})
    outcome = setting.tune(
        10,
        config={"sampler": "random"},
        n_workers=n_workers,
        on_change=lambda state: trained.append(state.event),
    )
    trials = setting.study().trials
    assert outcome.ended == "finished" and [t.state for t in trials] == [TrialState.COMPLETE] * 10
    copies = [t for t in trials if "same_as" in t.user_attrs]
    biases = [t.params["bias"] for t in trials if t not in copies]
    assert len(biases) == len(set(biases)) and len(copies) == 10 - len(biases)
    for copy in copies:
        first = trials[copy.user_attrs["same_as"]]
        assert "same_as" not in first.user_attrs
        assert (copy.params, copy.values, copy.intermediate_values) == (
            first.params,
            first.values,
            first.intermediate_values,
        )
        assert read_history(setting.folder.history_path(copy.number)) == read_history(
            setting.folder.history_path(first.number)
        )
        assert copy.user_attrs["seconds"] == {}
    # The baseline was trained before.
    assert sum("epoch 1:" in event for event in trained) == len(biases) - 1


@pytest.mark.slow
def test_duplicate_of_a_retried_trial_has_its_own_draw_index(setting: Setting) -> None:
    """Otherwise the seed stream would lose a draw index."""
    Path(setting.config.space).write_text(PLANNED)
    setting.tune(1)
    study = setting.study()
    # A trial whose worker ended unexpectedly is queued in this way.
    study.enqueue_trial({"bias": 0.0}, user_attrs={"retry_of": 0, "n_lost": 1})
    study.enqueue_trial({"bias": 0.0})
    setting.tune(3)
    first, duplicate = setting.study().trials[1:]
    assert first.user_attrs["retry_of"] == 0
    assert duplicate.user_attrs["same_as"] == 1
    assert "retry_of" not in duplicate.user_attrs and "n_lost" not in duplicate.user_attrs


@pytest.mark.slow
def test_paused_trial_is_promoted_when_worse_ones_have_come(setting: Setting) -> None:
    """The metric is the loss: 0 is best, then 2, then 5 (the baseline). The trial with 2 waits
    until worse trials are recorded.
    """
    Path(setting.config.space).write_text(PLANNED)
    events: list[str] = []
    config = {"pruner": "asha", "metric": "val_loss", "train": TrainConfig(epochs=3)}
    setting.tune(1, config=config)
    study = setting.study()
    for bias in (0.0, 2.0, 6.0, 7.0, 8.0):
        study.enqueue_trial({"bias": bias})
    setting.tune(6, config=config, on_change=lambda state: events.append(state.event))
    trials = setting.study().trials
    assert "trial 2 pauses after epoch 1" in events
    assert "trial 2 goes on after epoch 1" in events
    assert [t.state.name for t in trials] == [
        "COMPLETE",
        "COMPLETE",
        "COMPLETE",
        "PRUNED",
        "PRUNED",
        "PRUNED",
    ]
    assert trials[2].params == {"bias": 2.0}
    assert len(read_history(setting.folder.history_path(2))) == 3


@pytest.mark.slow
def test_trial_paused_longest_makes_room_for_others(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(setting.config.space).write_text(PLANNED)
    monkeypatch.setattr(open_trials, "MAX_CHECKPOINT_BYTES", 0)
    events: list[str] = []
    config = {"pruner": "asha", "metric": "val_loss", "train": TrainConfig(epochs=3)}
    setting.tune(1, config=config)
    for bias in (0.0, 2.0, 6.0):
        setting.study().enqueue_trial({"bias": bias})
    setting.tune(4, config=config, on_change=lambda state: events.append(state.event))
    assert "trial 2 pruned after epoch 1, its checkpoint made room for others" in events
    assert setting.study().trials[2].state == TrialState.PRUNED
    assert not setting.folder.checkpoint_path(2).exists()


@pytest.mark.journey
def test_killed_coordinator_loses_no_paused_trial(setting: Setting) -> None:
    """A trial that was running again returns to its checkpoint, and ends as a trial that never
    paused.
    """
    slow_down(setting, 2)
    config = {"train": TrainConfig(epochs=4, patience=9)}
    # This call creates the study.
    setting.tune(2, timeout_seconds=0.01, config=config)
    process = start_tune(setting, 2, epochs=4)
    wait_for(process, "epoch 1:")
    # The trial pauses at the end of its epoch.
    process.terminate()
    process.communicate()
    waiting = [t.number for t in setting.study().trials if t.state == TrialState.RUNNING]
    assert waiting
    process = start_tune(setting, 2, epochs=4)
    wait_for(process, f"trial {waiting[0]} goes on")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # The checkpoint contains the same epochs.
    setting.folder.history_path(waiting[0]).unlink()
    # The call has no time to continue the trial, so the trial stays paused.
    setting.tune(2, config=config, timeout_seconds=0.01)
    assert setting.study().trials[waiting[0]].user_attrs["paused"] is True
    setting.tune(2, config=config)
    trials = setting.study().trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert [row["epoch"] for row in read_history(setting.folder.history_path(waiting[0]))] == [
        1,
        2,
        3,
        4,
    ]


@pytest.mark.slow
def test_progress_names_running_trials_and_the_incumbent(copied: Setting) -> None:
    seen: list[Progressed] = []
    copied.tune(10, on_change=seen.append)
    assert {8, 9} <= {number for state in seen for number in state.running}
    assert seen[-1].summary.best is not None
    assert seen[-1].seconds_left == 0


@pytest.mark.slow
def test_grid_ends_when_every_point_is_finished(setting: Setting) -> None:
    setting.edit_space(
        'hp.Int("vocab_size", 10, 40, default=30)', 'hp.Choice("vocab_size", [10, 30], default=30)'
    )
    setting.edit_space(
        'hp.Int("sequence_length", 4, 16, default=8)', 'hp.Fixed("sequence_length", 8)'
    )
    for name in ("embedding_dim", "lstm_units"):
        setting.edit_space(f'hp.Int("{name}", 2, 4, default=2)', f'hp.Fixed("{name}", 2)')
    outcome = setting.tune(20, config={"sampler": "grid"})
    assert outcome.ended == "exhausted"
    assert sorted(t.params["vocab_size"] for t in setting.study().trials) == [10, 30]


def slow_down(setting: Setting, seconds: float) -> None:
    """Make each build of a trial's model take `seconds`, and start the worker server, because a
    timeout includes its start.
    """
    with Pool(1, log_path=setting.results.path.parent / "server.log"):
        pass
    # The build that reads the notes of the space, before this file exists, is not slow.
    setting.run_in_build(
        f"import os, time\nif os.path.exists({str(setting.folder.space_path)!r}):\n"
        f"    time.sleep({seconds})"
    )


@pytest.mark.slow
@pytest.mark.alone
def test_timeout_pauses_running_trials_and_the_next_call_goes_on(setting: Setting) -> None:
    slow_down(setting, 3)
    outcome = setting.tune(
        1, timeout_seconds=2.5, config={"train": TrainConfig(epochs=4, patience=9)}
    )
    (trial,) = setting.study().trials
    assert (outcome.ended, outcome.summary.n_paused) == ("timeout", 1)
    # Only the epoch that was running is recorded.
    assert (trial.state, sorted(trial.intermediate_values)) == (TrialState.RUNNING, [1])
    assert setting.folder.checkpoint_path(0).exists()
    setting.tune(1, config={"train": TrainConfig(epochs=4, patience=9)})
    (trial,) = setting.study().trials
    assert (trial.state, len(trial.intermediate_values)) == (TrialState.COMPLETE, 4)
    assert [row["epoch"] for row in read_history(setting.folder.history_path(0))] == [1, 2, 3, 4]
    assert not setting.folder.checkpoint_path(0).exists()


@pytest.mark.slow
@pytest.mark.alone
def test_search_of_a_total_duration_prunes_its_paused_trials(setting: Setting) -> None:
    slow_down(setting, 3)
    config = {"train": TrainConfig(epochs=4, patience=9)}
    outcome = setting.tune(1, total_seconds=2.5, config=config)
    assert (outcome.ended, outcome.n_trials) == ("timeout", MAX_TRIALS)
    assert outcome.summary.counts["pruned"] == 1
    assert searched_seconds(setting.study()) == 2.5
    assert requested_n_trials(setting.study()) == 1
    again = setting.tune(1, total_seconds=2.5, config=config)
    assert len(again.summary.trials) == 1


@pytest.mark.slow
@pytest.mark.alone
def test_timeout_queues_a_trial_again_that_can_not_pause(setting: Setting) -> None:
    slow_down(setting, 3)
    line = "    def build(self, hp):\n"
    own_fit = (
        "    def fit(self, hp, model, *args, **kwargs):\n        return model.fit(*args,"
        " **kwargs)\n\n"
    )
    setting.edit_space(line, own_fit + line)
    outcome = setting.tune(
        3, timeout_seconds=2.5, config={"train": TrainConfig(epochs=4, patience=9)}
    )
    assert outcome.summary.failures == {"timeout": 1}
    assert [t.state for t in setting.study().trials] == [TrialState.FAIL, TrialState.WAITING]
    assert setting.study().trials[1].user_attrs["baseline"] is True


def test_timings_of_a_trial_are_complete(finished: tuple[ResultsDir, Outcome]) -> None:
    _, outcome = finished
    trial = outcome.summary.trials[1]
    assert tuple(sorted(trial.user_attrs["seconds"])) == tuple(sorted(PHASES))
    # The phase "view" may be rounded to 0.
    assert all(
        trial.user_attrs["seconds"][phase] > 0
        for phase in ("build", "first_step", "train", "evaluate", "idle", "storage")
    )
    assert trial.user_attrs["n_tokens"] > 0
    assert trial.user_attrs["peak_memory_mb"] > 100
    assert 0 < outcome.summary.overhead_share < 1


def test_nan_loss_fails_the_trial_with_its_reason_and_the_search_goes_on(setting: Setting) -> None:
    setting.edit_space(
        'learning_rate=hp.get("learning_rate")',
        'learning_rate=float("nan") if hp.get("vocab_size") == 30 else 0.05',
    )
    setting.tune(2)
    trials = setting.study().trials
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert trials[0].user_attrs["reason"] == "NaN loss"
    assert "NaN loss" in setting.folder.error_path(0).read_text()


@pytest.mark.slow
def test_search_stops_when_nothing_can_be_trained(setting: Setting) -> None:
    setting.edit_space('learning_rate=hp.get("learning_rate")', 'learning_rate=float("nan")')
    with pytest.raises(StudyError, match="failed one after the other"):
        setting.tune(30, n_workers=2)
    states = {t.state for t in setting.study().trials}
    assert TrialState.FAIL in states
    assert states <= {TrialState.FAIL, TrialState.WAITING}


def test_bug_in_a_space_stops_the_study_with_values_and_traceback(setting: Setting) -> None:
    space = Path(setting.config.space)
    good = space.read_text()
    setting.run_in_build("raise KeyError('oops')")
    with pytest.raises(SpaceBug, match=r"vocab_size 30.*oops") as stopped:
        setting.tune(2)
    assert "KeyError" in stopped.value.traceback
    assert "KeyError" in setting.folder.error_path(0).read_text()
    space.write_text(good)
    setting.tune(2)
    assert [t.state.name for t in setting.study().trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert setting.study().trials[1].user_attrs["baseline"] is True


def test_worker_that_dies_is_replaced_and_its_trial_tried_once_more(setting: Setting) -> None:
    # The build that reads the notes of the space, before this file exists, does not end its worker.
    setting.run_in_build(
        f"import os\nin_search = os.path.exists({str(setting.folder.space_path)!r})\n"
        "if in_search and hp.get('vocab_size') == 30:\n    os.kill(os.getpid(), 9)"
    )
    setting.tune(2)
    trials = setting.study().trials
    assert [t.user_attrs.get("reason") for t in trials] == ["lost", "lost", None, None]
    assert [t.params["vocab_size"] == 30 for t in trials] == [True, True, False, False]


def test_refused_command_leaves_no_folder(setting: Setting) -> None:
    setting.edit_space('hp.Int("lstm_units", 2, 4', 'hp.Float("lstm_units", 2, 4')
    with pytest.raises(SpaceError, match="grid sampler needs"):
        setting.tune(1, config={"sampler": "grid"})
    assert not setting.folder.path.exists()


def test_second_owner_is_refused(copied: Setting) -> None:
    with (
        FileLock(copied.folder.lock_path),
        pytest.raises(StudyError, match="Only one process may work"),
    ):
        copied.tune(9)
    assert copied.study().trials[-1].number == 7


def test_refused_process_leaves_the_lock_of_a_study_that_is_being_created(setting: Setting) -> None:
    setting.folder.path.mkdir(parents=True)
    with FileLock(setting.folder.lock_path):
        for _ in range(2):
            with pytest.raises(StudyError, match="Only one process may work"):
                setting.tune(1)
        assert setting.folder.lock_path.exists()


def test_configure_takes_the_study_s_own_values_and_the_call_s_flags(copied: Setting) -> None:
    assert configure("s", {}, copied.folder) == copied.config
    assert configure("s", {"train": {"epochs": 9}}, copied.folder).train.epochs == 9


def test_another_metric_is_refused_with_both_sides(copied: Setting) -> None:
    with pytest.raises(StudyError, match=r"'val_accuracy'.*'val_auc'"):
        copied.tune(9, config={"metric": "val_auc"})


def test_status_is_one_object_for_scripts(copied: Setting) -> None:
    status = status_of(StudyHandle(copied.results, copied.folder, copied.results.storage_url(None)))
    names = (
        "study metric n_complete n_pruned n_failed n_running n_paused best_trial best_is_confirmed"
        " best_value best_mean best_params best_trial_of_the_search baseline_value"
        " linear_model_value coordinators seconds_by_phase overhead_share n_tokens fingerprints"
    )
    assert list(unstructure(status)) == names.split()
    study = copied.study()
    assert (status.n_complete, status.best_value) == (8, study.best_value)
    assert status.baseline_value == study.trials[0].value
    assert status.best_trial_of_the_search is not None
    assert study.trials[status.best_trial_of_the_search].value == study.best_value
    assert (status.best_is_confirmed, status.best_mean) == (False, None)


@pytest.mark.slow
def test_val_loss_is_minimized(setting: Setting) -> None:
    outcome = setting.tune(2, config={"metric": "val_loss"})
    assert outcome.summary.best is not None
    assert outcome.summary.best.value == min(t.value for t in setting.study().trials)


@pytest.mark.slow
def test_seven_classes_train_with_the_same_command(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "seven.csv"
    path.write_text("text,label\n" + "".join(f"word{n % 7} and {n},c{n % 7}\n" for n in range(210)))
    outcome = setting.tune(1, config={"data": DataConfig(data=str(path))})
    assert outcome.summary.best is not None


def start_tune(
    setting: Setting, n_trials: int, epochs: int = 2, flags: Sequence[str] = ()
) -> subprocess.Popen[str]:
    config = setting.config
    budget = ("--n-trials", n_trials, "--epochs", epochs, "--pruner", "none")
    command = tune_command(config.space, config.data.data, setting.results.path, *budget, *flags)
    return start(command)


@pytest.fixture
def slow_setting(setting: Setting) -> Setting:
    """Return a setting whose builds take a second, so that a signal arrives during a trial."""
    slow_down(setting, 1)
    return setting


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_cleanly_and_the_same_command_goes_on(
    slow_setting: Setting, number: signal.Signals
) -> None:
    before = left_behind()
    process = start_tune(slow_setting, 3)
    wait_for(process, "trial 1 starts")
    started = time.monotonic()
    # Ctrl-C in a terminal and the end of a Slurm job send the signal to the whole group.
    os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 10
    assert "Interrupted" in out
    trials = slow_setting.study().trials
    assert [t.state.name for t in trials] == ["COMPLETE", "RUNNING"]
    # The trial paused at the end of its epoch with its checkpoint.
    assert trials[1].user_attrs["paused"] is True
    slow_setting.tune(3)
    assert [t.state.name for t in slow_setting.study().trials] == ["COMPLETE"] * 3
    assert left_behind() == before


@pytest.mark.slow
@pytest.mark.alone
def test_second_interrupt_ends_at_once_and_the_trial_is_queued_again(setting: Setting) -> None:
    # The build takes longer than the maximum time for the end of an epoch.
    slow_down(setting, 30)
    process = start_tune(setting, 2)
    wait_for(process, "trial 0 starts")
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.5)
    started = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 5
    trials = setting.study().trials
    assert [t.state.name for t in trials] == ["FAIL", "WAITING"]
    assert trials[0].user_attrs["reason"] == "interrupted"
    assert trials[1].system_attrs["fixed_params"] == trials[0].params


def process_of_the_linear_model(pid: int) -> psutil.Process:
    """Wait for the child of a search that fits the linear model, and return it."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children():
            if "tuning.evaluation.linear_reference" in child.cmdline():
                return child
        time.sleep(0.05)
    raise AssertionError("The search has not started the linear model.")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_search_that_ends_leaves_no_process_of_the_linear_model(
    copied: Setting, number: signal.Signals
) -> None:
    slow_down(copied, 1)
    fingerprint = read_json(copied.folder.config_path)["data_fingerprint"]
    # The process waits for the lock as long as the test has it.
    with FileLock(copied.results.cache_dir(fingerprint) / f"{REFERENCE_NAME}.lock"):
        process = start_tune(copied, 10)
        # The process is started at the end of the first epoch.
        wait_for(process, "trial 8 epoch 1")
        child = process_of_the_linear_model(process.pid)
        os.kill(process.pid, number)
        process.communicate(timeout=60)
        psutil.wait_procs([child], timeout=END_SECONDS)
        assert not child.is_running()


@pytest.mark.slow
def test_killed_coordinator_leaves_no_ghost_and_no_worker(
    slow_setting: Setting, running_below: Callable[[int], list[int]]
) -> None:
    process = start_tune(slow_setting, 3)
    wait_for(process, "trial 0 starts")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [t.state.name for t in slow_setting.study().trials] == ["RUNNING"]
    slow_setting.tune(2)
    trials = slow_setting.study().trials
    assert [t.state.name for t in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trials[0].user_attrs["reason"] == "lost"
    assert trials[1].user_attrs["baseline"] is True
    deadline = time.monotonic() + END_SECONDS
    while running_below(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running_below(process.pid) == []


@pytest.mark.slow
def test_configuration_that_takes_its_coordinator_with_it_is_dropped(setting: Setting) -> None:
    """The kernel may end a whole container that is out of memory, with the coordinator."""
    setting.run_in_build("if hp.get('vocab_size') == 11:\n    import os; os.killpg(0, 9)")
    setting.tune(1)
    setting.study().enqueue_trial(
        {"vocab_size": 11, "sequence_length": 8, "embedding_dim": 2, "lstm_units": 2}
    )
    codes, out = [], ""
    while not codes or (codes[-1] == -signal.SIGKILL and len(codes) < 6):
        process = start_tune(setting, 3, flags=("--no-confirm",))
        out = process.communicate(timeout=100)[0]
        codes.append(process.returncode)
    assert codes == [-signal.SIGKILL] * 3 + [0], out
    assert [t.state.name for t in setting.study().trials] == [
        "COMPLETE",
        "FAIL",
        "FAIL",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
    ]
    assert "trial 3 is not tried again" in setting.folder.log_path.read_text()


def left_behind() -> set[str]:
    """Return the names of the shared memory and the semaphores of this machine."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def finished_stream(setting: Setting) -> list[tuple[object, ...]]:
    """Return the results of a search in their order, without failed trials, which were queued
    again.
    """
    return [
        (t.params, t.state, t.values, t.intermediate_values, t.user_attrs.get("baseline"))
        for t in setting.study().trials
        if t.state != TrialState.FAIL
    ]


@pytest.mark.nightly
@pytest.mark.timeout(600)  # Each of the eight starts imports Keras.
def test_study_killed_six_times_equals_the_uninterrupted_one(
    setting: Setting, tmp_path: Path, reviews_csv: Path, tiny_space: Path
) -> None:
    n_trials, flags = 14, ("--pruner", "asha", "--epochs", "3", "--no-confirm")
    whole = Setting(tmp_path / "whole", reviews_csv, tiny_space)
    start_tune(whole, n_trials, flags=flags).communicate(timeout=200)
    rng = random.Random(0)
    for _ in range(6):
        process = start_tune(setting, n_trials, flags=flags)
        # The lines are those of the search, after the lines of the start.
        wait_for_lines(process, rng.randint(1, 16))
        time.sleep(rng.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    out, _ = start_tune(setting, n_trials, flags=flags).communicate(timeout=200)
    assert "All 14 trials are finished." in out
    assert finished_stream(setting) == finished_stream(whole)
    states = [t.state for t in setting.study().trials]
    # Some trials were killed during their training.
    assert TrialState.FAIL in states
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == n_trials


def wait_for_lines(process: subprocess.Popen[str], n: int) -> None:
    """Wait for `n` lines about trials, or for the end of the process."""
    assert process.stdout
    for line in process.stdout:
        n -= "] trial " in line
        if n <= 0:
            return


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "limits", "reason", "n_tries"),
    # The first four limits are so low that a trial on a busy machine may exceed them.
    [
        pytest.param(
            "import time; time.sleep(600)",
            Limits(trial_seconds=6.0),
            "too long",
            1,
            marks=pytest.mark.alone,
        ),
        pytest.param(
            "import time; time.sleep(600)",
            Limits(silent_seconds=3.0),
            "silent",
            2,
            marks=pytest.mark.alone,
        ),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
            Limits(silent_seconds=3.0),
            "silent",
            2,
            marks=pytest.mark.alone,
        ),
        pytest.param(
            "import numpy as np, time; x = np.ones(2**28); time.sleep(600)",
            Limits(trial_memory_mb=2000.0),
            "out of memory",
            1,
            marks=pytest.mark.alone,
        ),
        ("import numpy as np; x = np.ones(2**40)", Limits(), "out of memory", 1),
        ("import os; os.kill(os.getpid(), 9)", Limits(), "lost", 2),
    ],
    ids=["too long", "sleeps", "is stopped", "holds too much", "asks for too much", "is killed"],
)
def test_worker_over_a_limit_is_replaced_and_its_trial_fails_with_a_reason(
    setting: Setting, code: str, limits: Limits, reason: str, n_tries: int
) -> None:
    """A trial exceeds a limit or loses its worker. Later trials have a worker again."""
    setting.run_in_build(f"if hp.get('vocab_size') == 11:\n    {code}")
    bad = {"vocab_size": 11, "sequence_length": 8, "embedding_dim": 2, "lstm_units": 2}

    def enqueue(_: object) -> None:
        setting.study().enqueue_trial(bad)

    outcome = setting.tune(3, limits=limits, on_start=enqueue)
    failed = [t for t in setting.study().trials if t.state == TrialState.FAIL]
    assert [t.user_attrs["reason"] for t in failed] == [reason] * n_tries
    assert all(t.params == bad for t in failed)
    assert outcome.summary.n_finished == outcome.summary.counts["complete"] == 3
    assert not any(
        t.state in (TrialState.RUNNING, TrialState.WAITING) for t in setting.study().trials
    )


@pytest.mark.slow
def test_bug_fails_its_trial_alone_when_the_study_is_to_keep_going(setting: Setting) -> None:
    setting.run_in_build("assert hp.get('vocab_size') != 11")
    setting.tune(1)
    setting.study().enqueue_trial(
        {"vocab_size": 11, "sequence_length": 8, "embedding_dim": 2, "lstm_units": 2}
    )
    outcome = setting.tune(3, keep_going=True)
    assert outcome.summary.failures == {"bug": 1}
    assert outcome.summary.n_finished == 3
    assert "AssertionError" in setting.folder.error_path(1).read_text()


def test_second_process_is_refused_with_the_name_of_the_first(setting: Setting) -> None:
    def again(_: object) -> None:
        with pytest.raises(StudyError, match=rf"locked by process {os.getpid()} on .* since 20"):
            setting.tune(1)

    setting.tune(1, on_start=again)
    assert not setting.folder.lock_holder_path.exists()


@pytest.fixture
def running_below() -> Callable[[int], list[int]]:
    """Return a function that reads the processes of a session from /proc."""

    def of(session: int) -> list[int]:
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:  # The process ended during the loop.
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                pids.append(int(stat.parent.name))
        return pids

    return of


@pytest.mark.parametrize(
    ("ended", "is_running", "reason"),
    [
        (SearchEnd.FINISHED, False, "needs 3 or more completed trials"),
        (SearchEnd.FINISHED, True, "running on other machines"),
        (SearchEnd.INTERRUPTED, False, None),
    ],
)
def test_search_that_cannot_be_confirmed_says_why(
    ended: SearchEnd, is_running: bool, reason: str | None, tmp_path: Path
) -> None:
    study = optuna.create_study(direction="maximize")
    if is_running:
        study.ask()
    session = session_of(study, CONFIG, SPACE, ResultsDir(tmp_path))
    outcome = Outcome(summarize(study, metric="val_accuracy"), SPACE, ended, n_trials=3)
    reasons: list[str] = []
    skipped = on(NotConfirmed, lambda event: reasons.append(event.reason))
    assert searching._confirm(replace(session, subscribers=[skipped]), outcome) is None
    assert [reason in said for said in reasons] == [True] * (reason is not None)
