"""Write the table of docs/commands.md from the commands: `make docs`."""

import sys
from collections import defaultdict
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).parent.parent))

from tuning.cli.app import app
from tuning.commands import VARIABLES

PAGE = Path(__file__).parent / "commands.md"
BEGIN, END = (
    "<!-- The table is made by docs/command_table.py. -->\n",
    "<!-- End of the table. -->\n",
)
# The targets of make whose names differ from those of their commands.
TARGETS = {"clean": "clean-results"}


def table() -> str:
    """Return a row for each variable of make and its flag. Commands that describe a flag with the
    same words share a row.
    """
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    users: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for command, each in commands.items():
        for param in each.params:
            variable = VARIABLES.get(param.name, param.opts[0].removeprefix("--").upper())
            flags = " ".join(f"`{flag}`" for flag in (*param.opts, *param.secondary_opts))
            key = variable.replace("-", "_"), flags, param.help or ""
            users[key].append(TARGETS.get(command, command))
    rows = [
        f"| `{variable}` | {flags} | {', '.join(names)} | {text} |"
        for (variable, flags, text), names in users.items()
    ]
    return "\n".join(["| variable | flag | of | meaning |", "|---|---|---|---|", *rows]) + "\n"


def page(text: str) -> str:
    """Return the page with the table of the present commands."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
