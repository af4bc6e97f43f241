"""The readers that the fuzzers call, and valid files, from which they derive other files."""

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

from tests.texts import make_reviews
from tuning.confirmation.record import Confirmation
from tuning.data.stream import stream_rows
from tuning.data.tables import read_files
from tuning.errors import TuningError
from tuning.evaluation.scores import read_test_scores
from tuning.inference.manifest import read_manifest
from tuning.inputs.data_card import read_card
from tuning.results import StudyDir
from tuning.study.study import read_record, recorded_space


def samples() -> dict[str, bytes]:
    """Return a valid file of each format but Parquet, of which pyarrow reads every byte."""
    frame, folder = make_reviews(12), {}
    folder["csv"] = frame.to_csv(index=False).encode()
    folder["tsv"] = frame.to_csv(index=False, sep="\t").encode()
    folder["jsonl"] = frame.to_json(orient="records", lines=True).encode()
    return {**folder, "csv.gz": gzip.compress(folder["csv"], mtime=0)}


GOOD = samples()


def read_table(path: Path) -> None:
    """Read a table for a search, and row by row for predictions."""
    with contextlib.suppress(TuningError):
        list(stream_rows(str(path), trained_on="review_body"))
    read_files(str(path))


# Readers of a document in a folder, by the document's name.
READERS: dict[str, Callable[[Path], object]] = {
    "study.json": lambda folder: read_record(StudyDir(folder)),
    "search_space.json": lambda folder: recorded_space(StudyDir(folder)),
    "confirmation.json": lambda folder: Confirmation.load(StudyDir(folder)),
    "export.json": read_manifest,
    "data_card.json": read_card,
    "test.json": lambda folder: read_test_scores(folder / "test.json"),
}
