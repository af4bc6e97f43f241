"""The labels that the models of the folds contradict."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.report.test_quality import confirm_best, study_of
from tests.studies import Setting
from tuning.atomic_io import read_json, write_json
from tuning.evaluation.out_of_sample import OutOfSample
from tuning.evaluation.predictions import PROBABILITIES
from tuning.report import labels as module
from tuning.report.labels import labels_to_check
from tuning.report.page import write_report
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.targets.labels import MultiLabel


@pytest.fixture
def repeat(copied: Setting) -> Path:
    """Return the path of a repeat of the best trial, whose study gets five folds."""
    record = read_json(copied.folder.config_path)
    record["config"]["train"]["n_folds"] = 5
    write_json(copied.folder.config_path, record)
    return confirm_best(copied, study_of(copied)[1])


def test_least_probable_labels_come_first_with_their_number_by_chance(
    copied: Setting, repeat: Path
) -> None:
    corpus, _ = study_of(copied)
    labels = np.concatenate([corpus.split(name).labels for name in ("train", "validation")])
    of_label = np.full(len(labels), 0.9)
    of_label[[7, 40, 190]] = 0.2, 0.05, 0.4  # the last row is of the validation split
    of_label[3] = np.nan  # no fold has predicted it
    probabilities = np.where(labels[:, None] == [0, 1], of_label[:, None], 1 - of_label[:, None])
    np.savez(repeat, **{PROBABILITIES: probabilities.astype(np.float32)})
    found = labels_to_check(StudyHandle.of(copied.results, "s"))
    assert found is not None
    rows, n_by_chance = found
    assert rows["probability"].tolist() == [0.05, 0.2, 0.4]
    assert rows["label"].tolist() == [corpus.card.class_names[labels[n]] for n in (40, 7, 190)]
    assert (rows["label"] != rows["predicted"]).all()
    # A label of 0.1 or less would come up in a tenth of the sure rows, of 0.4 in the last row.
    n_sure = len(labels) - 4
    assert n_by_chance == pytest.approx(0.1 * n_sure + 0.05 + 0.2 + 0.4, abs=1e-4)


def test_texts_with_a_wrong_one_of_several_labels_are_checked(
    copied: Setting, repeat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, splits = prepare_corpus(copied.config, results=copied.results)
    splits = replace(splits, target=MultiLabel(("a", "b")))
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    found = OutOfSample(np.arange(3), labels, np.array([[0.9, 0.1], [0.2, 0.6], [0.1, 0.7]]), [])
    monkeypatch.setattr(module, "prepare_corpus", lambda *args, **kwargs: (corpus, splits))
    monkeypatch.setattr(module, "out_of_sample", lambda *args, **kwargs: found)
    checked = labels_to_check(StudyHandle.of(copied.results, "s"))
    assert checked is not None
    rows, n_by_chance = checked
    assert rows["label"].tolist() == ["a;b", ""] and rows["predicted"].tolist() == ["b", "b"]
    assert rows["probability"].tolist() == [0.2, 0.3]
    assert n_by_chance == pytest.approx(0.1 + 0.1 + 0.2 + 0.1 + 0.3)


def test_labels_of_a_study_with_one_split_or_without_its_data_are_not_checked(
    copied: Setting, repeat: Path
) -> None:
    np.savez(repeat, **{PROBABILITIES: np.full((204, 2), 0.5, np.float32)})
    write_report(StudyHandle.of(copied.results, "s"))
    assert copied.folder.labels_csv_path.exists()
    Path(copied.config.data.data).unlink()
    assert labels_to_check(StudyHandle.of(copied.results, "s")) is None
    write_report(StudyHandle.of(copied.results, "s"))
    assert not copied.folder.labels_csv_path.exists()
    record = read_json(copied.folder.config_path)
    del record["config"]["train"]["n_folds"]
    write_json(copied.folder.config_path, record)
    assert labels_to_check(StudyHandle.of(copied.results, "s")) is None
