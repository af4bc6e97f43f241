"""Confirmations with real trainings: they are resumed, refused, and used by the export."""

import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from tests.commands import Ran
from tests.confirmations import play
from tests.numbered import TWO
from tests.studies import CONFIG, MANY_SPACE, Setting, many_trials, session_of
from tests.texts import substitute
from tuning.config import Limits, TrainConfig, Workers
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.errors import SpaceError, StorageError, StudyError
from tuning.export.description import best_trial
from tuning.outcomes import LASTING, FailureReason
from tuning.results import ResultsDir, StudyDir
from tuning.search import confirm as confirming
from tuning.search.confirm import (
    ConfirmationSize,
    ConfirmHooks,
    begin,
    confirm,
    confirm_within,
    finalists_of,
    require_finished,
    with_others,
)
from tuning.search.session import Session
from tuning.search.tune import Outcome
from tuning.spaces.loading import SearchSpace, load_hypermodel
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.study.study import load_study, recorded_space
from tuning.study.summary import summarize
from tuning.training.fit import fit
from tuning.training.result import TrainingJob
from tuning.workers.messages import Ending

SIZES = {field.name for field in fields(ConfirmationSize)}


@pytest.fixture
def setting(copied: Setting) -> Setting:
    return copied


def run(setting: Setting, **options: Any) -> Confirmation:
    of_size = {
        "top": 2,
        "n_seeds": 2,
        "share": 10.0,
        **{name: options.pop(name) for name in [*options] if name in SIZES},
    }
    workers = Workers(1)
    return confirm(
        StudyHandle(setting.results, setting.folder, setting.results.storage_url(None)),
        size=ConfirmationSize(**of_size),
        workers=workers,
        hooks=ConfirmHooks(**options),
    )


def repeats(confirmation: Confirmation) -> dict[int, dict[int, float | None]]:
    return {finalist.trial: finalist.repeats for finalist in confirmation.finalists}


@pytest.mark.slow
def test_best_and_baseline_are_trained_on_fresh_seeds_and_a_second_call_trains_nothing(
    setting: Setting,
) -> None:
    events: list[str] = []
    confirmation = run(setting, on_change=lambda event, _: events.append(event))
    assert confirmation.is_over and confirmation.rounds == 2
    baseline = next(finalist for finalist in confirmation.finalists if finalist.is_baseline)
    # The search used seed 0.
    assert set(baseline.repeats) == {1, 2}
    assert len(events) == sum(len(finalist.repeats) for finalist in confirmation.finalists)
    assert confirmation == Confirmation.load(setting.folder)
    assert repeats(run(setting, on_change=lambda event, _: pytest.fail(event))) == repeats(
        confirmation
    )

    space = recorded_space(setting.folder)
    corpus, _ = prepare_corpus(setting.config, results=setting.results)
    hypermodel = load_hypermodel(Path(setting.config.space))
    splits = {"train": corpus.split("train"), "validation": corpus.split("validation")}
    known = tuple(item.name for item in space.hyperparameters)
    assert baseline.epochs == setting.study().trials[0].user_attrs["best_epoch"]
    config = TrainConfig(epochs=baseline.epochs)
    job = TrainingJob(values=baseline.values, target=TWO, train=config, seed=2, known=known)
    _, alone = fit(hypermodel, job, **splits)
    assert alone.history[-1].metrics["val_accuracy"] == pytest.approx(baseline.repeats[2], abs=1e-6)


