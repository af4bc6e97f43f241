"""The documents name only existing links, files, commands, flags, ranges and goals."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from benchmarks.__main__ import app as benchmarks_app
from tests.paths import ROOT
from tests.snippets import DOCUMENTS, RESULTS, SPACES, snippets
from tuning.cli.app import app
from tuning.cli.make import commands_of, variables_of
from tuning.inference.runtimes import FORMATS
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.spaces.loading import declare

MAKEFILE = (ROOT / "Makefile").read_text()
VARIABLES = {
    "BOOTSTRAP",
    "VENV",
    *re.findall(r"call flag,([A-Z_]+)", MAKEFILE),
    *(name for each in (*commands_of(app).values(), benchmarks_app) for name in variables_of(each)),
}
# Flags of kubectl, ray and scancel, of cyclopts, and of MLflow and TensorBoard.
FOREIGN_FLAGS = {
    *("--from-file", "--generate", "--signal", "--install-completion"),
    *("--backend-store-uri", "--logdir"),
}


def tokens(document: Path) -> Iterator[Token]:
    """Yield all Markdown tokens of a document, also those inside paragraphs and table cells."""
    for token in MarkdownIt().enable("table").parse(document.read_text()):
        yield token
        yield from token.children or ()


def code(document: Path) -> Iterator[str]:
    """Yield every code span and every line of a block of commands or text."""
    for token in tokens(document):
        if token.type == "code_inline":
            yield token.content
        elif token.type == "fence" and token.info in ("bash", "text"):
            yield from token.content.splitlines()


def links(document: Path) -> list[str]:
    targets = (token.attrs.get("href") or token.attrs.get("src") for token in tokens(document))
    return [str(target) for target in targets if target and "://" not in str(target)]


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def result_files() -> set[str]:
    """Return the files of the tree in results/README.md, and the folders whose files are not in the
    tree.
    """
    block = RESULTS.read_text().split("```text\n")[1].partition("```")[0]
    paths, folders = set[str](), list[str]()
    for line in block.splitlines():
        indentation = len(line) - len(line.lstrip())
        if indentation > 20:  # The description above continues on this line.
            continue
        name = line.split()[0]
        del folders[indentation // 2 :]
        paths.add("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    parents = {f"{path.rstrip('/').rpartition('/')[0]}/" for path in paths}
    return paths - parents


def is_documented(path: str) -> bool:
    """Say whether a path below `results/` is in the tree of results/README.md, by itself or as a
    part of a folder whose files are not in the tree.
    """
    for pattern, name in (
        (r"^s(?=/)", "<study>"),
        (r"^cache/[0-9a-f]{16}", "cache/<fingerprint>"),
        (r"/(train|validation|test)(?=\.\w+\.npy$)", "/<split>"),
        (r"/trials/\d{4}/", "/trials/0017/"),
        (r"/repeats/\d{4}-\d+\.npz$", "/repeats/0007-2.npz"),
    ):
        path = re.sub(pattern, name, path)
    whole = result_files()
    return path in whole or any(path.startswith(name) for name in whole if name.endswith("/"))


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix()
)
def test_links_lead_to_a_file_and_a_heading(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_modules_in_the_text_exist() -> None:
    packages = "|".join(path.parent.name for path in (ROOT / "tuning").glob("*/__init__.py"))
    for document in DOCUMENTS:
        for span in code(document):
            if re.fullmatch(rf"(tuning|benchmarks|{packages})/[\w/]+\.py", span):
                assert (ROOT / span).exists() or (ROOT / "tuning" / span).exists(), (
                    f"{document.name}: {span}"
                )


def test_make_targets_and_variables_exist() -> None:
    n_calls = 0
    for document in DOCUMENTS:
        for line in code(document):
            call = re.match(r"make ([a-z][a-z-]*)(.*)", line)
            if call:
                n_calls += 1
                assert re.search(rf"^{call[1]}:", MAKEFILE, re.MULTILINE), (
                    f"{document.name}: {line}"
                )
                named = set(re.findall(r"\b([A-Z_]+)=", call[2].partition(" #")[0]))
                assert named <= VARIABLES, f"{document.name}: {line}"
    assert n_calls > 50


def test_tables_are_those_that_the_code_gives() -> None:
    """`make docs` writes the tables again."""
    made = runpy.run_path(str(ROOT / "docs" / "command_table.py"))
    names = set()
    for path in made["PAGES"]:
        text = path.read_text()
        assert made["page"](text) == text, path.name
        names |= {found[2] for found in made["MADE"].finditer(text)}
    assert names == {*made["TABLES"]}


def test_commands_are_those_of_the_command_line() -> None:
    calls = [
        re.split(r"-m tuning |^keras-text-tuning ", line)[-1].partition(" #")[0]
        for document in DOCUMENTS
        for line in code(document)
        if re.search(r"-m tuning |^keras-text-tuning ", line)
    ]
    calls = [call for call in calls if call and not call.startswith(("COMMAND", "--"))]
    assert len(calls) >= 8
    for call in calls:
        words = shlex.split(call)
        assert words[0] in commands_of(app)
        if "--help" not in words:
            app.parse_args(words, exit_on_error=False)


def test_flags_exist() -> None:
    commands = [*commands_of(app).values(), benchmarks_app]
    known = {"--help"}.union(
        *(option.names for each in commands for option in variables_of(each).values())
    )
    for document in DOCUMENTS:
        spans = (token.content for token in tokens(document) if token.type == "code_inline")
        named = {flag for span in spans for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", span)}
        assert named <= known | FOREIGN_FLAGS, f"{document.name}: {named - known}"


def test_python_blocks_compile() -> None:
    for document in DOCUMENTS:
        for snippet in snippets(document):
            if snippet.language == "python":
                compile(snippet.code, snippet.place, "exec")


def test_space_of_the_contract_s_example_works(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(next(token.content for token in tokens(SPACES) if token.info == "python"))
    space = declare(path, n_classes=2)
    assert [item.name for item in space.searched] == ["vocab_size", "sequence_length", "units"]
    assert len(space.starting_points) == 2


def test_results_layout_is_the_documented_one(finished: tuple[ResultsDir, Outcome]) -> None:
    folder = finished[0].path
    # SQLite has these files while a process uses the database.
    of_sqlite = {"optuna.db-wal", "optuna.db-shm"}
    written = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    } - of_sqlite
    assert {"s/study.json", "s/trials/0003/history.csv", "optuna.db"} <= written
    assert sorted(path for path in written if not is_documented(path)) == []


def test_files_of_an_export_are_the_documented_ones() -> None:
    folder = ROOT / "tests" / "fixtures" / "study_0_1" / "results" / "stored"
    files = (folder / "best").rglob("*")
    # The stored export has formats that the program does not write any more.
    kept = (path for path in files if path.is_file() and path.suffix != ".tflite")
    written = [path.relative_to(folder) for path in kept]
    assert Path("best/saved_model/saved_model.pb") in written
    assert [path for path in written if not is_documented(f"s/{path.as_posix()}")] == []


@pytest.mark.parametrize("page", ["docs/exports.md", "docs/transformers.md", "results/README.md"])
def test_every_format_of_an_export_is_documented(page: str) -> None:
    text = (ROOT / page).read_text()
    assert [known.path for known in FORMATS.values() if known.path not in text] == []


def test_every_path_of_the_code_is_in_the_results_layout() -> None:
    results = ResultsDir(Path())
    study = results.study("s")
    paths = [
        path
        for folder in (study, results)
        for name in vars(type(folder))
        if isinstance(path := getattr(folder, name), Path)
    ]
    paths += [
        *(study.history_path(17), study.error_path(17), study.checkpoint_path(17)),
        *(study.repeat_path(7, 2), study.tracker_lock_path("0")),
        results.cache_dir("0123456789abcdef") / "vocabulary.txt",
    ]
    assert len(paths) > 15
    folders = {study.best_dir: "README.md"}
    files = [path / folders.get(path, "") for path in paths]
    assert [path for path in files if not is_documented(path.as_posix())] == []
