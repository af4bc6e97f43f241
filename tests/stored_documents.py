"""The documents of the stored study, and documents with a wrong value. Tests change parts of a
document with `dataclasses.replace`.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tuning.confirmation.record import Confirmation
from tuning.documents import read, unstructure
from tuning.errors import ExportError
from tuning.evaluation.scores import TestDocument, read_test_scores
from tuning.export.manifest import FullManifest
from tuning.inference.manifest import MANIFEST, MANIFEST_VERSION, digests
from tuning.inputs.data_card import read_card
from tuning.results import ResultsDir
from tuning.study.study import read_record

Place = tuple[str | int, ...]

RESULTS = ResultsDir(Path(__file__).parent / "fixtures" / "study_0_1" / "results")
STUDY = RESULTS.study("stored")


def wrong_values(values: Any) -> Iterator[tuple[str, Any]]:
    """Yield copies of plain values in which one value is wrong, each with a regular expression for
    the path to this value. The wrong value is an object, or a list in place of an object.
    """
    for place in _places(values):
        wrong = inner = copy.deepcopy(values)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = [] if isinstance(inner[place[-1]], dict) else {}
        parts = [rf"(\.?{re.escape(str(key))}|\[{re.escape(repr(key))}\])" for key in place]
        yield "".join(parts), wrong


def _places(value: Any) -> Iterator[Place]:
    """Yield the path to every value in plain values."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (key,)
        if isinstance(inner, dict | list):
            yield from ((key, *place) for place in _places(inner))


def full_manifest(folder: Path) -> FullManifest:
    """Return the complete manifest of an export."""
    return read(
        folder / MANIFEST, FullManifest, error=ExportError, remedy="", version=MANIFEST_VERSION
    )


def files_of(folder: Path) -> dict[str, object]:
    """Return the `files` of a manifest as plain values."""
    return {name: unstructure(digest) for name, digest in digests(folder).items()}


RECORD = read_record(STUDY)
CACHE = RESULTS.cache_dir(RECORD.data_fingerprint)
CARD = read_card(CACHE)
EXPORT = full_manifest(STUDY.best_dir)
CONFIRMATION = Confirmation.load(STUDY)
TEST_SCORES = cast("TestDocument", read_test_scores(STUDY.test_path))
STORED_FILES = {
    path.name: path
    for path in (
        STUDY.config_path,
        CACHE / "data_card.json",
        STUDY.best_dir / MANIFEST,
        STUDY.test_path,
        STUDY.confirmation_path,
    )
}