def test_failure_of_the_storage_is_one_sentence(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise optuna.exceptions.StorageInternalError("database is locked")

    monkeypatch.setattr(confirming, "summarize", fail)
    with pytest.raises(StorageError, match=r"must stay reachable and writable; .*locked"):
        run(setting)


@pytest.mark.slow
def test_stopped_confirmation_goes_on(setting: Setting) -> None:
    class Stop(Exception):
        pass

    def stop(event: str, confirmation: Confirmation) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(setting, on_change=stop)
    kept = Confirmation.load(setting.folder)
    assert kept is not None and sum(len(finalist.repeats) for finalist in kept.finalists) == 1
    events: list[str] = []
    confirmation = run(setting, on_change=lambda event, _: events.append(event))
    assert len(events) == sum(len(finalist.repeats) for finalist in confirmation.finalists) - 1


@pytest.mark.slow
def test_more_seeds_keep_the_repeats_there_are(setting: Setting) -> None:
    first = run(setting, n_seeds=1)
    before = repeats(first)
    events: list[str] = []
    confirmation = run(setting, n_seeds=2, on_change=lambda event, _: events.append(event))
    assert all("seed 2" in event for event in events) and events
    assert all(
        trial_repeats[1] == before[trial][1]
        for trial, trial_repeats in repeats(confirmation).items()
    )
    assert confirmation.spent_seconds > first.spent_seconds


@pytest.mark.slow
def test_smaller_terms_leave_a_larger_confirmation_as_it_is(setting: Setting) -> None:
    run(setting, top=3, n_seeds=3)
    before = setting.folder.confirmation_path.read_bytes()
    confirmation = run(
        setting, top=1, n_seeds=1, share=0.01, on_change=lambda event, _: pytest.fail(event)
    )
    assert confirmation.is_over and setting.folder.confirmation_path.read_bytes() == before


@pytest.mark.slow
def test_longer_search_keeps_the_finalists_that_have_repeats(setting: Setting) -> None:
    first = run(setting, top=2, n_seeds=3)
    before = repeats(first)
    setting.tune(12)
    confirmation = run(setting, top=2, n_seeds=3)
    after = repeats(confirmation)
    assert all(after[trial].items() >= of_trial.items() for trial, of_trial in before.items())


@pytest.mark.slow
def test_share_bounds_what_the_confirmation_costs(setting: Setting) -> None:
    confirmation = run(setting, top=5, n_seeds=5, share=0.25)
    assert confirmation.is_over
    # The budget is compared with expected seconds, so the sum may exceed the budget.
    assert (
        sum(finalist.seconds * len(finalist.repeats) for finalist in confirmation.finalists)
        <= 1.5 * confirmation.budget_seconds
    )


@pytest.mark.slow
def test_worker_that_dies_is_replaced_and_its_training_made_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = confirming._Repeats._record
    killed: list[int] = []

    def killing(self: confirming._Repeats, repeat: confirming._Repeat, message: Ending) -> None:
        record(self, repeat, message)
        if not killed:
            killed.append(self._session.pool.workers[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(confirming._Repeats, "_record", killing)
    confirmation = run(setting)
    assert killed and confirmation.is_over
    assert not any(finalist.failures for finalist in confirmation.finalists)


@pytest.mark.slow
def test_export_takes_the_confirmed_best(setting: Setting) -> None:
    confirmation = run(setting)
    summary = summarize(setting.study(), metric="val_accuracy")
    searched = summary.best
    assert searched is not None
    other = next(
        finalist for finalist in confirmation.finalists if finalist.trial != searched.number
    )
    values = {other.trial: [0.99, 0.98, 0.97]}

    def with_repeats(*seeds: int) -> Confirmation:
        finalists = [
            replace(
                finalist,
                dropped_in=0,
                repeats=dict(
                    zip(seeds, values.get(finalist.trial, [0.10, 0.11, 0.10]), strict=False)
                ),
            )
            for finalist in confirmation.finalists
        ]
        return replace(confirmation, finalists=finalists)

    def handle() -> StudyHandle:
        return StudyHandle(setting.results, setting.folder, setting.results.storage_url(None))

    with_repeats(1, 2).save(setting.folder)
    # Two seeds are too few for a confirmed best.
    assert best_trial(handle()).number == searched.number
    with_repeats(1, 2, 3).save(setting.folder)
    assert best_trial(handle()).number == other.trial
    setting.folder.confirmation_path.unlink()
    assert best_trial(handle()).number == searched.number


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 0}, "top must be 1"),
        ({"n_seeds": 0}, "seeds must be 1"),
        ({"share": 0.0}, "share must be more"),
    ],
)
def test_bad_numbers_are_refused(setting: Setting, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(setting, **options)
    assert not setting.folder.confirmation_path.exists()


@pytest.mark.slow
def test_paused_trials_of_a_search_that_was_stopped_stay_as_they_are(setting: Setting) -> None:
    study = setting.study()
    paused = study.ask()
    paused.set_user_attr("paused", True)
    assert run(setting, n_seeds=1).is_over
    assert study.trials[paused.number].state == optuna.trial.TrialState.RUNNING


def test_what_can_not_be_confirmed_is_refused_and_nothing_is_overwritten(setting: Setting) -> None:
    run(setting, n_seeds=1)
    before = setting.folder.confirmation_path.read_bytes()
    study = setting.study()
    study.ask()
    with pytest.raises(StudyError, match="are running"):
        run(setting)
    study.tell(study.trials[-1].number, state=optuna.trial.TrialState.FAIL)
    setting.edit_space('"lstm_units", 2, 4', '"lstm_units", 2, 5')
    with pytest.raises(SpaceError, match="Put the file back"):
        run(setting, n_seeds=2)
    setting.edit_space('"lstm_units", 2, 5', '"lstm_units", 2, 4')
    substitute(Path(setting.config.data.data), "item7.", "item seven.")
    with pytest.raises(StudyError, match="fingerprint"):
        run(setting, n_seeds=2)
    assert setting.folder.confirmation_path.read_bytes() == before


def test_confirmation_needs_three_completed_trials(
    tmp_path: Path, reviews_csv: Path, tiny_space: Path, run_cli: Callable[..., Ran]
) -> None:
    Setting(tmp_path, reviews_csv, tiny_space).tune(1)
    ran = run_cli("confirm", "--study", "s")
    assert ran.code == 1
    assert "3 completed trials" in ran.err
    assert "Traceback" not in ran.err


def test_trials_of_one_configuration_are_one_finalist(setting: Setting) -> None:
    """Only equal values make duplicates: a vocabulary larger than the corpus is another
    configuration.
    """
    space = recorded_space(setting.folder)
    study = optuna.create_study(direction="maximize")

    def add(value: float, vocab_size: int, **attributes: object) -> None:
        params = {
            "vocab_size": vocab_size,
            "sequence_length": 8,
            "embedding_dim": 2,
            "lstm_units": 2,
        }
        distributions = {name: IntDistribution(1, 10_000) for name in params}
        of_trial = {"seconds": {}, "best_epoch": 1, "n_epochs": 1, **attributes}
        study.add_trial(
            create_trial(
                value=value, params=params, distributions=distributions, user_attrs=of_trial
            )
        )

    add(0.5, 30, baseline=True)
    add(0.9, 9_000)
    add(0.8, 9_001, starting_point=1)
    add(0.9, 9_000, same_as=1)
    finalists = finalists_of(summarize(study, metric="val_accuracy"), space, top=9)
    assert {finalist.trial: finalist.same for finalist in finalists} == {0: [], 1: [3], 2: []}
    assert {finalist.trial: finalist.starting_point for finalist in finalists} == {
        0: None,
        1: None,
        2: 1,
    }
    few = finalists_of(summarize(study, metric="val_accuracy"), space, top=1)
    assert [finalist.trial for finalist in few] == [1, 0]
    # The trials that were imported have no times, so they get those of the others.
    assert {finalist.seconds for finalist in finalists} == {0.0}
    add(0.1, 40, seconds={"train": 6.0, "idle": 9.0}, n_epochs=3)
    again = finalists_of(summarize(study, metric="val_accuracy"), space, top=9)
    assert {finalist.seconds for finalist in again} == {2.0}
    # Another program finished this trial.
    study.add_trial(create_trial(value=0.99, params={}, distributions={}))
    few = finalists_of(summarize(study, metric="val_accuracy"), space, top=1)
    assert [finalist.trial for finalist in few] == [1, 0]


def test_study_that_another_program_has_trained_can_not_be_confirmed(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(4):
        study.add_trial(create_trial(value=0.5, user_attrs={"baseline": number == 0}))
    summary = summarize(study, metric="val_accuracy")
    assert finalists_of(summary, SearchSpace("x", ()), top=5) == []
    with pytest.raises(StudyError, match="must have 3 completed trials"):
        require_finished(summary, StudyDir(tmp_path))


def test_search_that_has_a_confirmation_needs_one_completed_trial(tmp_path: Path) -> None:
    """A comparison confirms a slow search space with a single completed trial."""
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.5, user_attrs={"best_epoch": 1}))
    summary, folder = summarize(study, metric="val_accuracy"), StudyDir(tmp_path)
    with pytest.raises(StudyError, match="must have 3 completed trials"):
        require_finished(summary, folder)
    folder.confirmation_path.write_text("{}")
    require_finished(summary, folder)


