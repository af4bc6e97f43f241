"""The commands and programs of the documents run, with few trials of a small model on made-up
reviews. A command that names its number of trials trains that many.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.commands import output_of
from tests.paths import ROOT
from tests.snippets import DOCUMENTS, snippets
from tests.texts import make_reviews

START = ROOT / "docs" / "start.md"
PAGES = [page for page in DOCUMENTS if any(snippet.is_run for snippet in snippets(page))]
# make takes its variables from the environment too, unless the command sets them.
SMALL = {
    "DATA": "reviews.csv",
    "EPOCHS": "1",
    "SPACE": "mean_embedding",
    "STUDY": "first-look",  # docs/start.md names it
    "TRIALS": "1",
    "WORKERS": "1",
}
STAMPS = ("installed", "installed-serve", "installed-pretrained")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first test includes a search and an export
]


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of the commands, without those of this machine."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    return {**kept, **SMALL, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}


def write_data(folder: Path) -> None:
    """Write reviews under the names of files and columns that the documents use."""
    reviews = make_reviews()
    reviews["body"], reviews["stars"] = reviews["review_body"], reviews["star_rating"]
    reviews["product_category"] = ["Phones", "Cables", "Cases"] * 80
    reviews.to_csv(folder / "reviews.csv", index=False)
    reviews.head(20).to_csv(folder / "new_reviews.csv", index=False)
    (folder / "reviews").mkdir()
    (folder / "reviews" / "1.jsonl").write_text(
        "".join(json.dumps({"body": text}) + "\n" for text in reviews["body"].head(5))
    )


def run_page(page: Path, folder: Path) -> str:
    """Run the commands of a page in their order, then its Python blocks as one program. Return the
    output of both.
    """
    out, program, env = [], [], environment(folder)
    for snippet in snippets(page):
        if snippet.is_run and snippet.title:
            (folder / snippet.title).write_text(snippet.code)
        elif snippet.is_run and snippet.language == "bash":
            command = ("bash", "-euo", "pipefail", "-c", snippet.code)
            out.append(output_of(*command, cwd=folder, env=env))
        elif snippet.is_run:
            program.append(snippet.code)
    if program:
        path = folder / f"page_{page.stem.replace('-', '_')}.py"
        path.write_text("\n".join(program))
        out.append(output_of(f"{folder}/.venv/bin/python", path, cwd=folder, env=env))
    return "".join(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like a clone of this repository, in which the page of the start was run."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", "pyproject.toml", "tuning", "search_spaces", "requirements.lock"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "bin").mkdir()
    # `-o` skips the installation of packages, which is tested where a machine is fresh: in CI.
    old = " ".join(f"-o .venv/.{name}" for name in STAMPS)
    make = folder / "bin" / "make"
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} {old} "$@"\n')
    make.chmod(0o755)
    write_data(folder)
    (folder / "start.txt").write_text(run_page(START, folder))
    return folder


@pytest.mark.journey
def test_start_ends_with_predictions(folder: Path) -> None:
    assert "positive" in (folder / "start.txt").read_text()
    assert (folder / "results" / SMALL["STUDY"] / "best" / "export.json").exists()
    assert (folder / "new_reviews.predictions.csv").exists()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != START], ids=lambda page: page.stem
)
def test_page_runs(page: Path, folder: Path) -> None:
    run_page(page, folder)
