"""Tables of the report's page: columns that fit it, long words broken, long texts folded; every
cell is escaped.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Sequence

MAX_CHARACTERS, SHOWN_CHARACTERS = 300, 200  # a longer text is folded, and so much of it shown
LONG = 12  # characters of a word that is broken where its column would become wider for it
# The room of a table on a page 1280 pixels wide, and what a column takes at least; a character is
# that of a wide font, such as DejaVu Sans.
PAGE_PIXELS, PADDING_PIXELS, CHARACTER_PIXELS, OTHERS_PIXELS = 1072, 12, 10, 260
OTHERS = "others"
INTERVAL = re.compile(r"\[[-+.\d]+, [-+.\d]+\]$")
STYLE = f"""
.scroll {{ overflow-x: auto; }} table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 5px {PADDING_PIXELS}px 5px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }}
th {{ color: var(--soft); font-weight: 600; vertical-align: bottom; }} th.others {{ min-width: {OTHERS_PIXELS}px; }}
.long {{ overflow-wrap: anywhere; min-width: {(LONG - 1) * CHARACTER_PIXELS}px; }}
.pairs td {{ overflow-wrap: anywhere; min-width: 0; }} .pairs td:first-child {{ white-space: nowrap; }}
.texts td:last-child {{ min-width: 40ch; overflow-wrap: anywhere; }}
summary {{ cursor: pointer; }} details[open] .more {{ display: none; }}
"""


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", fold: bool = True
) -> str:
    """An HTML table, of a class of `STYLE` where one is named; with `fold`, the end of a long cell
    is folded away.
    """
    head = "".join(_cell("th", name, _wrapped(name)) for name in header)
    show = _folded if fold else _wrapped
    body = "".join(
        "<tr>" + "".join(_cell("td", cell, show(cell)) for cell in row) + "</tr>" for row in rows
    )
    return (
        "<div"
        f" class=scroll><table{f' class={kind}' if kind else ''}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pairs(rows: Iterable[tuple[str, str]], *, fold: bool = True) -> str:
    """A table of names and values, its values wrapped."""
    return table((), rows, kind="pairs", fold=fold)


def narrow(
    header: list[str], rows: list[list[str]], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The table as it fits the page: of the columns `names`, which stand side by side, those that
    do not fit become one of text.
    """
    widths = {
        name: _pixels([name, *(row[column] for row in rows)]) for column, name in enumerate(header)
    }
    if sum(widths.values()) <= PAGE_PIXELS or not names:
        return header, rows
    room = (
        PAGE_PIXELS
        - OTHERS_PIXELS
        - sum(width for name, width in widths.items() if name not in names)
    )
    n_kept = sum(taken <= room for taken in itertools.accumulate(widths[name] for name in names))
    start, end = header.index(names[0]) + n_kept, header.index(names[-1]) + 1

    def narrowed(row: list[str]) -> list[str]:
        others = [
            f"{name} {cell}"
            for name, cell in zip(header[start:end], row[start:end], strict=True)
            if cell
        ]
        return [*row[:start], ", ".join(others), *row[end:]]

    return [*header[:start], OTHERS, *header[end:]], [narrowed(row) for row in rows]


def escape(text: object) -> str:
    """Text that HTML shows as it is."""
    return html.escape(str(text))


def _pixels(cells: Sequence[str]) -> int:
    """The least width of a column: a line is broken at spaces, after underscores and in long words,
    but not in an interval.
    """
    words = [word for cell in cells for word in re.split(r"(?<=_)|\s+(?!\S+\]$)", cell)]
    return PADDING_PIXELS + CHARACTER_PIXELS * max(
        len(word) if " " in word else min(len(word), LONG - 1) for word in words
    )


def _cell(tag: str, text: str, shown: str) -> str:
    """A cell, of a class of `STYLE` where its words may be broken, or its column must not become
    too narrow.
    """
    is_long = any(len(word) >= LONG for word in re.split(r"(?<=_)|\s+", text))
    kind = OTHERS if text == OTHERS else "long" if is_long else ""
    return f"<{tag}{f' class={kind}' if kind else ''}>{shown}</{tag}>"


def _wrapped(text: str) -> str:
    """Escaped text that may be broken after each underscore, because names of hyperparameters are
    long, but not in an interval.
    """
    shown = escape(text).replace("_", "_<wbr>")
    return "&nbsp;".join(shown.rsplit(" ", 1)) if INTERVAL.search(text) else shown


def _folded(text: str) -> str:
    """A text whose beginning is shown, and whose rest a click or Enter unfolds, without
    a script.
    """
    if len(text) <= MAX_CHARACTERS:
        return _wrapped(text)
    end = text.rfind(" ", SHOWN_CHARACTERS // 2, SHOWN_CHARACTERS) + 1 or SHOWN_CHARACTERS
    return (
        f"<details><summary>{escape(text[:end])}<span"
        f" class=more>…</span></summary>{escape(text[end:])}</details>"
    )
