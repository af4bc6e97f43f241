"""The labels of a file that the page sends. The server reads it as `make predict` reads files.

The page sends the beginning of a CSV or TSV file to `/columns`, and the whole file to `/label`. The
answer of `/label` is lines of JSON, so that the page can show the progress: each line has the next
rows of the file, with the columns of the predictions, and their counts. The labeling ends when the
page closes the connection.
"""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tuning.data.files import opened
from tuning.data.records import csv_format
from tuning.data.stream import Row, column_of_texts, rows_of
from tuning.data.tables import KNOWN_COLUMNS, named_column
from tuning.errors import DataError
from tuning.inference.label_files import (
    BOUNDS,
    Counts,
    Labeled,
    added_cells,
    chunks,
    labeled,
    texts_of,
)
from tuning.inference.load import Prediction, predictions_of
from tuning.serving.guard import FILE_PATH
from tuning.serving.microbatch import Busy, MicroBatcher
from tuning.serving.schemas import MAX_TEXTS

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from tuning.inference.known_tokens import ProblemOf
    from tuning.inference.manifest import Manifest
    from tuning.targets.target import Target

FORMATS = ("csv", "tsv")
MAX_FILE = 100_000_000
# Maximum number of files at once, each of which is a temporary file on the disk.
MAX_FILES = 4
# Maximum number of characters of the texts of a call of the model, so that other requests wait
# for less than a second.
MAX_CHARACTERS = 500_000
ADDED = ("predicted_label", "predicted_probability", "prediction_problem")
SECONDS_UNTIL_AGAIN = 0.2  # time until the next try if too many texts wait for the model


def add_routes(
    app: FastAPI, batcher: MicroBatcher, manifest: Manifest, problem_of: ProblemOf
) -> None:
    """Add the two routes. They are for the page, so the schema of the interface lacks them."""
    app.state.n_files = 0
    labels = _LabelFile(batcher, manifest.target, problem_of)
    app.router.routes.append(Route(FILE_PATH, labels, methods=["POST"]))

    @app.post("/columns", include_in_schema=False)
    async def columns(request: Request) -> JSONResponse:
        async with _received(request) as path:
            return JSONResponse(await run_in_threadpool(_columns, path, manifest.text_column))


def _columns(path: Path, text_column: str | None) -> dict[str, Any]:
    """Return the names of the columns, and the name of the text column, or None and a sentence."""
    header: list[str] = []

    def keep(names: Sequence[str]) -> str:
        header.extend(names)
        # `rows_of` refuses a column whose name occurs twice, and the texts are in another column.
        return min(names, key=Counter(names).__getitem__)

    try:
        first = next(rows_of(path, "", keep, lambda _, share: None), None)
    except DataError as error:
        raise HTTPException(422, _without_path(error, path)) from error
    if first is None:
        raise HTTPException(422, "The file must have a header and at least one row.")
    try:
        chosen = column_of_texts(header, None, trained_on=text_column or None)
    except DataError:
        absent = " or ".join([text_column] if text_column else KNOWN_COLUMNS["text"])
        problem = f"The file has no column {absent}; choose the column of the texts."
        return {"columns": header, "column": None, "problem": problem}
    return {"columns": header, "column": chosen, "problem": ""}


@dataclass(frozen=True)
class _LabelFile:
    """The route of a file, as an ASGI application: its temporary file lives until the answer is
    complete.
    """

    batcher: MicroBatcher
    target: Target
    problem_of: ProblemOf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with _received(request) as path:
            lines = self._lines(path, **_asked(request))
            await StreamingResponse(lines, media_type="application/x-ndjson")(scope, receive, send)

    async def _lines(self, path: Path, *, column: str, first: int) -> AsyncIterator[str]:
        """Yield the answer for the rows from `first`, which counts from 0."""
        file = _Output(path, column, has_bounds=self.target.margin is not None)
        rows = rows_of(path, "", file.begin, file.on_share)
        parts = chunks(
            itertools.islice(rows, first, None), n_rows=MAX_TEXTS, n_characters=MAX_CHARACTERS
        )
        try:
            while chunk := await run_in_threadpool(next, parts, None):
                part = labeled(chunk, await self._predictions(texts_of(chunk)))
                yield file.line(part, with_header=first == 0)
                first += len(part)
        except DataError as error:
            yield json.dumps({"detail": _without_path(error, path)}) + "\n"

    async def _predictions(self, texts: list[str]) -> list[Prediction | None]:
        while texts:
            try:
                outputs = await self.batcher.run(texts)
            except Busy:
                await asyncio.sleep(SECONDS_UNTIL_AGAIN)
            else:
                return predictions_of(texts, outputs, self.target, self.problem_of)
        return []