def test_pruned_trial_is_repeated_for_the_epochs_of_its_role() -> None:
    """The best trial of an architecture may be in the sample of pruned trials too."""
    pruned, other = (Finalist(7, {}, 0.4, 1.0, epochs=epochs) for epochs in (5, 1))
    confirmation = Confirmation("val_accuracy", [1], 9.0, 9.0, [], pruned=[pruned], others=[other])
    session: Any = SimpleNamespace(pool=SimpleNamespace(workers=[]), limits=Limits())
    repeats = confirming._Repeats(session, confirmation, lambda event, now: None)
    assert repeats._finalist(confirming._Repeat(7, seed=1)) is other
    assert repeats._finalist(confirming._Repeat(7, seed=0)) is pruned


@pytest.mark.slow
def test_confirmation_goes_on_with_the_workers_of_the_search(setting: Setting) -> None:
    events: list[str] = []
    processes: list[tuple[set[int | None], set[int | None]]] = []

    def then(session: Session, outcome: Outcome) -> None:
        before = {worker.pid for worker in session.pool.workers}
        confirmation = confirm_within(
            session,
            ConfirmationSize(top=1, n_seeds=3),
            hooks=ConfirmHooks(on_change=lambda event, _: events.append(event)),
        )
        processes.append((before, {worker.pid for worker in session.pool.workers}))
        assert confirmation.is_over and confirmation.rounds >= 3

    setting.tune(9, n_workers=2, then=then)
    assert processes[0][0] == processes[0][1]
    assert any("seed 3" in event for event in events)
    confirmation = Confirmation.load(setting.folder)
    estimates = estimate(confirmation) if confirmation else None
    # A search as short as this one can be confirmed, too.
    assert estimates is not None and estimates.is_confirmed


