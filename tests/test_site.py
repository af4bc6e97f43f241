"""The site of the documents: it is built without a warning, and it loads nothing from a network."""

import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tuning
from tests.paths import ROOT
from tests.snippets import DOCUMENTS
from tuning import errors
from tuning.cli.app import app
from tuning.cli.make import commands_of, variables_of

SOURCES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
LOADED_BY_STYLE = re.compile(r"""url\(["']?(?!data:)([^"')]+)|@import\s+["']([^"']+)""")


class Resources(HTMLParser):
    """Collects the addresses of what a page loads, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in SOURCES and values.get("rel") != "canonical":
            self.addresses.append(values.get(SOURCES[tag]) or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: Path) -> Resources:
    resources = Resources()
    resources.feed(page.read_text())
    return resources


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built with a warning as an error."""
    pytest.importorskip("mkdocs", reason="make test-journeys installs MkDocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def test_every_document_is_in_the_order_of_the_pages() -> None:
    lines = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    named = set(re.findall(r"[\w/-]+\.md", lines))
    documents = {document.relative_to(ROOT).as_posix() for document in DOCUMENTS}
    made = {"docs/command-line.md", "docs/exit-status.md", "docs/api.md"}
    assert named == documents | made | {"CHANGELOG.md"}


@pytest.mark.slow
def test_site_loads_nothing_from_a_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(DOCUMENTS)
    for page in pages:
        addresses = read(page).addresses
        assert addresses, page
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)], page
    for style in site.rglob("*.css"):
        for loaded in LOADED_BY_STYLE.findall(style.read_text()):
            assert not re.match(r"(https?:)?//", "".join(loaded)), style


@pytest.mark.journey
def test_pages_made_from_the_code_have_all_of_it(site: Path) -> None:
    text = "".join(read(site / "docs" / "command-line.html").text)
    for name, command in commands_of(app).items():
        assert name in text
        flags = [option.name for option in variables_of(command).values()]
        assert [flag for flag in flags if flag not in text] == [], name
    text = "".join(read(site / "docs" / "api.html").text)
    assert [name for name in tuning.__all__ if name not in text] == []
    text = "".join(read(site / "docs" / "exit-status.html").text)
    kinds = [name for name, member in vars(errors).items() if isinstance(member, type)]
    assert [name for name in kinds if name not in text] == []


def test_lists_become_what_python_markdown_reads() -> None:
    pytest.importorskip("mkdocs", reason="make docs installs MkDocs")
    pages = runpy.run_path(str(ROOT / "docs" / "site_pages.py"))
    text = "Text:\n- one\n  more\n\n  | a |\n- two\n\n1. a\n   ```bash\n     - x\n   ```\nEnd\n"
    assert pages["with_wide_lists"](text) == (
        "Text:\n\n- one\n    more\n\n    | a |\n- two\n\n"
        "1. a\n    ```bash\n      - x\n    ```\nEnd\n"
    )
