"""Jinja2 templates: the files in the folder `templates` of a package."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from tuning.commands import typed
from tuning.text import escape_markdown


@cache
def templates_of(package: str) -> Environment:
    """Return the templates of a package, such as "tuning.report".

    Values are escaped for HTML, except in Markdown templates, which use the filter `markdown`. In a
    template, `typed("report")` is a command as the user types it. The filter `code` makes code of
    the parts of a sentence in backticks.
    """
    environment = Environment(
        # The loader finds no file outside the folder `templates`.
        loader=PackageLoader(package),
        autoescape=select_autoescape(disabled_extensions=("md",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = escape_markdown
    environment.filters["code"] = _with_code
    environment.globals["typed"] = typed
    return environment


def _with_code(sentence: str) -> Markup:
    escaped = str(escape(sentence))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 (escaped above)


def render(package: str, name: str, **values: Any) -> str:
    return templates_of(package).get_template(name).render(values)
