"""What a study writes to a tracker, and that it writes nothing twice."""

import copy
from collections.abc import Iterator

import optuna
import pytest

from tests.studies import Setting
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.trackers.contents import TrackedStudy, TrackedTrial, tracked_trial
from tuning.trackers.tracker import StudyWriting


class Written:
    """A tracker that keeps what it is given."""

    def __init__(self) -> None:
        self.studies: list[tuple[TrackedStudy, bool]] = []
        self.trials: list[TrackedTrial] = []
        self.is_closed = False

    def write_study(self, study: TrackedStudy, *, is_last: bool) -> None:
        self.studies.append((study, is_last))

    def write_trial(self, study: TrackedStudy, trial: TrackedTrial) -> None:
        self.trials.append(trial)

    def close(self) -> None:
        self.is_closed = True


def writing_of(results: ResultsDir, tracker: Written) -> StudyWriting:
    url = results.storage_url(None)
    return StudyWriting(results, results.study("s"), storage_url=url, tracker=tracker)


@pytest.fixture
def writing(finished: tuple[ResultsDir, Outcome]) -> Iterator[tuple[StudyWriting, Written]]:
    tracker = Written()
    made = writing_of(finished[0], tracker)
    yield made, tracker
    made.close()


def test_trials_have_their_values_epochs_and_ends(
    writing: tuple[StudyWriting, Written], finished: tuple[ResultsDir, Outcome]
) -> None:
    writing[0].write()
    trials = writing[1].trials
    assert [trial.number for trial in trials] == [*range(8)]
    for trial, frozen in zip(trials, finished[1].summary.trials, strict=True):
        assert trial.state == "complete"
        assert trial.parameters.items() >= {**frozen.params, "learning_rate": 0.05}.items()
        assert trial.numbers["value"] == frozen.value
        assert [epoch.step for epoch in trial.epochs] == [1, 2]
        values = [epoch.metrics["val_accuracy"] for epoch in trial.epochs]
        assert values == pytest.approx([*frozen.intermediate_values.values()])
        assert trial.ended is not None
        assert trial.ended > trial.started
    assert trials[0].words["baseline"] == "True"


def test_study_has_its_verdict_and_settings(writing: tuple[StudyWriting, Written]) -> None:
    writing[0].write(is_last=True)
    (first, was_last), (study, is_last) = writing[1].studies
    assert (was_last, is_last) == (False, True)
    assert first == study
    assert study.verdict.startswith("The best of the search, of 8 finished trials")
    assert study.settings["train.epochs"] == "2"
    assert study.numbers["n_complete"] == 8
    assert (study.export, study.exported, study.confirmation) == (None, "", None)


def test_second_writing_writes_nothing_again(writing: tuple[StudyWriting, Written]) -> None:
    for _ in range(3):
        writing[0].write()
    assert len(writing[1].trials) == 8
    assert len(writing[1].studies) == 1


def test_open_trial_is_written_again_when_it_has_changed(copied: Setting) -> None:
    tracker = Written()
    made = writing_of(copied.results, tracker)
    made.write()
    study = copied.study()
    study.enqueue_trial(study.trials[0].params)
    trial = study.ask()
    for name, distribution in study.trials[0].distributions.items():
        trial._suggest(name, distribution)
    made.write()
    trial.report(0.5, step=1)
    made.write()
    made.write()
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    made.write()
    made.close()
    states = [(t.number, t.state, len(t.epochs)) for t in tracker.trials[8:]]
    assert states == [(8, "running", 0), (8, "running", 1), (8, "fail", 1)]
    assert tracker.is_closed


def test_trial_without_values_is_left_out_until_it_has_them(copied: Setting) -> None:
    copied.study().ask()
    tracker = Written()
    made = writing_of(copied.results, tracker)
    made.write()
    made.close()
    assert len(tracker.trials) == 8


def test_identity_is_that_of_one_study(copied: Setting, finished: object) -> None:
    from tuning.atomic_io import write_json
    from tuning.documents import unstructure
    from tuning.study.record import read_record

    first, second = Written(), Written()
    made = writing_of(copied.results, first)
    made.write()
    made.close()
    record = unstructure(read_record(copied.folder))
    write_json(copied.folder.config_path, {**record, "created": "2020-01-01T00:00:00+00:00"})
    made = writing_of(copied.results, second)
    made.write()
    made.close()
    assert first.studies[0][0].identity != second.studies[0][0].identity


def test_duplicate_of_trial_0_names_it(finished: tuple[ResultsDir, Outcome]) -> None:
    trial = copy.deepcopy(finished[1].summary.trials[1])
    trial.set_user_attr("same_as", 0)
    trial.set_user_attr("baseline", False)
    folder = finished[0].study("s")
    made = tracked_trial(trial, finished[1].space, folder, metric="val_accuracy")
    assert made is not None
    assert made.words.get("same_as") == "0"
    assert "baseline" not in made.words
