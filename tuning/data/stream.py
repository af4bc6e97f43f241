"""Read the texts of data files row by row in constant memory, for predictions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tuning.data.files import file_format, text_files
from tuning.data.tables import TEXT, choose_column, parts_of, trained_column
from tuning.text import utf8

MAX_CHARACTERS = 100_000  # of a text; the longest of 25,854 Amazon reviews has 31,863
PART_ROWS = 4_096  # number of rows that are read together


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file. `number` counts from 1 after the header; `problem` is the reason why the row
    can't be labeled, or empty.
    """

    file: str
    number: int
    text: str
    problem: str


def column_of_texts(
    columns: Sequence[str], text_column: str | None, *, trained_on: str | None
) -> str:
    if text_column is None and trained_on is not None:
        return trained_column(columns, trained_on)
    return choose_column(columns, text_column, "text")


def stream_rows(
    pattern: str,
    *,
    text_column: str | None = None,
    trained_on: str | None = None,
    on_read: Callable[[float], None] | None = None,
    on_column: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Return the rows of the files of a path or glob pattern.

    `trained_on` is the text column of the training data. `on_read` is called with the share of all
    bytes that have been read, `on_column` with the name of the text column of each file that has
    columns.
    """
    # Not in a generator: a wrong pattern is refused before the caller loads a model.
    paths = text_files(pattern)

    def choose(columns: Sequence[str]) -> str:
        column = column_of_texts(columns, text_column, trained_on=trained_on)
        if on_column:
            on_column(column)
        return column

    def rows() -> Iterator[Row]:
        sizes = [path.stat().st_size for path in paths]
        for number, path in enumerate(paths):
            done, size, total = sum(sizes[:number]), sizes[number], max(sum(sizes), 1)

            def on_share(
                _: str, share: float, done: int = done, size: int = size, total: int = total
            ) -> None:
                if on_read:
                    on_read((done + share * size) / total)

            name = utf8(path.name if len(paths) == 1 else str(path))
            column, n_rows = TEXT if file_format(path) == ".txt" else None, 0
            parts = parts_of(path, n_rows=PART_ROWS, only=choose, progress=on_share)
            for part in parts:
                if column is None:
                    column = choose([*part.frame])
                # Rows of JSON may lack a column.
                texts = part.frame[column] if column in part.frame else [""] * len(part.frame)
                for text in texts:
                    n_rows += 1
                    yield Row(name, n_rows, text, problem_of(text))

    return rows()


def problem_of(text: str) -> str:
    if not text or text.isspace():
        return "no text"
    if len(text) > MAX_CHARACTERS:
        return f"a text of {len(text):,} characters; the maximum is {MAX_CHARACTERS:,}"
    # A lone surrogate is a byte of an argument that is not UTF-8.
    return "" if utf8(text) == text else "not UTF-8"
