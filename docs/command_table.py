"""Write the tables of docs/commands.md, docs/python.md and docs/objectives.md from the code:
`make docs`.
"""

import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cyclopts

sys.path.insert(0, str(Path(__file__).parent.parent))


from tuning.api.search import tune
from tuning.cli.app import app
from tuning.cli.make import commands_of, help_of, variables_of
from tuning.config import Data, Limits, Workers
from tuning.metrics import METRICS

PAGES = [Path(__file__).parent / f"{name}.md" for name in ("commands", "python", "objectives")]
MADE = re.compile(
    r"(<!-- The table of (\w+) is made by docs/command_table\.py\. -->\n)"
    r".*?(<!-- End of the table\. -->\n)",
    re.DOTALL,
)


def commands() -> str:
    """Return a row for each variable of make and its flag. Commands that describe a flag with the
    same words share a row.
    """
    users: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, command in commands_of(app).items():
        for variable, option in variables_of(command).items():
            key = variable, f"`{option.name}`", help_of(option)
            users[key].append(name)
    rows = [
        (f"`{variable}`", flags, ", ".join(names), text)
        for (variable, flags, text), names in users.items()
    ]
    return table("variable", "flag", "of", "meaning", rows=rows)


def arguments(call: Callable[..., Any]) -> str:
    """Return a row for each parameter, as the docstring describes it."""
    described = cyclopts.App(default_command=call)
    # A group, such as `workers`, comes before its own fields.
    texts: dict[str, str] = {}
    for option in described.assemble_argument_collection(parse_docstring=True):
        texts.setdefault(option.field_info.name, help_of(option))
    rows = [(f"`{name}`", texts[name]) for name in inspect.signature(call).parameters]
    return table("argument", "meaning", rows=rows)


def objectives() -> str:
    rows = [
        (
            f"`{metric.objective}`",
            ", ".join(metric.targets),
            "higher" if metric.maximized else "lower",
            metric.meaning,
        )
        for metric in METRICS.values()
        if metric.is_objective
    ]
    return table("`METRIC`", "`KIND`", "better", "meaning", rows=rows)


def table(*heads: str, rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]]) + "\n"


TABLES = {
    "commands": commands,
    "tune": lambda: arguments(tune),
    "Data": lambda: arguments(Data),
    "Workers": lambda: arguments(Workers),
    "Limits": lambda: arguments(Limits),
    "objectives": objectives,
}


def page(text: str) -> str:
    """Return a page with the tables that the code gives."""
    return MADE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text()))
