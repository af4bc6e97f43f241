"""Label the rows of files of any size. The rows are read in chunks, and the predictions of a chunk
are written before the next chunk is read.
"""

from __future__ import annotations

import contextlib
import csv
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from tuning.data.files import PREDICTION_COLUMNS, PREDICTIONS, text_files
from tuning.data.stream import Row
from tuning.errors import DataError, StorageError
from tuning.inference.known_tokens import ProblemOf, no_problem
from tuning.inference.load import Prediction, Probabilities, predictions_of
from tuning.targets.labels import NO_LABEL
from tuning.targets.number import number_text
from tuning.targets.target import Target
from tuning.text import json_line, no_formula

BOUNDS = ("low", "high")  # columns of the interval of a number
# Maximum size of a chunk, so that the memory does not grow with the file.
CHUNK_ROWS, CHUNK_CHARACTERS = 4_096, 8_000_000
NUMBER = "number"  # the name of all predictions without probabilities in counts
MAX_NAMED = 100  # maximum number of labels, or of sets of several labels, in a sentence
# Folders in which the system has links to the files of processes.
SYSTEM_FOLDERS = ("dev", "proc")

Labeled = list[tuple[Row, Prediction | None]]
"""The rows of a chunk with their predictions. A row without a prediction has a `problem`."""


@dataclass
class Counts:
    """The counts of the rows that were written: rows by label, labeled rows with few known tokens,
    and rows with a problem and no label. `first_few` and `first_problem` name the first of these
    rows.
    """

    labels: Counter[str] = field(default_factory=Counter)
    n_few: int = 0
    first_few: str = ""
    n_problems: int = 0
    first_problem: str = ""

    @property
    def n_rows(self) -> int:
        return self.labels.total() + self.n_problems

    def add(self, chunk: Labeled) -> None:
        for row, prediction in chunk:
            row_name = f"{row.file} row {row.number}"
            if prediction is None:
                self.n_problems += 1
                self.first_problem = self.first_problem or f"{row_name} ({row.problem})"
                continue
            is_number = prediction.probability is None
            self.labels[NUMBER if is_number else prediction.label or NO_LABEL] += 1
            if prediction.problem:
                self.n_few += 1
                self.first_few = self.first_few or f"{row_name} ({prediction.problem})"


def label(
    rows: Iterable[Row],
    probabilities: Probabilities,
    target: Target,
    *,
    problem_of: ProblemOf = no_problem,
) -> Iterator[Labeled]:
    """Yield the rows with their predictions, chunk by chunk, in the order of the rows."""
    for chunk in chunks(rows):
        predictions: list[Prediction | None] = []
        if texts := texts_of(chunk):
            predictions = predictions_of(texts, probabilities(texts), target, problem_of)
        yield labeled(chunk, predictions)


def texts_of(chunk: Sequence[Row]) -> list[str]:
    """Return the texts of the rows that can be labeled."""
    return [row.text for row in chunk if not row.problem]


def labeled(chunk: Sequence[Row], predictions: Iterable[Prediction | None]) -> Labeled:
    """Return the rows with their predictions, of which each text of `texts_of` has one."""
    pairs: Labeled = [(row, None) for row in chunk]
    places = [place for place, row in enumerate(chunk) if not row.problem]
    for place, prediction in zip(places, predictions, strict=True):
        row = chunk[place]
        if prediction is None:
            row = replace(row, problem="the model gives NaN for the text")
        pairs[place] = row, prediction
    return pairs


