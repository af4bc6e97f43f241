"""Configurations that come from other programs."""

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.studies import CONFIG, SPACE
from tuning.api.exchange import add, import_kerastuner, read_study
from tuning.config import StudyConfig
from tuning.errors import StorageError, StudyError
from tuning.results import ResultsDir
from tuning.spaces.foreign_trials import ForeignTrial
from tuning.spaces.hyperparameters import to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.handle import StudyHandle
from tuning.study.study import open_study
from tuning.study.summary import Summary

SOURCE = "another place"


@pytest.fixture
def results(tmp_path: Path) -> ResultsDir:
    return create(tmp_path, CONFIG)


def create(tmp_path: Path, config: StudyConfig, space: SearchSpace = SPACE) -> ResultsDir:
    results = ResultsDir(tmp_path / "results")
    url = results.storage_url(None)
    open_study(results, config, space, data_fingerprint="d0", storage_url=url)
    return results


def take(results: ResultsDir, *trials: ForeignTrial, as_finished: bool = False) -> list[str]:
    url = results.storage_url(None)
    study = StudyHandle(results, results.study("s"), url)
    added = add(study, trials, source=SOURCE, as_finished=as_finished)
    assert added.n_added + len([s for s in added.left_out if "left out" in s]) == len(trials)
    return added.left_out


def trials_of(results: ResultsDir) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="s", storage=results.storage_url(None)).get_trials()


def foreign(name: str, *scores: float, **values: object) -> ForeignTrial:
    return ForeignTrial(name=name, values=values, scores=scores)


def test_add_names_what_the_space_does_not_have(results: ResultsDir) -> None:
    (sentence,) = take(results, foreign("trial 1", vocab_size=40, note="x", **{"tuner/epochs": 3}))
    assert "does not have note, tuner/epochs" in sentence


def test_add_queues_a_configuration_once_unless_it_has_failed(results: ResultsDir) -> None:
    trial = foreign("row 1", vocab_size=20)
    (sentence,) = take(results, trial, replace(trial, name="row 2"))
    assert sentence == "row 2 is left out: the study has its configuration already."
    study = optuna.load_study(study_name="s", storage=results.storage_url(None))
    study.tell(study.ask(), state=TrialState.FAIL)
    assert take(results, trial) == []
    assert len(trials_of(results)) == 2


def test_add_as_finished_keeps_the_scores(results: ResultsDir) -> None:
    """The trials rank among the study's own; a stepped value may have the error of a sum."""
    whole = {"vocab_size": 20.000000000000004, "sequence_length": 8, "cell": "gru"}
    trial = ForeignTrial(name="trial 7", values=whole, scores=(0.8,), best_epoch=2)
    lower = foreign("trial 8", 0.7, vocab_size=30, cell="gru")
    assert take(results, trial, lower, as_finished=True) == []
    first, second = Summary("s", CONFIG.metric, trials_of(results)).ranked
    assert (first.value, first.params) == (0.8, {"vocab_size": 20, "cell": "gru"})
    assert first.user_attrs == {
        "imported": "trial 7 of another place",
        "val_accuracy": 0.8,
        "best_epoch": 2,
        "n_epochs": 2,
        "seconds": {},
    }
    assert second.user_attrs["best_epoch"] == CONFIG.train.epochs


@pytest.mark.parametrize(
    ("parts", "best_epoch", "expected"),
    [
        *((1, 0, 0), (1, 0.25, 1), (1, 2, 2)),
        *((4, 0.25, 0.25), (4, 0.125, 0.25), (4, 1.75, 1.75), (8, 99, 5)),
    ],
)
def test_best_epoch_of_another_study_is_rounded_to_parts_of_this_one(
    parts: int, best_epoch: float, expected: float, tmp_path: Path
) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, parts_per_epoch=parts))
    values = {"vocab_size": 20, "cell": "gru"}
    trial = ForeignTrial(name="trial 7", values=values, scores=(0.8,), best_epoch=best_epoch)
    results = create(tmp_path, config)
    assert take(results, trial, as_finished=True) == []
    attributes = trials_of(results)[0].user_attrs
    assert (attributes["best_epoch"], attributes["n_epochs"]) == (expected, expected)


def test_add_as_finished_refuses_the_score_of_another_model(results: ResultsDir) -> None:
    few = foreign("trial 1", 0.9, vocab_size=20)
    many = foreign("trial 2", 0.9, vocab_size=20, cell="gru", more=1)
    assert take(results, few, many, as_finished=True) == [
        "trial 1 is left out: it has no value for cell.",
        "trial 2 is left out: the space does not have more.",
    ]


def test_add_as_finished_needs_a_score_for_each_objective(tmp_path: Path) -> None:
    results = create(tmp_path, replace(CONFIG, costs=("n_params",), pruner="none"))
    with pytest.raises(StudyError, match="each objective of the study, val_accuracy, n_params"):
        take(results, foreign("trial 1", 0.9, vocab_size=20, cell="gru"), as_finished=True)


