"""Confirmations with real trainings: they are resumed, refused, and used by the export."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from tests.confirmations import begin as unplayed
from tests.fake_workers import FakePool, Script, epoch, result_of, trains
from tests.studies import CONFIG, MANY_SPACE, Setting, many_trials, session_of
from tests.texts import substitute
from tuning.config import DataConfig, StudyConfig, TrainConfig, Workers
from tuning.confirmation.plan import is_over
from tuning.confirmation.record import Confirmation, Finalist
from tuning.data.rows import Redraw
from tuning.errors import ArgumentError, SpaceError, StorageError, StudyError
from tuning.report.dashboard import annotate
from tuning.results import ResultsDir, StudyDir
from tuning.search import confirm as confirming
from tuning.search import session as opening
from tuning.search.confirm import (
    ConfirmationSize,
    confirm,
    confirm_within,
    finalists_of,
    require_finished,
)
from tuning.search.events import Subscriber
from tuning.search.session import Session
from tuning.spaces.loading import SearchSpace
from tuning.study.handle import StudyHandle
from tuning.study.study import recorded_space
from tuning.study.summary import summarize
from tuning.training.result import TrainingJob
from tuning.workers.messages import TrainingEnded


def run(copied: Setting) -> Confirmation:
    return confirm(
        StudyHandle.of(copied.results, "s"),
        size=ConfirmationSize(top=2, n_seeds=1),
        workers=Workers(1),
        subscribers=[annotate],
    )[0]


def repeats(confirmation: Confirmation) -> dict[int, dict[int, float | None]]:
    return {finalist.trial: finalist.repeats for finalist in confirmation.finalists}


def test_what_can_not_be_confirmed_is_refused_and_nothing_is_overwritten(
    copied: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied.study()
    paused = study.ask()
    paused.set_user_attr("paused", True)
    assert is_over(run(copied))
    assert study.trials[paused.number].state == optuna.trial.TrialState.RUNNING
    before = copied.folder.confirmation_path.read_bytes()
    study.ask()
    with pytest.raises(StudyError, match="are running"):
        run(copied)
    study.tell(study.trials[-1].number, state=optuna.trial.TrialState.FAIL)
    monkeypatch.setattr(opening, "prepare_views", lambda *_, **__: pytest.fail("it is late"))
    copied.edit_space('"lstm_units", 2, 4', '"lstm_units", 2, 5')
    with pytest.raises(SpaceError, match="Put the file back"):
        run(copied)
    copied.edit_space('"lstm_units", 2, 5', '"lstm_units", 2, 4')
    substitute(Path(copied.config.data.data), "item7.", "item seven.")
    with pytest.raises(StudyError, match="fingerprint"):
        run(copied)

    def fail(*args: object, **kwargs: object) -> None:
        raise optuna.exceptions.StorageInternalError("database is locked")

    monkeypatch.setattr(confirming, "summarize", fail)
    with pytest.raises(StorageError, match=r"must stay reachable and writable; .*locked"):
        run(copied)
    assert copied.folder.confirmation_path.read_bytes() == before


def test_trials_of_one_configuration_are_one_finalist(copied: Setting) -> None:
    """Only equal values make duplicates: a vocabulary larger than the corpus is another
    configuration.
    """
    space = recorded_space(copied.folder)
    study = optuna.create_study(direction="maximize")

    def add(value: float, vocab_size: int, **attributes: object) -> None:
        params = {"vocab_size": vocab_size, "sequence_length": 8}
        params |= {"embedding_dim": 2, "lstm_units": 2}
        distributions = {name: IntDistribution(1, 10_000) for name in params}
        of_trial = {"seconds": {}, "best_epoch": 1, "n_epochs": 1, **attributes}
        study.add_trial(
            create_trial(
                value=value, params=params, distributions=distributions, user_attrs=of_trial
            )
        )

    def finalists(top: int) -> list[Finalist]:
        return finalists_of(summarize(study, metric="val_accuracy"), space, top=top)

    add(0.5, 30, baseline=True)
    add(0.9, 9_000)
    add(0.8, 9_001, starting_point=1, linear_ngrams=True)
    add(0.9, 9_000, same_as=1)
    assert {f.trial: f.same for f in finalists(9)} == {0: [], 1: [3], 2: []}
    assert {f.trial: f.starting_point for f in finalists(9)} == {0: None, 1: None, 2: 1}
    assert [f.trial for f in finalists(9) if f.linear_ngrams] == [2]
    assert [f.trial for f in finalists(1)] == [1, 0]
    # The trials that were imported have no times, so they get those of the others.
    assert {f.seconds for f in finalists(9)} == {0.0}
    add(0.1, 40, seconds={"train": 6.0, "idle": 9.0}, n_epochs=3)
    assert {f.seconds for f in finalists(9)} == {2.0}
    # Another program finished this trial.
    study.add_trial(create_trial(value=0.99, params={}, distributions={}))
    assert [f.trial for f in finalists(1)] == [1, 0]


def test_confirmation_needs_three_trials_that_were_trained_here_and_its_continuation_one(
    tmp_path: Path,
) -> None:
    """A comparison confirms a slow search space with a single completed trial."""
    study, folder = optuna.create_study(direction="maximize"), StudyDir(tmp_path)
    for number in range(4):  # Another program has trained these.
        study.add_trial(create_trial(value=0.5, user_attrs={"baseline": number == 0}))
    study.add_trial(create_trial(value=0.5, user_attrs={"best_epoch": 1}))
    summary = summarize(study, metric="val_accuracy")
    with pytest.raises(StudyError, match=r"must have 3 completed trials .* has 1\."):
        require_finished(summary, folder)
    folder.confirmation_path.write_text("{}")
    require_finished(summary, folder)
    assert [f.trial for f in finalists_of(summary, SearchSpace("x", ()), top=5)] == [4]


def test_trainings_of_a_worker_are_counted_over_all_seeds(tmp_path: Path) -> None:
    """A worker is replaced because its memory grows with each training."""
    pool, results = FakePool(trains), ResultsDir(tmp_path)
    pool.max_trainings = 4
    study = optuna.create_study()
    session = session_of(study, CONFIG, MANY_SPACE, results, pool=pool.as_pool)
    session.folder.confirmation_path.parent.mkdir(parents=True)
    confirmation = confirming._Repeats(session, unplayed(0.8, 0.7, 0.6)).run()
    n_repeats = sum(len(finalist.repeats) for finalist in confirmation.finalists)
    assert (n_repeats, len(pool.replaced)) == (15, 3)


def recording(
    tmp_path: Path, config: StudyConfig, *subscribers: Subscriber
) -> tuple[Session, list[TrainingJob]]:
    """Return a session of a finished search whose workers train nothing, and the list to which
    their jobs are added.
    """
    pool: FakePool = FakePool(lambda job: trains(job, value=0.5 + 0.001 * len(pool.jobs)))
    study, results = many_trials(20), ResultsDir(tmp_path)
    session = session_of(
        study, config, MANY_SPACE, results, pool=pool.as_pool, subscribers=subscribers
    )
    session.folder.path.mkdir(exist_ok=True)
    return session, pool.jobs


SIZE = ConfirmationSize(top=2)
BY_GROUP = replace(CONFIG, resplit=True, data=DataConfig(group_column="product"))


@pytest.mark.parametrize("is_resplit", [True, False])
def test_each_seed_draws_one_split_for_all_finalists_and_the_baseline(
    tmp_path: Path, is_resplit: bool
) -> None:
    session, jobs = recording(tmp_path, replace(CONFIG, resplit=is_resplit))
    confirmation = confirm_within(session, SIZE)
    assert confirmation.is_resplit == is_resplit
    n_repeats = sum(len(finalist.repeats) for finalist in confirmation.finalists)
    assert len(jobs) == n_repeats >= 9 and {job.seed for job in jobs} >= {1, 2, 3}
    for job in jobs:
        assert job.redraw == (Redraw(seed=job.seed) if is_resplit else None)
        assert ("resplit" in (job.predictions or "")) == is_resplit


def test_repeat_has_the_value_after_the_best_epoch_of_its_trial(tmp_path: Path) -> None:
    def script(job: TrainingJob) -> Script:
        yield TrainingEnded(result_of([epoch(1, 0.9), epoch(2, 0.6)]))

    session, _ = recording(tmp_path, CONFIG)
    pool = FakePool(script)
    confirmation = confirm_within(replace(session, pool=pool.as_pool), SIZE)
    assert {v for f in confirmation.finalists for v in f.repeats.values()} == {0.6}
    assert {job.n_epochs for job in pool.jobs} == {1}


@pytest.mark.parametrize("is_resplit", [True, False])
def test_repeats_are_on_the_folds_of_their_seed_or_of_the_search(
    tmp_path: Path, is_resplit: bool
) -> None:
    train = TrainConfig(epochs=2, n_folds=5)
    session, jobs = recording(tmp_path, replace(CONFIG, resplit=is_resplit, train=train))
    confirmation = confirm_within(session, SIZE)
    for job in jobs:
        assert job.redraw == Redraw(seed=job.seed if is_resplit else CONFIG.seed, n_folds=5)
    assert {job.seed for job in jobs} >= {1, 2, 3}
    assert confirmation.overlap == (1 / 4 if is_resplit else 0)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, resplit=True)])
@pytest.mark.parametrize("requested", [True, False])
def test_confirmation_goes_on_as_it_has_begun(
    tmp_path: Path, config: StudyConfig, requested: bool
) -> None:
    session, jobs = recording(tmp_path, config)
    first = confirm_within(session, replace(SIZE, resplit=requested))
    assert first.is_resplit == requested  # It may differ from the setting of the search.
    n_jobs = len(jobs)
    assert confirm_within(session, SIZE) == first and len(jobs) == n_jobs
    longer = confirm_within(session, replace(SIZE, n_seeds=4))
    assert longer.overlap == first.overlap and longer.seeds == [1, 2, 3, 4]
    assert all((job.redraw is not None) == requested for job in jobs[n_jobs:])
    after = repeats(longer)
    assert all(after[trial].items() >= values.items() for trial, values in repeats(first).items())
    with pytest.raises(StudyError, match=f"resplit must stay {requested}, .* {not requested}"):
        confirm_within(session, replace(SIZE, resplit=not requested))


@pytest.mark.parametrize("has_begun", [False, True])
def test_no_confirmation_draws_the_last_rows_in_time_again(tmp_path: Path, has_begun: bool) -> None:
    by_time = replace(CONFIG, data=DataConfig(time_column="date"), resplit=False)
    session, _ = recording(tmp_path, by_time)
    if has_begun:
        confirm_within(session, SIZE)
    with pytest.raises(ArgumentError, match="resplit must be left out of study 's': "):
        confirm_within(session, replace(SIZE, resplit=True))