def chunks(
    rows: Iterable[Row], *, n_rows: int = CHUNK_ROWS, n_characters: int = CHUNK_CHARACTERS
) -> Iterator[list[Row]]:
    """Yield rows in their order, at most `n_rows` and about `n_characters` in a chunk."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.text)
        if len(chunk) == n_rows or size >= n_characters:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def write_csv_rows(
    labeled: Iterable[Labeled], file: IO[str], *, has_bounds: bool = False
) -> Counts:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*PREDICTION_COLUMNS, *(BOUNDS if has_bounds else ())])

    def write(row: Row, prediction: Prediction | None) -> None:
        cells = added_cells(row, prediction, has_bounds=has_bounds)
        writer.writerow([no_formula(row.file), row.number, *cells])

    return _write(labeled, write)


def write_json_rows(labeled: Iterable[Labeled], file: IO[str]) -> Counts:
    def write(row: Row, prediction: Prediction | None) -> None:
        values = json_values(prediction) if prediction else {"problem": row.problem}
        file.write(json_line({"file": row.file, "row": row.number, **values}) + "\n")

    return _write(labeled, write)


def added_cells(row: Row, prediction: Prediction | None, *, has_bounds: bool) -> list[str]:
    """Return the label, probability, problem, and the bounds if `has_bounds`."""
    if prediction is None:
        return ["", "", row.problem, *([""] * len(BOUNDS) if has_bounds else [])]
    cells = [prediction.label, probability_text(prediction, 6), prediction.problem]
    bounds = [number_text(bound) for bound in prediction.bounds or ()]
    return [no_formula(cell) for cell in (*cells, *bounds)]


def probability_text(prediction: Prediction, n_digits: int) -> str:
    return "" if prediction.probability is None else f"{prediction.probability:.{n_digits}f}"


def json_values(prediction: Prediction) -> dict[str, Any]:
    probability = prediction.probability
    values = {
        "label": prediction.value,
        "probability": None if probability is None else round(probability, 6),
        "text": prediction.text,
        **dict(zip(BOUNDS, prediction.bounds or (), strict=False)),
    }
    return {**values, "problem": prediction.problem} if prediction.problem else values


def _write(labeled: Iterable[Labeled], write: Callable[[Row, Prediction | None], None]) -> Counts:
    counts = Counts()
    for chunk in labeled:
        for row, prediction in chunk:
            write(row, prediction)
        counts.add(chunk)
    return counts


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears at `path` only when it is complete. A device or a pipe, such as
    `/dev/stdout`, can't be replaced and gets the text directly; so does the file that a link of the
    system leads to.
    """
    is_replaced = not is_device(path)
    # The target of a user's link is replaced, and not the link.
    final = path.resolve() if is_replaced else path
    temporary = final.with_name(f"{final.name}.{secrets.token_hex(4)}.tmp")
    written = temporary if is_replaced else path
    try:
        # Not in the mode "w": `/dev/stdout` may be a file to which a shell appends with `>>`.
        with written.open("a", encoding="utf-8", errors="replace", newline="") as file:
            yield file
        if is_replaced:
            temporary.replace(final)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # A part of the path may be a file.
            temporary.unlink()


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"output must name a file that can be written; writing {path} gave"
        f" {error.strerror or str(error)!r}. Give another path."
    )


def is_device(path: Path) -> bool:
    """Return whether a path is a device or a pipe, or a link of the system to a file, such as
    `/dev/stdout` of a command whose output goes to a file.
    """
    path = path.absolute()
    is_of_system = path.is_symlink() and path.parts[1:2] in [(name,) for name in SYSTEM_FOLDERS]
    return path.exists() and (not path.is_file() or is_of_system)


def default_output(pattern: str) -> Path:
    (path, *others) = text_files(pattern)
    is_one = not others and Path(pattern).expanduser() == path
    stem = path.name.removesuffix(".gz").rpartition(".")[0] if is_one else ""
    # In the working directory, because the folder of the data is often read-only.
    return Path(f"{stem}.{PREDICTIONS}" if stem else PREDICTIONS)


def check_output(output: Path | None, pattern: str) -> None:
    if output is None:
        return
    try:
        is_folder, exists = output.is_dir(), output.exists()
    except OSError as error:  # The name is too long.
        raise _unwritable(output, error) from error
    if is_folder:
        raise DataError(f"output must be a file; {str(output)!r} is a folder. Add a file name.")
    if exists and any(path.samefile(output) for path in text_files(pattern)):
        raise DataError(
            f"output must not be a file that is read; received {str(output)!r}. Give another path."
        )


def sentence(counts: Counts) -> str:
    named = sorted(counts.labels.most_common(MAX_NAMED))
    labels = ", ".join(f"{name} {n:,}" for name, n in named)
    if (n_left := len(counts.labels) - len(named)) > 0:
        labels += f" and {n_left:,} more"
    few = (
        f", {counts.n_few:,} of them with few known tokens, the first: {counts.first_few}"
        if counts.n_few
        else ""
    )
    problems = (
        f", {counts.n_problems:,} with a problem, the first: {counts.first_problem}"
        if counts.n_problems
        else ""
    )
    return (
        f"{counts.n_rows:,} rows: {counts.labels.total():,}"
        f" labeled{f' ({labels})' if labels else ''}{few}{problems}."
    )
