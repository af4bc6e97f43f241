"""An export as a Python object: its predictions, its scores, and copies of it; and the trainings
that an ensemble needs beside those of the confirmation.
"""

import math
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import tuning
from tests.numbered import MAJORITY, NGRAMS
from tests.stored_documents import EXPORT, STUDY
from tests.studies import Setting
from tuning.api import exports as module
from tuning.api.exports import copy_export, require_free
from tuning.atomic_io import read_json, write_json
from tuning.errors import ArgumentError, DataError, ExportError, StorageError
from tuning.inference.manifest import digests
from tuning.results import ResultsDir, StudyDir

TEXTS = ["good film", "bad"]
COLUMNS = ["text", "label", "probability", "problem"]


def test_model_is_loaded_once_and_kept(onnx_export: Path, tmp_path: Path) -> None:
    export = tuning.load_export(shutil.copytree(onnx_export, tmp_path / "best"))
    first = export.predict(TEXTS)
    shutil.rmtree(export.path)
    pd.testing.assert_frame_equal(export.predict(TEXTS), first)


def test_model_is_loaded_after_the_working_directory_has_changed(
    onnx_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(onnx_export.parent)
    export = tuning.load_export(onnx_export.name)
    monkeypatch.chdir(tmp_path)
    assert len(export.predict(TEXTS)) == 2


def test_other_process_can_use_an_export_after_its_first_prediction(onnx_export: Path) -> None:
    export = tuning.load_export(onnx_export)
    first = export.predict(TEXTS)
    sent = pickle.loads(pickle.dumps(export))
    pd.testing.assert_frame_equal(sent.predict(TEXTS), first)


def test_probabilities_have_a_column_for_each_class(onnx_export: Path) -> None:
    export = tuning.load_export(onnx_export)
    rows = export.predict(TEXTS, probabilities=True)
    of_classes = [f"probability_{name}" for name in export.class_names]
    assert of_classes == ["probability_negative", "probability_positive"]
    assert [*rows.columns] == [*COLUMNS[:3], *of_classes, "problem"]
    np.testing.assert_allclose(rows[of_classes].sum(axis=1), 1)
    for row in rows.to_dict("records"):
        assert row["probability"] == row[f"probability_{row['label']}"]
        assert row["probability"] >= 0.5
    pd.testing.assert_frame_equal(export.predict(TEXTS), rows[COLUMNS])


@pytest.mark.parametrize("dtype", [object, "category"])
def test_rows_have_the_index_of_a_series(dtype: Any, onnx_export: Path) -> None:
    export = tuning.load_export(onnx_export)
    rows = export.predict(pd.Series(TEXTS, index=[7, 3], dtype=dtype))
    assert rows.index.tolist() == [7, 3]
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), export.predict(TEXTS))


@pytest.mark.parametrize("texts", [[], pd.Series([], dtype="str")])
def test_no_texts_give_an_empty_frame(texts: Any, onnx_export: Path) -> None:
    export = tuning.load_export(onnx_export)
    rows = export.predict(texts, probabilities=True)
    assert rows.empty
    assert rows.dtypes.to_dict() == export.predict(TEXTS, probabilities=True).dtypes.to_dict()


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("good film", "list of texts, .* received a str"),
        ({"text": TEXTS}, "list of texts, .* a dict"),
        (pd.DataFrame({"text": TEXTS}), "list of texts, .* a DataFrame"),
        (["good", math.nan], "received nan at position 1. .* dropna"),
        (["good", None], "received None at position 1. .* dropna"),
        (pd.Series(["good", None], dtype="string"), "received <NA> at position 1. .* dropna"),
        (["good", ["bad"]], r"received \['bad'\] at position 1. .* dropna"),
    ],
)
def test_other_values_than_a_list_of_texts_are_refused(
    texts: Any, says: str, onnx_export: Path
) -> None:
    with pytest.raises(ArgumentError, match=says):
        tuning.load_export(onnx_export).predict(texts)


def test_text_for_probabilities_is_refused(onnx_export: Path) -> None:
    text: Any = "no"
    with pytest.raises(ArgumentError, match="probabilities must be True or False; received 'no'"):
        tuning.load_export(onnx_export).predict(["good"], probabilities=text)


