"""Every document is read as it was written, and an error names the path of a wrong value."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.configs import study_configs
from tests.paths import ROOT
from tests.stored_documents import (
    CARD,
    CONFIRMATION,
    EXPORT,
    RECORD,
    STORED_FILES,
    TEST_SCORES,
    wrong_values,
)
from tuning.confirmation.record import Confirmation, Finalist
from tuning.documents import structure, unstructure
from tuning.errors import StudyError
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.scores import PastEvaluation, SplitScores, TestDocument
from tuning.export.manifest import FullManifest
from tuning.inference.manifest import Manifest
from tuning.inputs.data_card import DataCard
from tuning.inputs.preset import PresetCard
from tuning.inputs.preset_features import FeatureCard
from tuning.metrics import DEFAULT_TARGET
from tuning.results import StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.lock import LockHolder
from tuning.study.study import StudyRecord, read_record
from tuning.training.result import FitResult


def documents_of(kind: type, **values: Any) -> st.SearchStrategy[object]:
    """Return a strategy for every field of a document, also for fields with a default."""
    inferred: dict[str, Any] = dict.fromkeys((field.name for field in fields(kind)), ...)
    return st.builds(kind, **(inferred | values))


KIND = st.just(DEFAULT_TARGET)
NAMES = st.lists(st.text(max_size=3), min_size=2, max_size=3)
OF_EXPORT = {
    "class_names": st.lists(st.text(max_size=3), min_size=2, max_size=2),
    "predicts": KIND,
    "thresholds": st.sampled_from([(), (0.25,)]),
    "files": st.just({}),
}
FINALISTS = st.lists(documents_of(Finalist), max_size=2)
WRITTEN: dict[type, st.SearchStrategy[object]] = {
    StudyRecord: documents_of(StudyRecord, config=study_configs),
    DataCard: documents_of(DataCard, class_names=NAMES, predicts=KIND),
    FullManifest: documents_of(FullManifest, **OF_EXPORT),
    TestDocument: documents_of(TestDocument),
    SplitScores: documents_of(SplitScores),
    Confirmation: documents_of(Confirmation, finalists=FINALISTS),
    Manifest: documents_of(Manifest, **OF_EXPORT),
    **{
        kind: documents_of(kind)
        for kind in (
            *(FeatureCard, FitResult, LinearReference, LockHolder),
            *(PastEvaluation, PresetCard),
            SearchSpace,
        )
    },
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


def structured_kinds(tree: ast.Module) -> Iterator[str]:
    """Yield the name of the class in each call of `documents.read` and `documents.structure`."""
    for scope in ast.walk(tree):
        for call in ast.walk(scope) if isinstance(scope, ast.Module | ast.ClassDef) else ():
            if isinstance(call, ast.Call) and len(call.args) > 1:
                function, kind = ast.unparse(call.func), ast.unparse(call.args[1])
                if function.rpartition(".")[2] in ("read", "structure"):
                    yield scope.name if isinstance(scope, ast.ClassDef) and kind == "cls" else kind


def test_every_document_that_is_read_is_in_the_list() -> None:
    """A name in lower case is an argument: the messages of workers have their own tests."""
    paths = sorted((ROOT / "tuning").rglob("*.py"))
    names = {name for path in paths for name in structured_kinds(ast.parse(path.read_text()))}
    listed = {kind.__name__ for kind in WRITTEN}
    assert {"DataCard", "Confirmation"} <= names
    assert {name for name in names if name[0].isupper()} - listed == set()


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_document_is_read_as_it_was_written(kind: type) -> None:
    @settings(max_examples=15, suppress_health_check=[*HealthCheck])
    @given(WRITTEN[kind])
    def check(document: object) -> None:
        assert text_of(structure(json.loads(text_of(document)), kind)) == text_of(document)

    check()


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_every_wrong_value_is_named_by_its_path(path: Path) -> None:
    values, kind = unstructure(STORED[path]), type(STORED[path])
    values = json.loads(json.dumps(values))
    for path_pattern, wrong in wrong_values(values):
        # These keys are entries of one field (`prefixed`).
        named = path_pattern.replace("validation_accuracy", r"validation\['accuracy'\]")
        with pytest.raises(ValueError, match=f"^({path_pattern}|{named}): must be ") as refused:
            structure(wrong, kind)
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


@pytest.mark.parametrize(
    ("epochs", "says"),
    [
        ("x", r"config\.train\.epochs: must be an integer, not 'x'"),
        # A value out of range is named by the object that holds it.
        (0, r"config\.train: epochs must be 1 or more; received 0\."),
    ],
)
def test_error_of_a_file_names_the_file_the_path_and_the_remedy(
    epochs: object, says: str, tmp_path: Path
) -> None:
    values = unstructure(RECORD)
    values["config"]["train"]["epochs"] = epochs
    folder = StudyDir(tmp_path)
    folder.config_path.write_text(json.dumps({"schema_version": 1, **values}))
    with pytest.raises(StudyError, match=rf"study\.json .*{says}\.? Put the file back"):
        read_record(folder)
