"""The documents and their code blocks: which of them are commands or programs, and which are run.

A block of `bash` or `python` is run by tests/test_snippets.py, unless the line before it says why
not: `<!-- not run: it needs a PostgreSQL server -->`. A block with a title, as in
```` ```python title="own.py" ````, is written to that file instead.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

README = ROOT / "README.md"
SPACES, RESULTS = ROOT / "search_spaces" / "README.md", ROOT / "results" / "README.md"
DOCUMENTS = [
    README,
    SPACES,
    RESULTS,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

PROGRAMS = ("bash", "python")
_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<reason>[^>]*?) -->\n *)?"
    r"```(?P<language>\w*)(?: title=\"(?P<title>[\w.]+)\")?\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Snippet:
    """A code block of a document."""

    page: Path
    line: int
    language: str
    code: str
    title: str | None
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in PROGRAMS and self.reason is None


def snippets(page: Path) -> list[Snippet]:
    """Return the code blocks of a document in their order."""
    text = page.read_text()
    return [
        Snippet(
            page,
            text.count("\n", 0, block.start()) + 1,
            block["language"],
            re.sub(f"^{block['indent']}", "", block["code"], flags=re.MULTILINE),
            block["title"],
            None if block["reason"] is None else " ".join(block["reason"].split()),
        )
        for block in _BLOCK.finditer(text)
    ]
