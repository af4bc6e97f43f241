"""Manifests of another version or with wrong values, and files that were changed: each gives an
error of one sentence.
"""

from pathlib import Path

import pytest

from tests.stored_documents import files_of
from tuning.atomic_io import write_json
from tuning.errors import ExportError
from tuning.inference.manifest import FileDigest, read_manifest, verify

INPUT = {"vocab_size": 5, "sequence_length": 4, "truncating": "pre"}
MANIFEST = {
    "schema_version": 2,
    "class_names": ["a", "b"],
    "input": INPUT,
    "forms": {},
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model.onnx").write_bytes(b"model")
    write_json(tmp_path / "export.json", {**MANIFEST, "files": files_of(tmp_path)})
    return tmp_path


def test_folder_of_a_study_names_its_export(export: Path) -> None:
    with pytest.raises(ExportError, match=r"must contain a finished export.*`make export-best"):
        read_manifest(export.parent)
    best = export.rename(export.parent / "best")
    with pytest.raises(ExportError, match=f"Its export is in {best}"):
        read_manifest(export.parent)


@pytest.mark.parametrize("name", ["model.onnx", "saved_model/saved_model.pb"])
def test_file_that_was_changed_or_removed_is_refused(export: Path, name: str) -> None:
    manifest = read_manifest(export)
    sha256 = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"
    assert manifest.files["model.onnx"] == FileDigest(bytes=5, sha256=sha256)
    assert set(manifest.files) == {"model.onnx", "saved_model/saved_model.pb"}
    verify(export, manifest, manifest.files)
    top = name.partition("/")[0]
    other = ({"model.onnx", "saved_model"} - {top}).pop()
    (export / name).write_bytes(b"other")
    for names in (manifest.files, [top]):
        with pytest.raises(ExportError, match=rf"{name} must .* the SHA-256 differs"):
            verify(export, manifest, names)
    verify(export, manifest, [other])
    (export / name).unlink()
    with pytest.raises(ExportError, match=rf"must contain {name}; the file is missing"):
        verify(export, manifest, manifest.files)
    with pytest.raises(ExportError, match=r"the SHA-256 of other\.onnx"):
        verify(export, manifest, ["other.onnx"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema_version": 1}, "must have schema_version 2; it has 1"),
        ({"schema_version": 3}, "must have schema_version 2; it has 3"),
        ({"class_names": ["a"]}, "class_names: must be two or more"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, "files: must be paths below the export"),
        ({"input": {**INPUT, "vocab_size": "x"}}, "input.vocab_size: must be an integer, not 'x'"),
    ],
)
def test_wrong_value_is_named_by_its_path(
    export: Path, changed: dict[str, object], message: str
) -> None:
    write_json(export / "export.json", {**MANIFEST, "files": {}, **changed})
    with pytest.raises(ExportError, match=rf"export\.json .*{message}.*Write the export again"):
        read_manifest(export)
