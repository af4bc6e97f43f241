"""An export that is missing, unfinished or of another version; texts out of files."""

from pathlib import Path

import pytest

from tuning.errors import DataError, ExportError
from tuning.manifest import read_manifest
from tuning.predict import load, read_texts
from tuning.results import write_json

INPUT = {"vocab_size": 5, "sequence_length": 4, "truncating": "pre"}
MANIFEST = {"schema_version": 2, "class_names": ["a", "b"], "input": INPUT, "forms": {}, "left_out": {}, "files": {}}


def test_missing_export_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="make export-best"):
        read_manifest(tmp_path)


def test_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"schema_version": 99}')
    with pytest.raises(ExportError, match="schema_version"):
        read_manifest(tmp_path)


def test_form_that_was_left_out_says_why(tmp_path: Path) -> None:
    write_json(tmp_path / "export.json", {**MANIFEST, "left_out": {"model.h5": "Keras can't load it"}})
    with pytest.raises(ExportError, match="Keras can't load it"):
        load(tmp_path, form="h5")


def test_form_that_is_no_model_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "export.json", MANIFEST)
    (tmp_path / "model.keras").write_bytes(b"junk")
    with pytest.raises(ExportError, match="must be a model"):
        load(tmp_path)


def test_unknown_form_lists_the_forms(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keras, saved_model, h5, onnx, litert, litert_int8"):
        load(tmp_path, form="pickle")


def test_read_texts_of_a_text_file_is_a_text_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("one\n\ntwo\n")
    assert read_texts(str(path)) == ["one", "", "two"]


def test_read_texts_finds_a_known_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,review_body\n1,good\n2,\n")
    assert read_texts(str(path)) == ["good", ""]


def test_read_texts_lists_columns_where_none_is_known(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,words\n1,good\n")
    with pytest.raises(DataError, match="id, words"):
        read_texts(str(path))


def test_read_texts_takes_the_column_of_the_training_data(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,body\nno,good\n")
    assert read_texts(str(path), trained_on="body") == ["good"]
    assert read_texts(str(path), trained_on="body", text_column="text") == ["no"]


def test_read_texts_of_a_missing_file_names_its_own_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--file must name a file"):
        read_texts(str(tmp_path / "none.csv"))
