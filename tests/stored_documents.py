"""The documents of the stored study. Tests change parts of them with `dataclasses.replace`."""

from pathlib import Path

from tuning.confirmation.rounds import Confirmation
from tuning.data.data_card import read_card
from tuning.documents import read, unstructure
from tuning.errors import ExportError
from tuning.evaluation.scores import read_test_scores
from tuning.export.manifest import FullManifest
from tuning.inference.manifest import MANIFEST, MANIFEST_VERSION, digests
from tuning.results import ResultsDir
from tuning.study.record import read_record

RESULTS = ResultsDir(Path(__file__).parent / "fixtures" / "study_0_1" / "results")
STUDY = RESULTS.study("stored")


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
TEST_SCORES = read_test_scores(STUDY.test_path)
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
