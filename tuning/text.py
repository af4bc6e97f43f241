"""Names of columns, and escaping: in UTF-8, on one line, in Markdown, in JSON and in CSV cells."""

import html
import json
import re
from typing import Any


def last_part(column: str) -> str:
    """Return the last part of a column's path, without spaces, as in a header `text, label`."""
    return column.rsplit("/", 1)[-1].strip()


def utf8(text: str) -> str:
    """Return a text that can be encoded in UTF-8: lone surrogates, which JSON may contain, become
    question marks.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def json_line(values: dict[str, Any]) -> str:
    """Return JSON on one line. Characters that can't be printed are escaped."""
    line = json.dumps(values, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def visible(text: str) -> str:
    """Return a text on one line, with a space for each character that can't be printed.

    Such characters are line breaks, escape sequences that move a cursor or set colors, and marks
    that change the writing direction.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class without a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def escape_markdown(value: object) -> str:
    """Return a text on one line, escaped for Markdown with formulas, and for HTML."""
    escaped = html.escape(visible(str(value)), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~$" else c for c in escaped)


def no_formula(value: Any) -> Any:
    """Return a value as a CSV cell: text that a spreadsheet would take for a formula gets a `'`. A
    number with a sign, such as the label -1, is no formula.
    """
    # The first characters that OWASP lists under "CSV Injection", except the line feed.
    is_formula = (
        isinstance(value, str)
        and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        and not re.fullmatch(r"[+-][0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", value, re.IGNORECASE)
    )
    return f"'{value}" if is_formula else value
