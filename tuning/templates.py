"""Jinja2 templates: the files in the folder `templates` of a package."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from tuning.results import escape_markdown


@cache
def templates_of(package: str) -> Environment:
    """The templates of a package, such as "tuning.report".

    Text is escaped in all templates but Markdown: `markupsafe` escapes for HTML alone, so a
    Markdown template uses the filter `markdown`. A name that a template uses and that has no value
    is an error.
    """
    environment = Environment(
        loader=PackageLoader(package),  # refuses paths that lead out of the folder
        autoescape=select_autoescape(disabled_extensions=("md",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = escape_markdown
    return environment


def render(package: str, name: str, **values: Any) -> Markup:
    """Fill in a template of a package; the result is not escaped again in another template."""
    return Markup(templates_of(package).get_template(name).render(values))  # noqa: S704 (a template escapes its values)