def other_study(
    tmp_path: Path,
    *,
    direction: str = "maximize",
    name: str | None = None,
    best_epoch: object = 3,
    n_epochs: int | None = None,
) -> str:
    """Create an Optuna study "other" with two completed trials and a failed one; return its URL."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="other", storage=url, direction=direction)
    if name:
        study.set_metric_names([name])
    for value, state in ((0.6, None), (0.9, None), (None, TrialState.FAIL)):
        trial = study.ask()
        trial.suggest_int("vocab_size", 10, 40, step=10)
        trial.suggest_categorical("cell", ["lstm", "gru"])
        trial.set_user_attr("best_epoch", best_epoch)
        if n_epochs is not None:
            trial.set_user_attr("n_epochs", n_epochs)
        study.tell(trial, value, state=state)
    return url


def read(url: str, name: str = "other", **options: bool) -> list[ForeignTrial]:
    return read_study(url, name, CONFIG, SPACE, **{"same_objectives": False, **options})


def test_best_epoch_that_is_not_known_is_the_last_that_the_configuration_trains(
    tmp_path: Path,
) -> None:
    most = Hyperparameter(name="max_epochs", kind="int", default=2, low=1, high=9)
    results = create(
        tmp_path, CONFIG, replace(SPACE, hyperparameters=(*SPACE.hyperparameters, most))
    )
    values = {"vocab_size": 20, "cell": "gru"}
    trials = [
        ForeignTrial(name=f"trial {n}", values=values | {"max_epochs": n}, scores=(0.8,))
        for n in (3, 9)
    ]
    assert take(results, *trials, as_finished=True) == []
    epochs = [trial.user_attrs["best_epoch"] for trial in trials_of(results)]
    assert epochs == [3, CONFIG.train.epochs]


@pytest.mark.parametrize(
    ("best_epoch", "n_epochs", "expected"),
    [(0.25, None, 0.25), (0, 2, 0), (0, None, None), ("three", None, None), (math.inf, None, None)],
)
def test_read_study_gives_the_completed_trials_best_first(
    best_epoch: object, n_epochs: int | None, expected: float | None, tmp_path: Path
) -> None:
    """Epoch 0 is the best only of a study of this program, which writes `n_epochs`."""
    trials = read(other_study(tmp_path, best_epoch=best_epoch, n_epochs=n_epochs))
    assert [(t.name, t.scores, t.best_epoch) for t in trials] == [
        ("trial 1", (0.9,), expected),
        ("trial 0", (0.6,), expected),
    ]
    assert set(trials[0].values) == {"vocab_size", "cell"}


def test_read_study_gives_conditional_parameters_the_names_of_the_space(tmp_path: Path) -> None:
    """A study of this program has two ranges of one name under two names."""
    items = [
        Hyperparameter(
            name="width", kind="int", default=2, low=1, high=4, conditions=(("cell", (cell,)),)
        )
        for cell in ("lstm", "gru")
    ]
    space = replace(SPACE, hyperparameters=(*SPACE.hyperparameters, *items))
    values = {"vocab_size": 20, "sequence_length": 8, "cell": "gru", "width": 3}
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = optuna.create_study(study_name="other", storage=url, direction="maximize")
    study.enqueue_trial(to_params(values, space.hyperparameters))
    trial = study.ask()
    trial.suggest_int("width[cell=gru]", 1, 4)
    study.tell(trial, 0.5)
    (read_trial,) = read_study(url, "other", CONFIG, space, same_objectives=False)
    assert read_trial.values == {"width": 3}


@pytest.mark.parametrize("name", [None, "val_auc", "val_accuracy"])
def test_read_study_as_finished_needs_the_objective(tmp_path: Path, name: str | None) -> None:
    url = other_study(tmp_path, name=name)
    assert len(read(url)) == 2
    if name == "val_accuracy":
        assert len(read(url, same_objectives=True)) == 2
    else:
        with pytest.raises(StudyError, match=f"'other' has {name or 'objectives without'}"):
            read(url, same_objectives=True)


def test_read_study_refuses_what_is_not_there_or_has_another_direction(tmp_path: Path) -> None:
    url = other_study(tmp_path)
    with pytest.raises(StudyError, match="it contains other, and not 'gone'"):
        read(url, "gone")
    with pytest.raises(StudyError, match=r"the file .*gone\.db does not exist"):
        read(f"sqlite:///{tmp_path / 'gone.db'}")
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    optuna.create_study(study_name="other", storage=empty, direction="maximize")
    with pytest.raises(StudyError, match="must have a completed trial"):
        read(empty)
    (tmp_path / "losses").mkdir()
    with pytest.raises(StudyError, match="of this one, maximize; 'other' has minimize"):
        read(other_study(tmp_path / "losses", direction="minimize"))
    with pytest.raises(StorageError, match=r"the URL of an Optuna storage; .* gave: Could"):
        read("nonsense")


@pytest.mark.parametrize(
    ("kind", "n_classes", "metric"),
    [
        ("labels", 2, "val_accuracy"),
        ("labels", 2, "val_auc"),
        ("classes", 3, "val_auc"),
        ("order", 3, "val_accuracy"),
        ("order", 3, "val_mae"),
    ],
)
def test_metric_that_differs_from_that_of_kerastuner_is_refused(
    kind: str, n_classes: int, metric: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, kind=kind), metric=metric)
    item = Hyperparameter(name="n_classes", kind="fixed", default=n_classes)
    space = replace(SPACE, hyperparameters=(*SPACE.hyperparameters, item))
    results = create(tmp_path, config, space)
    handle = StudyHandle(results, results.study("s"), results.storage_url(None))
    with pytest.raises(StudyError, match="study of another metric"):
        import_kerastuner(handle, tmp_path)
