"""Every document is read as it was written, and an error names the path of a wrong value."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.configs import study_configs
from tests.stored_documents import CARD, CONFIRMATION, EXPORT, RECORD, STORED_FILES, TEST_SCORES
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.data_card import DataCard
from tuning.documents import read, structure, unstructure, write
from tuning.errors import StudyError
from tuning.evaluation.scores import TestDocument
from tuning.export.manifest import FullManifest
from tuning.results import StudyDir
from tuning.study.record import StudyRecord, read_record

Place = tuple[str | int, ...]

NAMES = st.lists(st.text(max_size=3), min_size=2, max_size=3)
FINALISTS = st.lists(
    st.builds(Finalist, repeats=..., failures=..., costs=..., same=...), max_size=2
)
WRITTEN: dict[type, st.SearchStrategy[object]] = {
    StudyRecord: st.builds(StudyRecord, config=study_configs, git_commit=...),
    DataCard: st.builds(DataCard, checksums=..., data=..., dropped=..., broken_lines=...),
    FullManifest: st.builds(FullManifest, class_names=NAMES, files=st.just({}), export_number=...),
    TestDocument: st.from_type(TestDocument),
    Confirmation: st.builds(Confirmation, finalists=FINALISTS, pruned=FINALISTS),
}
STORED = dict(
    zip(STORED_FILES.values(), (RECORD, CARD, EXPORT, TEST_SCORES, CONFIRMATION), strict=True)
)


@dataclass(frozen=True)
class Inner:
    sizes: dict[str, int]
    bounds: tuple[float | None, float | None] = (None, None)
    by_seed: dict[int, str] | None = None


@dataclass(frozen=True)
class Outer:
    refuses_unknown_keys: ClassVar[bool] = True

    inner: list[Inner]
    is_over: bool = False
    value: int | str = 0


def text_of(document: object) -> str:
    return json.dumps(unstructure(document), sort_keys=True)


def places(value: Any) -> Iterator[Place]:
    """Yield the path to every value in plain values."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (key,)
        if isinstance(inner, dict | list):
            yield from ((key, *place) for place in places(inner))


def changed(values: Any, place: Place) -> Any:
    """Return a copy whose value at `place` is wrong for every type: an object, or a list where an
    object is expected.
    """
    made = inner = copy.deepcopy(values)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = [] if isinstance(inner[place[-1]], dict) else {}
    return made


@pytest.mark.parametrize("n_examples", [15, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_document_is_read_as_it_was_written(kind: type, n_examples: int) -> None:
    @settings(
        derandomize=True,
        deadline=None,
        max_examples=n_examples,
        suppress_health_check=[*HealthCheck],
    )
    @given(WRITTEN[kind])
    def check(document: object) -> None:
        assert text_of(structure(json.loads(text_of(document)), kind)) == text_of(document)

    check()


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_stored_document_is_written_with_the_same_bytes(path: Path, tmp_path: Path) -> None:
    document, stored = STORED[path], path.read_bytes()
    write(tmp_path / path.name, document, version=json.loads(stored)["schema_version"])
    written = (tmp_path / path.name).read_bytes()
    # Version 0.1.0 did not write these fields.
    for newer in (b'    "n_shared_seeds": 0,\n', b'  "n_guaranteed": 0,\n'):
        written = written.replace(newer, b"")
    assert written == stored


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_every_wrong_value_is_named_by_its_path(path: Path) -> None:
    values, kind = unstructure(STORED[path]), type(STORED[path])
    values = json.loads(json.dumps(values))
    for place in places(values):
        parts = [rf"(\.?{re.escape(str(key))}|\[{re.escape(repr(key))}\])" for key in place]
        with pytest.raises(ValueError, match=rf"^{''.join(parts)}: must be ") as refused:
            structure(changed(values, place), kind)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "must be an object, not []"),
        ({}, "inner: is missing"),
        ({"inner": {}}, "inner: must be a list, not {}"),
        ({"inner": [], "more": 1}, "must not have more"),
        ({"inner": [], "is_over": 1}, "is_over: must be true or false, not 1"),
        ({"inner": [], "value": 1.5}, "value: must be an integer or a string, not 1.5"),
        (
            {"inner": [{"sizes": {"a b": "x"}}]},
            "inner[0].sizes['a b']: must be an integer, not 'x'",
        ),
        ({"inner": [{"sizes": {"a": True}}]}, "inner[0].sizes['a']: must be an integer, not True"),
        ({"inner": [{"sizes": {}, "bounds": [1, "x"]}]}, "inner[0].bounds[1]: must be a number"),
        ({"inner": [{"sizes": {}, "bounds": [1]}]}, "inner[0].bounds: must have 2 values, not 1"),
        ({"inner": [{"sizes": {}, "by_seed": {"x": ""}}]}, "must have integers as keys, not 'x'"),
    ],
)
def test_wrong_values_are_refused(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        structure(values, Outer)


def test_integers_stay_integers_and_keys_become_them() -> None:
    values = {"inner": [{"sizes": {"a": 1}, "bounds": [1, None], "by_seed": {"7": "x"}, "new": 2}]}
    (inner,) = structure(values, Outer).inner
    assert repr(inner) == "Inner(sizes={'a': 1}, bounds=(1, None), by_seed={7: 'x'})"


def test_error_of_a_file_names_the_file_the_path_and_the_remedy(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path / "s")
    values = unstructure(RECORD)
    values["config"]["train"]["epochs"] = "x"
    folder.path.mkdir()
    folder.config_path.write_text(json.dumps({"schema_version": 1, **values}))
    pattern = (
        r"study\.json .*config\.train\.epochs: must be an integer, not 'x'\. Put the file back"
    )
    with pytest.raises(StudyError, match=pattern):
        read_record(folder)


def test_value_out_of_range_is_named_by_the_object_that_holds_it(tmp_path: Path) -> None:
    values = unstructure(RECORD)
    values["config"]["train"]["epochs"] = 0
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"schema_version": 1, **values}))
    with pytest.raises(StudyError, match=r"config\.train: epochs must be 1 or more; received 0"):
        read(path, StudyRecord, error=StudyError, remedy="Mend it.")