def test_text_without_a_probability_is_named_with_its_position(
    onnx_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras' mean over the words of a text without words is 0 / 0."""
    outputs = np.array([[0.4, 0.6], [np.nan, np.nan]])
    monkeypatch.setattr(
        "tuning.inference.load.load_fastest", lambda *_: lambda texts: outputs[: len(texts)]
    )
    export = tuning.load_export(onnx_export)
    with pytest.raises(ExportError, match="gives NaN for the text at position 1, because"):
        export.predict(["good film", "!"])
    assert len(export.predict(["good film"])) == 1


def test_scores_are_those_of_the_manifest_with_the_exported_model_first() -> None:
    scores = tuning.load_export(STUDY.best_dir).scores
    assert scores["model"].tolist() == [
        f"exported model, trial {EXPORT.scores['best'].trial}",
        "baseline, trial 0",
        *sorted(EXPORT.references),
    ]
    columns = ["accuracy", "accuracy_low", "accuracy_high"]
    assert tuple(scores.loc[0, columns]) == EXPORT.scores["best"].interval("accuracy")
    linear = scores.set_index("model").loc[MAJORITY, ["f1", "f1_low", "f1_high"]]
    assert tuple(linear) == EXPORT.references[MAJORITY].interval("f1")


def test_score_that_is_not_defined_is_nan(tmp_path: Path) -> None:
    document = read_json(STUDY.best_dir / "export.json", version=2)
    for model in (document["scores"] | document["references"]).values():
        model["test"]["auc"], model["test_intervals"]["auc"] = None, [None, None]
    write_json(tmp_path / "export.json", {"schema_version": 2, **document})
    scores = tuning.load_export(tmp_path).scores
    assert scores[["auc", "auc_low", "auc_high"]].isna().all(axis=None)
    assert set(scores.dtypes[1:]) == {np.dtype("float64")}


def test_export_without_scores_is_refused(onnx_export: Path) -> None:
    with pytest.raises(ExportError, match=r"export\.json must be .*scores: is missing"):
        _ = tuning.load_export(onnx_export).scores


@pytest.mark.parametrize("name", ["empty", "new", "a/new/folder"])
def test_copy_of_an_export_is_an_export(name: str, onnx_export: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "new.tmp").mkdir()
    (tmp_path / "new.tmp" / "notes.txt").touch()
    target = tmp_path / name
    require_free(target)
    copy_export(onnx_export, target)
    assert digests(target) == digests(onnx_export)
    assert len(tuning.load_export(target).predict(TEXTS)) == 2
    assert (tmp_path / "new.tmp" / "notes.txt").exists()
    assert not list(target.parent.glob(f"{target.name}.*.tmp"))


def test_copy_that_can_t_be_written_is_a_sentence(onnx_export: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"must be writable .* The export itself is in"):
        copy_export(onnx_export, tmp_path / "file" / "copy")


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_study_writes_its_export_and_a_copy(copied: Setting, tmp_path: Path) -> None:
    """The data have moved since the search."""
    study, moved = tuning.load_study("s", results=copied.results.path), tmp_path / "moved.csv"
    Path(copied.config.data.data).rename(moved)
    with pytest.raises(DataError, match="must name a file"):
        study.export()
    assert study.export(copied.folder.best_dir, data=moved).path == copied.folder.best_dir
    export = study.export(tmp_path / "mine" / "best", data=moved)
    assert export.path == tmp_path / "mine" / "best"
    assert digests(export.path) == digests(copied.folder.best_dir)
    assert export.predict(TEXTS)["text"].tolist() == TEXTS
    assert export.scores["model"][0].startswith("exported ")
    assert {MAJORITY, NGRAMS} <= {*export.scores["model"]}


def test_export_keeps_the_random_states_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: Any, **__: Any) -> None:
        keras.utils.set_random_seed(0)
        keras.layers.Dropout(0.5)  # Keras draws its seed from `random`.
        raise ExportError("after the models were built")

    monkeypatch.setattr(module, "export_best", export)
    study = tuning.Study(StudyDir(tmp_path / "s"), ResultsDir(tmp_path))
    before = random.getstate(), np.random.get_state()[1:]
    with pytest.raises(ExportError, match="were built"):
        study.export()
    np.testing.assert_equal((random.getstate(), np.random.get_state()[1:]), before)
