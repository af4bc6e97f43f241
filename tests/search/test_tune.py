"""Whole searches over a tiny corpus, with real workers, a real SQLite file and real signals."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

import tuning
from tests.commands import Ran, start, tune_command, wait_for
from tests.presets import write_text_encoder
from tests.stored_documents import full_manifest
from tests.studies import CONFIG, SPACE, Setting, on, session_of, tune_with
from tests.texts import substitute
from tuning.atomic_io import read_history, read_json
from tuning.config import DataConfig, Limits, StudyConfig, TrainConfig
from tuning.documents import unstructure
from tuning.errors import ArgumentError, SpaceError, StudyError
from tuning.evaluation.linear_reference import LinearReference
from tuning.export.export import export_best
from tuning.metrics import objectives_of
from tuning.outcomes import SearchEnd
from tuning.report.page import write_report
from tuning.results import ResultsDir
from tuning.search import session as opening
from tuning.search import tune as searching
from tuning.search.confirm import confirm
from tuning.search.events import LinearModelTrained, NotConfirmed
from tuning.search.tune import Outcome, configure
from tuning.study.handle import StudyHandle, status_of
from tuning.study.summary import PHASES, summarize
from tuning.study.trials import value_of
from tuning.workers.pool import Pool


@pytest.mark.slow
def test_study_keeps_the_starting_points_that_it_recorded(setting: Setting) -> None:
    end = "\nhypermodel = Tiny()\n"
    setting.edit_space(end, f"{end}starting_points = [{{'vocab_size': 20}}, {{'lstm_units': 4}}]\n")
    notes: list[str] = []
    setting.tune(2, on_start=lambda event: notes.extend(event.opened.notes))
    assert not notes
    setting.edit_space("{'vocab_size': 20}, {'lstm_units': 4}", "{'lstm_units': 3}")
    outcome = setting.tune(3, on_start=lambda event: notes.extend(event.opened.notes))
    (note,) = notes
    assert note.startswith("The search space file tiny.py has changed since the study began")
    assert [point["vocab_size"] for point in outcome.space.starting_points] == [20, 30]
    trials = setting.study().trials
    values = [(t.params["vocab_size"], t.params["lstm_units"]) for t in trials]
    assert values == [(30, 2), (20, 2), (30, 4)]
    assert [t.user_attrs.get("starting_point") for t in trials] == [None, 1, 2]


def noisy_reviews(n: int, *, n_classes: int) -> pd.DataFrame:
    """Return reviews of as many classes of stars, each with pairs of words that are more frequent
    in its class. No model can find all classes.
    """
    rng, rows = np.random.default_rng(0), []
    for number in range(n):
        stars = number % n_classes + 1
        words = [f"filler{word}" for word in rng.integers(0, 60, 12)]
        for _ in range(3):
            of = stars if rng.random() < 0.4 else int(rng.integers(1, n_classes + 1))
            place = int(rng.integers(0, len(words)))
            words[place:place] = [f"a{of}", f"b{rng.integers(0, 4)}"]
        rows.append({"review_body": " ".join(words), "star_rating": stars})
    return pd.DataFrame(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "n_classes", "number"), [("text", 2, 1), ("text", 5, 1), ("frozen_encoder", 5, 2)]
)
def test_starting_point_of_ngrams_alone_is_not_behind_the_linear_model(
    space: str, n_classes: int, number: int, tmp_path: Path
) -> None:
    """The first point of the frozen encoder has n-grams beside vectors that say little."""
    data, results = tmp_path / "reviews.csv", ResultsDir(tmp_path / "results")
    noisy_reviews(2_000, n_classes=n_classes).to_csv(data, index=False)
    positive_from = 2 if n_classes == 2 else 0  # each number of stars is a class
    config = StudyConfig(
        study="s",
        space=space,
        preset=str(write_text_encoder(tmp_path / "e.keras")) if space == "frozen_encoder" else None,
        data=DataConfig(data=str(data), positive_from=positive_from),
        pruner="none",
    )
    trained: list[LinearReference] = []
    outcome = tune_with(
        config,
        results,
        storage_url=results.storage_url(None),
        n_trials=number + 1,
        subscribers=[on(LinearModelTrained, lambda event: trained.append(event.reference))],
    )
    (reference,), trial = trained, outcome.summary.trials[number]
    assert (trial.user_attrs["starting_point"], trial.user_attrs["linear_ngrams"]) == (number, True)
    assert trial.params["architecture"] == "ngrams"
    assert reference.settings is not None
    assert trial.params["ngrams"] == reference.settings.order
    assert trial.params["ngram_c"] == reference.settings.strength
    bar = reference.value(config.metric)
    assert bar is not None and 1.2 / n_classes < bar < 0.99
    # The model computes in float32, so one of the 300 validation texts may get the other label.
    assert value_of(trial) > bar - 0.004


def test_trial_0_is_the_baseline_and_keeps_every_metric_of_every_epoch(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    results, outcome = finished
    trial = outcome.summary.trials[0]
    history = read_history(results.study("s").history_path(0))
    values = {"vocab_size": 30, "sequence_length": 8, "embedding_dim": 2, "lstm_units": 2}
    assert (trial.params, trial.user_attrs["baseline"]) == (values, True)
    names = {"loss", "accuracy", *objectives_of("classes")}
    assert [set(row) >= names for row in history] == [True, True]
    assert trial.intermediate_values == {int(row["epoch"]): row["val_accuracy"] for row in history}
    assert trial.value == max(trial.intermediate_values.values())
    assert {"best_epoch", "n_parameters", "val_f1", "val_auc"} <= set(trial.user_attrs)
    seconds = trial.user_attrs["seconds"]
    assert seconds.keys() == {*PHASES}
    # The phase "view" may be rounded to 0.
    assert all(seconds[phase] > 0 for phase in PHASES if phase != "view")
    assert trial.user_attrs["n_tokens"] > 0
    assert trial.user_attrs["peak_memory_mb"] > 100
    assert 0 < outcome.summary.overhead_share < 1


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
    history = read_history(setting.folder.history_path(waiting[0]))
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


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


def test_refused_command_prepares_no_inputs_and_leaves_no_folder(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "prepare_views", lambda *_, **__: pytest.fail("it is late"))
    setting.edit_space('hp.Int("lstm_units", 2, 4', 'hp.Float("lstm_units", 2, 4')
    with pytest.raises(SpaceError, match="grid sampler needs"):
        setting.tune(1, config={"sampler": "grid"})
    with pytest.raises(ArgumentError, match="class_weight must name classes of the data"):
        setting.tune(1, config={"train": TrainConfig(class_weight="other:2")})
    assert not setting.folder.path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "val_auc"}, "metric: the study has 'val_accuracy', this command has 'val_auc'"),
        ({"group_column": "product"}, "group_column: the study has None, this .* 'product'"),
        ({"kind": "order"}, "kind: the study has 'classes', this command has 'order'"),
    ],
)
def test_other_settings_are_refused_before_the_data_are_read(
    change: dict[str, Any], message: str, copied: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "prepare_search", lambda *_, **__: pytest.fail("it is late"))
    if "metric" not in change:
        change = {"data": replace(copied.config.data, **change)}
    with pytest.raises(StudyError, match=rf"created with; {message}\. Use"):
        copied.tune(9, config=change)


def test_changed_encoder_is_refused_by_a_search_a_confirmation_and_an_export(
    copied: Setting,
) -> None:
    encoders = '"encoders": {"encoder.keras": "0a1b2c3d"},'
    substitute(copied.folder.config_path, '"created":', f'{encoders} "created":')
    preset = '{"name": "preset", "kind": "fixed", "default": "encoder.keras"},'
    items = '"hyperparameters": ['
    substitute(copied.folder.space_path, items, f"{items} {preset}")
    study = StudyHandle.of(copied.results, "s")
    for command in (lambda: copied.tune(9), lambda: confirm(study), lambda: export_best(study)):
        with pytest.raises(StudyError, match=r"must have the encoder at encoder\.keras, as"):
            command()


@pytest.mark.slow
def test_weights_of_a_study_reach_its_trainings(setting: Setting) -> None:
    """A training loss is as many times larger as the weights."""
    frame = pd.read_csv(setting.config.data.data)
    frame.assign(votes=3).to_csv(setting.config.data.data, index=False)
    weighted = replace(setting.config.data, weight_column="votes")
    train = replace(setting.config.train, class_weight="negative:2,positive:2")
    losses = {}
    for name, config in {
        "equal": {},
        "rows": {"data": weighted},
        "both": {"data": weighted, "train": train},
    }.items():
        setting.tune(1, config={"study": name, "sampler": "random", **config})
        history = read_history(setting.results.study(name).history_path(0))
        losses[name] = float(history[0]["loss"])
    assert losses["rows"] == pytest.approx(3 * losses["equal"], rel=0.02)
    assert losses["both"] == pytest.approx(6 * losses["equal"], rel=0.02)
    assert len([*(setting.results.path / "cache").glob("*/data_card.json")]) == 2
    with pytest.raises(StudyError, match="class_weight: the study has 'negative:2,positive"):
        setting.tune(2, config={"study": "both", "sampler": "random", "data": weighted})


def test_configure_takes_the_study_s_own_values_and_the_call_s_flags(copied: Setting) -> None:
    assert configure("s", {}, copied.folder) == copied.config
    assert configure("s", {"train": {"epochs": 9}}, copied.folder).train.epochs == 9


def test_status_is_one_object_for_scripts(copied: Setting) -> None:
    status = status_of(StudyHandle.of(copied.results, "s"))
    names = (
        "study metric kind split n_folds n_complete n_pruned n_failed n_running n_paused"
        " best_trial best_is_confirmed"
        " best_value best_mean best_params best_trial_of_the_search baseline_value"
        " linear_model_value at_work"
        " seconds_by_phase overhead_share n_tokens fingerprints"
    )
    assert list(unstructure(status)) == names.split()
    study = copied.study()
    assert (status.n_complete, status.best_value) == (8, study.best_value)
    assert status.baseline_value == study.trials[0].value
    assert status.best_trial_of_the_search is not None
    assert study.trials[status.best_trial_of_the_search].value == study.best_value
    assert (status.best_is_confirmed, status.best_mean) == (False, None)


def start_tune(
    setting: Setting,
    n_trials: int,
    epochs: int = 2,
    *,
    pruner: str = "none",
    folds: str = "1",
    flags: Sequence[str] = (),
) -> subprocess.Popen[str]:
    config = setting.config
    budget = ("--n-trials", n_trials, "--epochs", epochs, "--pruner", pruner, *flags)
    where = (config.space, config.data.data, setting.results.path)
    return start(tune_command(*where, *budget, folds=folds))


def left_behind() -> set[str]:
    """Return the names of the shared memory and the semaphores of this machine."""
    return {path.name for path in Path("/dev/shm").iterdir()}


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_cleanly_and_the_same_command_goes_on(
    setting: Setting, number: signal.Signals
) -> None:
    slow_down(setting, 1)  # The signal arrives during a trial.
    before = left_behind()
    process = start_tune(setting, 3)
    wait_for(process, "trial 1 starts")
    started = time.monotonic()
    # Ctrl-C in a terminal and the end of a scheduled job send the signal to the whole group.
    os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 10
    assert "Interrupted" in out
    trials = setting.study().trials
    assert [t.state.name for t in trials] == ["COMPLETE", "RUNNING"]
    # The trial paused at the end of its epoch with its checkpoint.
    assert trials[1].user_attrs["paused"] is True
    setting.tune(3)
    assert [t.state.name for t in setting.study().trials] == ["COMPLETE"] * 3
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
@pytest.mark.parametrize("folds", ["1", "4"])
def test_study_killed_six_times_equals_the_uninterrupted_one(
    setting: Setting, tmp_path: Path, reviews_csv: Path, tiny_space: Path, folds: str
) -> None:
    searched = partial(
        start_tune, n_trials=14, epochs=3, pruner="asha", folds=folds, flags=("--no-confirm",)
    )
    whole = Setting(tmp_path / "whole", reviews_csv, tiny_space)
    searched(whole).communicate(timeout=200)
    rng = random.Random(0)
    for _ in range(6):
        process = searched(setting)
        # The lines are those of the search, after the lines of the start.
        wait_for_lines(process, rng.randint(1, 16))
        time.sleep(rng.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    out, _ = searched(setting).communicate(timeout=200)
    assert "All 14 trials are finished." in out
    assert finished_stream(setting) == finished_stream(whole)
    states = [t.state for t in setting.study().trials]
    # Some trials were killed during their training.
    assert TrialState.FAIL in states
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 14


def wait_for_lines(process: subprocess.Popen[str], n: int) -> None:
    """Wait for `n` lines about trials, or for the end of the process."""
    assert process.stdout
    for line in process.stdout:
        n -= "] trial " in line
        if n <= 0:
            return


@pytest.mark.slow
@pytest.mark.alone  # The limits are so low that a trial on a busy machine may exceed them.
@pytest.mark.parametrize(
    ("code", "limits", "reason", "n_tries"),
    [
        ("time.sleep(600)", Limits(trial_seconds=6.0), "too long", 1),
        ("time.sleep(600)", Limits(silent_seconds=3.0), "silent", 2),
        ("os.kill(os.getpid(), signal.SIGSTOP)", Limits(silent_seconds=3.0), "silent", 2),
        ("x = np.ones(2**28); time.sleep(600)", Limits(trial_memory_mb=2000.0), "out of memory", 1),
        ("x = np.ones(2**40)", Limits(), "out of memory", 1),
        ("os.kill(os.getpid(), 9)", Limits(), "lost", 2),
    ],
    ids=["too long", "sleeps", "is stopped", "holds too much", "asks for too much", "is killed"],
)
def test_worker_over_a_limit_is_replaced_and_its_trial_fails_with_a_reason(
    setting: Setting, code: str, limits: Limits, reason: str, n_tries: int
) -> None:
    """A trial exceeds a limit or loses its worker. Later trials have a worker again."""
    imports = "import os, signal, time\nimport numpy as np\n"
    setting.run_in_build(f"{imports}if hp.get('vocab_size') == 11:\n    {code}")
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


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (SearchEnd.FINISHED, "must have 3 completed trials"),
        (SearchEnd.INTERRUPTED, None),
    ],
)
def test_search_that_cannot_be_confirmed_says_why(
    ended: SearchEnd, reason: str | None, tmp_path: Path
) -> None:
    study = optuna.create_study(study_name="both-text", direction="maximize")
    session = session_of(study, CONFIG, SPACE, ResultsDir(tmp_path))
    outcome = Outcome(summarize(study, metric="val_accuracy"), SPACE, ended, n_trials=3)
    reasons: list[str] = []
    skipped = on(NotConfirmed, lambda event: reasons.append(event.reason))
    assert searching._confirm(replace(session, subscribers=[skipped]), outcome) is None
    assert len(reasons) == (reason is not None)
    assert all(re.search(reason or "", said) for said in reasons)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_several_objectives_have_a_front_that_is_confirmed_and_exported_by_number(
    setting: Setting, run_cli: Callable[..., Ran]
) -> None:
    where = ("--space", setting.config.space, "--data", setting.config.data.data, "--study", "s")
    size = ("--epochs", 2, "--sampler", "random", "--n-trials", 8, "--workers", 1, "--no-confirm")
    ran = run_cli("tune", *where, *size, "--objectives", "val_accuracy,n_params,latency_ms")
    assert ran.code == 0, ran.err
    assert "On the Pareto front: trials" in ran.out
    assert "parameters" in ran.out and "latency ms" in ran.out
    study = setting.study()
    summary = summarize(study, metric="val_accuracy")
    assert study.metric_names == ["val_accuracy", "n_params", "latency_ms"]
    assert all(
        t.state == TrialState.COMPLETE and t.values[1] == t.user_attrs["n_parameters"]
        for t in study.trials
    )
    assert {t.number for t in summary.front} == {t.number for t in study.best_trials}

    assert run_cli("confirm", "--top", 3, "--seeds", 2, "--share", 10, "--workers", 1).code == 0
    confirmed = read_json(setting.folder.confirmation_path)
    numbers = {
        finalist["trial"] for finalist in confirmed["finalists"] if not finalist["is_baseline"]
    }
    assert numbers <= {t.number for t in summary.front}
    page, _ = write_report(StudyHandle.of(setting.results, "s"))
    assert "Pareto front" in page.read_text(encoding="utf-8")

    chosen = summary.front[-1].number
    ran = run_cli("export-best", "--trial", chosen)
    assert ran.code == 0, ran.err
    assert full_manifest(setting.folder.best_dir).trial == chosen
    # The same command continues the study.
    assert run_cli("tune", "--study", "s", "--n-trials", 8, "--no-confirm").code == 0


class Low(optuna.samplers.RandomSampler):
    """A sampler that a user has written."""


class Patient(optuna.pruners.NopPruner):
    """A pruner that a user has written."""


@pytest.mark.slow
def test_study_of_a_user_s_sampler_and_pruner_goes_on_when_it_gets_them_again(
    setting: Setting,
) -> None:
    def tune(**options: Any) -> tuning.Study:
        return tuning.tune(
            setting.config.data.data,
            space=setting.config.space,
            study="mine",
            epochs=1,
            workers=1,
            confirm=False,
            results=setting.results.path,
            **options,
        )

    tune(n_trials=1, sampler=Low(seed=0), pruner=Patient())
    record = read_json(setting.results.study("mine").config_path)["config"]
    assert (record["sampler"], record["pruner"]) == ("Low", "Patient")
    with pytest.raises(StudyError, match=r"study='mine', sampler=Low\(\.\.\.\)"):
        tune(n_trials=2, pruner=Patient())
    with pytest.raises(StudyError, match=r"study='mine', pruner=Patient\(\.\.\.\)"):
        tune(n_trials=2, sampler=Low())
    with pytest.raises(StudyError, match="sampler: the study has 'Low'"):
        tune(n_trials=2, sampler="tpe", pruner=Patient())
    with pytest.raises(ArgumentError, match="pruner must be one of"):
        tune(n_trials=2, sampler=Low(), pruner="Patient")
    study = tune(n_trials=2, sampler=Low(seed=0), pruner=Patient())
    assert len(study.trials_dataframe()) == 2
