"""Parts of a page as HTML: tables whose columns fit the page, in which long words are broken and
long texts are folded; and Plotly figures, for a page that contains Plotly's script once.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
import plotly.io
import plotly.offline
from markupsafe import Markup, escape

from tuning.templates import render
from tuning.text import visible

# A cell with more than MAX_CHARACTERS is folded; its first SHOWN_CHARACTERS stay visible.
MAX_CHARACTERS, SHOWN_CHARACTERS = 300, 200
# Minimum number of characters of a word that is broken if its column would become wider otherwise.
# The default search space has "architecture", with 12 characters.
LONG = 13
MAX_NAME = 36  # Maximum number of characters of a name in a figure.
# The width that a table has on a page 1280 pixels wide, and the minimum widths of columns. A
# character has the width of a character in a wide font, such as DejaVu Sans.
PAGE_PIXELS, PADDING_PIXELS, CHARACTER_PIXELS, OTHERS_PIXELS = 1072, 12, 10, 260
OTHERS = "others"
INTERVAL = re.compile(r"\[[-+.\d]+, [-+.\d]+\]$")
# Numbers that the style of a page with tables needs.
WIDTHS = {
    "padding": PADDING_PIXELS,
    "others": OTHERS_PIXELS,
    "long_word": (LONG - 1) * CHARACTER_PIXELS,
}


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", fold: bool = True
) -> Markup:
    """Return a table as HTML. `kind` is a class of the page's style. With `fold`, the end of a long
    cell is hidden until the reader clicks on it. On a narrow screen, each row of a table with a
    header is a block of lines, except for "texts".
    """
    names = () if kind == "texts" else header
    filled = render(
        "tuning.report",
        "table.html",
        header=[(_class_of(name), breakable(name)) for name in header],
        rows=[
            [
                (name, _class_of(cell), *_folded(cell, fold=fold))
                for name, cell in itertools.zip_longest(names, row, fillvalue="")
            ]
            for row in rows
        ],
        kind=f"{kind} rows".strip() if names else kind,
    )
    return Markup(filled)  # noqa: S704 (the template escapes the cells)


def narrow(
    header: list[str], rows: list[list[str]], n_columns: int, *, n_after: int
) -> tuple[list[str], list[list[str]]]:
    """Join the last of `n_columns` neighboring columns, which do not fit the page, to one column of
    text. `n_after`: number of columns after these.
    """
    # A hyperparameter may have the name of another column, so the columns are known by their place.
    widths = [_pixels([name, *(row[column] for row in rows)]) for column, name in enumerate(header)]
    if sum(widths) <= PAGE_PIXELS or not n_columns:
        return header, rows
    end = len(header) - n_after
    start = end - n_columns
    room = PAGE_PIXELS - OTHERS_PIXELS - sum(widths[:start]) - sum(widths[end:])
    start += sum(taken <= room for taken in itertools.accumulate(widths[start:end]))

    def narrowed(row: list[str]) -> list[str]:
        others = [
            f"{name} {cell}"
            for name, cell in zip(header[start:end], row[start:end], strict=True)
            if cell
        ]
        return [*row[:start], ", ".join(others), *row[end:]]

    return [*header[:start], OTHERS, *header[end:]], [narrowed(row) for row in rows]


def breakable(text: str) -> Markup:
    """Allow a line break after each underscore of a long name, and none inside an interval."""
    escaped = escape(text).replace("_", Markup("_<wbr>"))
    return Markup("&nbsp;").join(escaped.rsplit(" ", 1)) if INTERVAL.search(text) else escaped


def _pixels(cells: Sequence[str]) -> int:
    # Lines break at spaces, after underscores and in long words, but not inside an interval.
    words = [word for cell in cells for word in re.split(r"(?<=_)|\s+(?!\S+\]$)", cell)]
    return PADDING_PIXELS + CHARACTER_PIXELS * max(
        len(word) if " " in word else min(len(word), LONG - 1) for word in words
    )


def _class_of(text: str) -> str:
    is_long = any(len(word) >= LONG for word in re.split(r"(?<=_)|\s+", text))
    return OTHERS if text == OTHERS else "long" if is_long else ""


def _folded(text: str, *, fold: bool) -> tuple[str, str]:
    """Return the part of a cell that is shown, and the part that is hidden at first."""
    if not fold or len(text) <= MAX_CHARACTERS:
        return breakable(text), ""
    end = text.rfind(" ", SHOWN_CHARACTERS // 2, SHOWN_CHARACTERS) + 1 or SHOWN_CHARACTERS
    return text[:end], text[end:]


def plotly_script() -> Markup:
    return Markup(plotly.offline.get_plotlyjs())  # noqa: S704 (a file of the package plotly)


def plot_html(figure: go.Figure) -> Markup:
    drawn = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config={"responsive": True, "displaylogo": False},
    )
    return Markup(drawn)  # noqa: S704 (Plotly escapes the figure's text)


def plain(text: str, *, width: int = MAX_NAME) -> str:
    """Shorten a text for a figure, and escape it."""
    line = visible(text)
    # Plotly interprets HTML tags, but does not know the entity of a quote.
    return html.escape(line if len(line) <= width else f"{line[: width - 1]}…", quote=False)