@pytest.mark.slow
def test_tune_confirms_at_its_end(
    run_cli: Callable[..., Ran], reviews_csv: Path, tiny_space: Path, tmp_path: Path
) -> None:
    flags = [
        "--data",
        reviews_csv,
        "--space",
        tiny_space,
        "--study",
        "s",
        "--epochs",
        1,
        "--pruner",
        "none",
        "--workers",
        1,
        "--n-trials",
        3,
    ]
    ran = run_cli("tune", *flags)
    assert ran.code == 0
    assert "confirming the best on fresh seeds" in ran.out
    assert (tmp_path / "results" / "s" / "confirmation.json").exists()
    assert ran.out.count("reading reviews.csv") == ran.out.count("starting the workers") == 1
    assert re.search(
        r"Confirming trial \d.* and the baseline on up to 5 fresh seeds: about \d+ trainings, \d+ s"
        r" with 1 worker",
        ran.out,
    )
    assert "is the confirmed best" in ran.out
    assert "The worker time of the repeats was" in ran.out
    again = run_cli("tune", *flags)
    assert again.code == 0 and "is the confirmed best" in again.out
    # All repeats were trained before.
    assert "Confirming trial" not in again.out


def others_of(study: Setting, earlier: Sequence[Finalist] = ()) -> list[Finalist]:
    """Return the trials of a copied study that are trained for ensembles if the finalists are the
    baseline alone, and `embedding_dim` decides which other hyperparameters are active. `earlier`:
    those that a stored confirmation has.
    """
    study_ = load_study(study.results, study.folder, storage_url=study.results.storage_url(None))
    summary, space = summarize(study_, metric="val_accuracy"), recorded_space(study.folder)
    of_dims = (("embedding_dim", (2, 3, 4)),)
    conditional = [
        replace(item, conditions=of_dims) if item.name == "lstm_units" else item
        for item in space.hyperparameters
    ]
    baseline = [f for f in finalists_of(summary, space, top=1) if f.is_baseline]
    confirmation = Confirmation("val_accuracy", [1], 1.0, 1.0, baseline, others=[*earlier])
    changed = replace(space, hyperparameters=tuple(conditional))
    return with_others(confirmation, summary, changed).others


def test_best_trial_of_each_other_architecture_is_trained_to_its_best_epoch(
    copied: Setting,
) -> None:
    others = others_of(copied)
    study = load_study(copied.results, copied.folder, storage_url=copied.results.storage_url(None))
    dims = [other.values["embedding_dim"] for other in others]
    assert len(others) == len(set(dims)) >= 1
    for other in others:
        trial = study.trials[other.trial]
        best = max(trial.intermediate_values.values())
        assert other.search_value == pytest.approx(best, abs=1e-5)
        assert trial.intermediate_values[other.epochs] == best
        dim = other.values["embedding_dim"]
        same = (t for t in study.trials if t.params["embedding_dim"] == dim)
        assert best == max(max(t.intermediate_values.values()) for t in same)
        assert other.seconds > 0


@pytest.mark.parametrize("reason", FailureReason)
def test_other_architecture_is_trained_again_unless_its_configuration_is_the_cause(
    copied: Setting, reason: FailureReason
) -> None:
    first = others_of(copied)
    failed = [other.with_repeat(1, None, reason) for other in first]
    assert others_of(copied, failed) == (failed if reason in LASTING else first)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [(None, {1: 0.7}), (FailureReason.NAN_LOSS, {1: None}), (FailureReason.LOST, {})],
)
def test_finalist_keeps_the_training_that_it_had_for_ensembles(
    tmp_path: Path, reason: FailureReason | None, kept: dict[int, float | None]
) -> None:
    study, results = many_trials(20), ResultsDir(tmp_path)
    session = session_of(study, CONFIG, MANY_SPACE, results)
    summary = summarize(study, metric="val_accuracy")
    session.folder.path.mkdir(parents=True)
    few = begin(summary, session, ConfirmationSize(top=1))
    trained = [
        finalist.with_repeat(1, None if reason else 0.7, reason)
        for finalist in finalists_of(summary, MANY_SPACE, top=3)
        if finalist not in few.finalists
    ]
    stored = replace(few, others=trained)
    stored.save(session.folder)
    assert begin(summary, session, ConfirmationSize(top=1)) == stored
    more = begin(summary, session, ConfirmationSize(top=2, share=9.0))
    taken, *others = trained
    assert repeats(more)[taken.trial] == kept
    assert more.others == [other for other in others if kept]
    _, done = play(more, lambda trial, seed: 0.6)
    assert ((taken.trial, 1) in done) == (not kept)
