"""Confirmations with real trainings: they are resumed, refused, and used by the export."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from tests.confirmations import begin as unplayed
from tests.confirmations import estimated, play
from tests.fake_workers import FakePool, Script, epoch, result_of, trains
from tests.studies import CONFIG, MANY_SPACE, Setting, many_trials, on, session_of
from tests.texts import substitute
from tuning.config import DataConfig, StudyConfig, TrainConfig, Workers
from tuning.confirmation.rounds import Confirmation, Finalist, Purpose
from tuning.data.rows import Redraw
from tuning.errors import ArgumentError, SpaceError, StorageError, StudyError
from tuning.outcomes import FailureReason
from tuning.report.confirmation import promise
from tuning.report.dashboard import annotate
from tuning.results import ResultsDir, StudyDir
from tuning.search import confirm as confirming
from tuning.search import session as opening
from tuning.search.confirm import (
    ConfirmationSize,
    begin,
    confirm,
    confirm_within,
    finalists_of,
    require_finished,
    with_others,
)
from tuning.search.events import RepeatEnded, Subscriber
from tuning.search.session import Session
from tuning.spaces.loading import SearchSpace
from tuning.study.handle import StudyHandle
from tuning.study.study import recorded_space
from tuning.study.summary import summarize
from tuning.training.result import TrainingJob
from tuning.workers.messages import EpochEnded, ErrorRaised, TrainingEnded


def run(copied: Setting) -> Confirmation:
    return confirm(
        StudyHandle.of(copied.results, "s"),
        size=ConfirmationSize(top=2, n_seeds=1, share=10.0),
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
    assert run(copied).is_over
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
    # Of the fitted models that are not trained, the best is a finalist.
    add(0.3, 41, best_epoch=0)
    add(0.4, 42, best_epoch=0)
    assert [f.trial for f in finalists(1)] == [1, 0, 6]
    assert [f.trial for f in finalists(3)] == [1, 2, 0, 6]
    assert [f.trial for f in finalists(4)] == [1, 2, 0, 6, 5]
    # Another program finished this trial.
    study.add_trial(create_trial(value=0.99, params={}, distributions={}))
    assert [f.trial for f in finalists(1)] == [1, 0, 6]


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


def test_trainings_of_a_worker_are_counted_over_all_rounds(tmp_path: Path) -> None:
    """A worker is replaced because its memory grows with each training."""
    pool, results = FakePool(trains), ResultsDir(tmp_path)
    pool.max_trainings = 4
    study = optuna.create_study()
    session = session_of(study, CONFIG, MANY_SPACE, results, pool=pool.as_pool)
    session.folder.confirmation_path.parent.mkdir(parents=True)
    confirmation = confirming._Repeats(session, unplayed(0.8, 0.7, 0.6)).run()
    assert (confirmation.rounds, len(pool.replaced)) == (5, 3)


@pytest.mark.parametrize(("n_guaranteed", "n_before"), [(3, 4), (0, 3)])
def test_idle_worker_trains_a_later_repeat_of_a_slow_baseline(
    tmp_path: Path, n_guaranteed: int, n_before: int
) -> None:
    """With a given budget, a later repeat may never be trained."""
    begun: list[int] = []  # the number of jobs that had begun at each end of a baseline

    def script(job: TrainingJob) -> Script:
        is_baseline = job.values["units"] == 0
        history = [epoch(n, value_of(job)) for n in range(1, 13 if is_baseline else 2)]
        for each in history:
            yield EpochEnded(each)
        if is_baseline:
            begun.append(len(pool.jobs))
        yield TrainingEnded(result_of(history, seconds={"train": float(len(history))}))

    def value_of(job: TrainingJob) -> float:
        return 0.5 + 0.1 * int(job.values["units"]) + 0.01 * job.seed

    pool, results = FakePool(script, n_workers=2), ResultsDir(tmp_path)
    session = session_of(optuna.create_study(), CONFIG, MANY_SPACE, results, pool=pool.as_pool)
    session.folder.confirmation_path.parent.mkdir(parents=True)
    confirmation = unplayed(0.8, 0.7, 0.6)
    made = [
        replace(f, values={"units": f.trial}, seconds=12.0 if f.is_baseline else 1.0)
        for f in confirmation.finalists
    ]
    started = replace(confirmation, finalists=made, n_guaranteed=n_guaranteed)
    ended = confirming._Repeats(session, started).run()
    # The longest training of a round begins first.
    assert [job.values["units"] for job in pool.jobs][:3] == [0, 1, 2]
    assert begun[0] == n_before
    expected, done = play(
        started, lambda trial, seed: 0.5 + 0.1 * trial + 0.01 * seed, seconds=None
    )
    assert ended == expected and len(pool.jobs) == len(done)


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


SIZE = ConfirmationSize(top=2, n_seeds=3, share=99.0, n_pruned=2)
BY_GROUP = replace(CONFIG, resplit=True, data=DataConfig(group_column="product"))


@pytest.mark.parametrize("is_resplit", [True, False])
def test_each_seed_draws_one_split_for_all_finalists_and_the_baseline(
    tmp_path: Path, is_resplit: bool
) -> None:
    """Pruned trials keep the split of their search, and the models that an ensemble is chosen from
    have one split.
    """
    session, jobs = recording(tmp_path, replace(CONFIG, resplit=is_resplit))
    confirmation = confirm_within(session, SIZE)
    assert confirmation.is_resplit == is_resplit
    pruned = [job for job in jobs if job.seed == CONFIG.seed]
    fresh = [job for job in jobs if job not in pruned]
    assert len(pruned) == 2 and {job.redraw for job in pruned} == {None}
    n_repeats = sum(len(finalist.repeats) for finalist in confirmation.finalists)
    assert len(fresh) == n_repeats > 6 and {job.seed for job in fresh} == {1, 2, 3}
    for job in fresh:
        assert job.redraw == (Redraw(seed=job.seed) if is_resplit else None)
        assert ("resplit" in (job.predictions or "")) == is_resplit

    summary = summarize(session.study, metric="val_accuracy")
    with_all = with_others(confirmation, summary, session.space)
    trained = confirming._Repeats(session, with_all, Purpose.ENSEMBLE).run()
    members = jobs[len(fresh) + len(pruned) :]
    assert {(job.seed, job.redraw) for job in members} <= {(1, None)}
    assert len(members) == (len(confirmation.finalists) if is_resplit else 0)
    assert trained.finalists == confirmation.finalists
    assert all("resplit" not in (job.predictions or "") for job in members)


def test_repeat_has_the_value_after_the_best_epoch_of_its_trial(tmp_path: Path) -> None:
    """A pruned trial that is trained to its end has the value of its best epoch."""

    def script(job: TrainingJob) -> Script:
        yield TrainingEnded(result_of([epoch(1, 0.9), epoch(2, 0.6)]))

    session, _ = recording(tmp_path, CONFIG)
    pool = FakePool(script)
    confirmation = confirm_within(replace(session, pool=pool.as_pool), SIZE)
    assert {v for f in confirmation.finalists for v in f.repeats.values()} == {0.6}
    assert {v for f in confirmation.pruned for v in f.repeats.values()} == {0.9}
    assert {job.n_epochs for job in pool.jobs if job.seed != CONFIG.seed} == {1}
    assert {job.n_epochs for job in pool.jobs if job.seed == CONFIG.seed} == {None}


@pytest.mark.parametrize("is_resplit", [True, False])
def test_repeats_are_on_the_folds_of_their_seed_or_of_the_search(
    tmp_path: Path, is_resplit: bool
) -> None:
    train = TrainConfig(epochs=2, n_folds=5)
    session, jobs = recording(tmp_path, replace(CONFIG, resplit=is_resplit, train=train))
    confirmation = confirm_within(session, SIZE)
    for job in jobs:
        # A pruned trial that is trained to its end keeps the folds of the search.
        assert job.redraw == Redraw(seed=job.seed if is_resplit else CONFIG.seed, n_folds=5)
    assert {job.seed for job in jobs} == {CONFIG.seed, 1, 2, 3}
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
    assert {(job.seed, job.redraw is not None) for job in jobs[n_jobs:]} == {(4, requested)}
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


@pytest.mark.parametrize("is_killed", [False, True])
def test_study_with_groups_trains_its_best_on_random_splits_too(
    tmp_path: Path, is_killed: bool
) -> None:
    def stop(ended: RepeatEnded) -> None:
        session.interrupt.requested = is_killed and "on a random split" in ended.event

    session, jobs = recording(tmp_path, BY_GROUP, on(RepeatEnded, stop))
    confirmation = confirm_within(session, SIZE)
    assert len(jobs[0].values) > 0 and jobs[0].redraw == Redraw(seed=1)
    random = [job for job in jobs if job.redraw and job.redraw.ignores_columns]
    assert len(random) == (1 if is_killed else 3)
    if is_killed:
        session, jobs = recording(tmp_path, BY_GROUP)
        confirmation = confirm_within(session, SIZE)
        random += jobs
    assert [job.redraw for job in random] == [
        Redraw(seed=seed, ignores_columns=True) for seed in (1, 2, 3)
    ]
    assert {job.predictions for job in random} == {None}
    (again,) = confirmation.on_random_splits
    assert again.trial == estimated(confirmation).best.trial and len(again.repeat_values) == 3
    counted = [*confirmation.finalists, *confirmation.pruned]
    n_epochs = BY_GROUP.train.epochs * sum(len(f.repeats) for f in counted)
    assert confirmation.spent_seconds == pytest.approx(0.1 * n_epochs)
    assert Confirmation.load(session.folder) == confirmation


def test_random_folds_are_compared_with_folds_of_times(tmp_path: Path) -> None:
    data, train = DataConfig(time_column="date"), replace(CONFIG.train, n_folds=3)
    ends: list[str] = []
    subscriber = on(RepeatEnded, lambda ended: ends.append(ended.event))
    session, jobs = recording(tmp_path, replace(CONFIG, data=data, train=train), subscriber)
    confirm_within(session, SIZE)
    random = [job.redraw for job in jobs if job.redraw and job.redraw.ignores_columns]
    assert random == [Redraw(seed=seed, n_folds=3, ignores_columns=True) for seed in (1, 2, 3)]
    assert sum("on random folds: " in end for end in ends) == 3


def test_random_split_is_not_compared_with_given_validation_rows(tmp_path: Path) -> None:
    session, jobs = recording(tmp_path, replace(BY_GROUP, resplit=False))
    card = replace(session.corpus.card, draws_validation=False)
    corpus: Any = SimpleNamespace(**vars(session.corpus) | {"card": card})
    assert confirm_within(replace(session, corpus=corpus), SIZE).is_over
    assert not any(job.redraw and job.redraw.ignores_columns for job in jobs)


def test_random_split_that_can_not_be_drawn_promises_nothing(tmp_path: Path) -> None:
    def script(job: TrainingJob) -> Script:
        if job.redraw and job.redraw.ignores_columns:
            yield ErrorRaised("bug", "The least populated class has 1 member.", "")
        yield from trains(job)

    session, _ = recording(tmp_path, BY_GROUP)
    confirmation = confirm_within(replace(session, pool=FakePool(script).as_pool), SIZE)
    assert confirmation.is_over and estimated(confirmation).is_confirmed
    assert promise(estimated(confirmation)) == []


def test_best_trial_of_each_other_architecture_is_trained_to_its_best_epoch(
    copied: Setting,
) -> None:
    """The finalists are the baseline alone, and `embedding_dim` decides whether `lstm_units` is
    active.
    """
    space, study = recorded_space(copied.folder), copied.study()
    summary = summarize(study, metric="val_accuracy")
    of_dims = (("embedding_dim", (2, 3, 4)),)
    conditional = [
        replace(item, conditions=of_dims) if item.name == "lstm_units" else item
        for item in space.hyperparameters
    ]
    baseline = [f for f in finalists_of(summary, space, top=1) if f.is_baseline]
    confirmation = Confirmation("val_accuracy", [1], 1.0, 1.0, baseline)
    changed = replace(space, hyperparameters=tuple(conditional))
    others = with_others(confirmation, summary, changed).others
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
    failed = [other.with_repeat(1, None, FailureReason.NAN_LOSS) for other in others]
    known = replace(confirmation, others=failed)
    assert with_others(known, summary, changed).others == failed


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
