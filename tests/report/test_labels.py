"""The labels that the models of the folds contradict."""

from pathlib import Path

import numpy as np
import pytest

from tests.report.test_quality import confirm_best, study_of
from tests.studies import Setting
from tuning.atomic_io import read_json, write_json
from tuning.evaluation.predictions import PROBABILITIES
from tuning.report.labels import labels_to_check
from tuning.report.page import write_report
from tuning.study.handle import StudyHandle


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
