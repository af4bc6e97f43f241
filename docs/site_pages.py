"""The pages of the site: a hook of MkDocs, which `make docs` loads through mkdocs.yml.

A page has the same place in the site as in the repository, so the links between the documents work
in both. The pages of the commands, of the exit status and of the Python interface are made from the
code while the site is built.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent.parent))

import tuning
from tuning import errors
from tuning.cli.app import app
from tuning.cli.app import main as command_line
from tuning.cli.make import commands_of, help_of, variables_of

ROOT = Path(__file__).parent.parent
# Documents that are not in docs/, and the files that documents link to.
OUTSIDE = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    *("search_spaces/README.md", "results/README.md"),
    *sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")),
)
NOT_RUN = re.compile(r"^ *<!-- not run: .*? -->\n", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"( *)(?:[-*]|\d+\.) ")
FENCE = re.compile(r" *```")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the documents of the repository and the pages that are made from the code."""
    own = [file for file in files if file.src_dir == config.docs_dir]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    names = [*OUTSIDE, *(f"docs/{f.src_uri}" for f in own if not f.src_uri.endswith(".py"))]
    made = {
        "docs/command-line.md": command_line_page(),
        "docs/exit-status.md": exit_status_page(),
        "docs/api.md": api_page(),
    }
    return Files(
        [
            *theme,
            *(File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names),
            *(File.generated(config, name, content=text) for name, text in made.items()),
        ]
    )


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return a document in the Markdown that MkDocs reads."""
    return with_wide_lists(NOT_RUN.sub("", markdown))


def with_wide_lists(markdown: str) -> str:
    """Return Markdown of CommonMark with its lists as Python-Markdown needs them.

    Python-Markdown takes a list for a part of the paragraph before it unless an empty line is
    between them, and what belongs to an item must be indented by 4 columns for each level.
    """
    lines: list[str] = []
    levels: list[int] = []  # The column at which the text of each open item begins.
    fenced = False
    for line in markdown.splitlines():
        column = len(line) - len(line.lstrip())
        item = None if fenced else ITEM.match(line)
        if line and not fenced:
            n_open = len(levels)
            levels = [level for level in levels if level <= column]
            if item and not n_open and lines and lines[-1]:
                lines.append("")
        start = levels[-1] if levels else 0
        lines.append(" " * (4 * len(levels)) + line[start:] if line else "")
        if item:
            levels.append(item.end())
        if FENCE.match(line):
            fenced = not fenced
    return "\n".join(lines) + "\n"


def command_line_page() -> str:
    """Return the page of all commands with their flags, as `--help` describes them."""
    parts = [
        "# Commands and flags",
        "`python -m tuning COMMAND --help` prints the same. [Commands and variables](commands.md)"
        " lists the variable of `make` for each flag.",
    ]
    for name, command in commands_of(app).items():
        parts += [f"## {name}", command.help, "| flag | meaning |\n|---|---|"]
        parts[-1] += "".join(
            f"\n| `{option.name}` | {cell(help_of(option))} |"
            for option in variables_of(command).values()
        )
    return "\n\n".join(parts) + "\n"


def exit_status_page() -> str:
    """Return the page of the exit status and of the errors that lead to status 1."""
    return "\n\n".join(
        [
            "# Exit status and errors",
            (command_line.__doc__ or "").partition("\n\n")[2].replace("\n    ", "\n").strip(),
            "These are the errors that a user can correct:",
            (errors.__doc__ or "").partition("\n\n")[2],
        ]
    )


def api_page() -> str:
    """Return the page of the public names of the package."""
    return "\n\n".join(
        [
            "# Python interface",
            "[From Python and in notebooks](python.md) shows how these are used.",
            *(f"::: tuning.{name}" for name in tuning.__all__),
        ]
    )


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return re.sub(r"([|<>*_])", r"\\\1", " ".join(text.split()))