class _Output:
    """The rows of a file with `ADDED`, in the format and with the delimiter of the file."""

    def __init__(self, path: Path, column: str, *, has_bounds: bool) -> None:
        self._column = column
        self._has_bounds = has_bounds
        self._is_tsv = path.suffix == ".tsv"
        with opened(path) as data:
            self._delimiter = "\t" if self._is_tsv else csv_format(data)[0]
        self._header: Sequence[str] = ()
        self._share = 0.0

    def begin(self, names: Sequence[str]) -> str:
        self._header = names
        return named_column(names, self._column, "column")

    def on_share(self, _: str, share: float) -> None:
        self._share = share

    def line(self, part: Labeled, *, with_header: bool) -> str:
        counts = Counts()
        counts.add(part)
        text = io.StringIO()
        if with_header:
            bounds = [f"predicted_{name}" for name in BOUNDS] if self._has_bounds else []
            self._write(text, [*self._header, *ADDED, *bounds])
        for row, prediction in part:
            added = added_cells(row, prediction, has_bounds=self._has_bounds)
            self._write(text, [*self._fitted(row), *added])
        answer = {
            "share": self._share,
            "n_rows": len(part),
            "labels": counts.labels,
            "n_few": counts.n_few,
            "n_problems": counts.n_problems,
            "lines": text.getvalue(),
        }
        return json.dumps(answer) + "\n"

    def _fitted(self, row: Row) -> list[str]:
        """Return as many cells as the header has: further fields belong to the last cell."""
        n = len(self._header)
        cells = [*row.cells, *[""] * (n - len(row.cells))]
        # A cell of a file without quotes contains no tab.
        return [*cells[: n - 1], (" " if self._is_tsv else self._delimiter).join(cells[n - 1 :])]

    def _write(self, text: io.StringIO, cells: Sequence[str]) -> None:
        if self._is_tsv:
            text.write("\t".join(" ".join(cell.split("\t")) for cell in cells) + "\n")
        else:
            csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)


@asynccontextmanager
async def _received(request: Request) -> AsyncIterator[Path]:
    """Write the body to a temporary file, whose name does not come from the client."""
    # The connection ends with a refusal: the rest of the body would be read as the next request.
    close = {"Connection": "close"}
    # As with JSON (`app._parsed`), a browser asks before it sends this type for another page.
    if request.headers.get("content-type") != "application/octet-stream":
        detail = "The header Content-Type must be application/octet-stream."
        raise HTTPException(415, detail, headers=close)
    ending = request.query_params.get("format")
    if ending not in FORMATS:
        raise HTTPException(422, f"format must be {' or '.join(FORMATS)}.", headers=close)
    state = request.app.state
    if state.n_files >= MAX_FILES:
        detail = "Too many files are labeled already; ask again later."
        raise HTTPException(503, detail, headers={**close, "Retry-After": "1"})
    state.n_files += 1
    try:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(_temporary_file(f".{ending}"))
                size = 0
                async for part in request.stream():
                    size += len(part)
                    if size > MAX_FILE:
                        detail = f"A file must have at most {MAX_FILE:,} bytes."
                        raise HTTPException(413, detail, headers=close)
                    file.write(part)
                file.flush()
            except OSError as error:
                detail = f"The server could not store the file: {error.strerror}."
                raise HTTPException(507, detail, headers=close) from error
            yield Path(file.name)
    finally:
        state.n_files -= 1


@contextmanager
def _temporary_file(suffix: str) -> Iterator[IO[bytes]]:
    file = tempfile.NamedTemporaryFile(suffix=suffix)  # noqa: SIM115 - it is closed below
    try:
        yield file
    finally:
        # On a full disk, closing the file fails as writing it did. The file is removed anyway.
        with suppress(OSError):
            file.close()


def _asked(request: Request) -> dict[str, Any]:
    column, first = (request.query_params.get(name, "") for name in ("column", "first"))
    if not column or not (first.isascii() and first.isdigit() and len(first) < 10):
        raise HTTPException(422, "column must name the column of the texts, and first a row.")
    return {"column": column, "first": int(first)}


def _without_path(error: DataError, path: Path) -> str:
    return str(error).replace(str(path), "The file")
