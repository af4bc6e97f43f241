"""The commands as a user types them: help, wrong input, exit statuses."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.commands import Ran, tune_command
from tests.paths import ROOT
from tests.servers import free_port
from tests.stored_documents import EXPORT, RESULTS
from tests.studies import TINY_SPACE
from tuning.__main__ import run as run_program
from tuning.cli.app import main
from tuning.commands import install
from tuning.inference.load import Prediction

Run = Callable[..., Ran]


@pytest.fixture
def run_tune(run_cli: Run, reviews_csv: Path, tiny_space: Path) -> Run:
    """Return a function that tunes the study "s" with the tiny space and one worker."""

    def run(*flags: object) -> Ran:
        where = ("--study", "s", "--data", reviews_csv, "--space", tiny_space)
        return run_cli("tune", *where, "--workers", 1, *flags)

    return run


def check_refused(ran: Ran, *words: str) -> None:
    """Check that a command ended with status 1 and with one or two sentences that contain the
    words, without a traceback.
    """
    assert ran.code == 1, ran
    assert ran.err.startswith("error: "), ran.err
    assert "Traceback" not in ran.err + ran.out
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    missing = [word for word in words if word not in ran.err]
    assert not missing, ran.err


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("compare", ["--spaces", "ngrams cnn", "--data", "none.csv"], ["none.csv", "exists"]),
        ("predict", [], ["text", "file"]),
        ("predict", ["--text", "good", "--output", "a.csv"], ["output", "with file", "a.csv"]),
    ],
)
def test_wrong_flag_is_refused(
    command: str, flags: list[str], words: list[str], run_cli: Run, tmp_path: Path
) -> None:
    check_refused(run_cli(command, *flags), *words)
    assert not (tmp_path / "results").exists()


def test_value_error_of_a_bug_is_not_shown_as_a_mistake_of_the_user(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception is raised, so that Python prints its traceback, however it is worded."""

    def fails(*arguments: object, **options: object) -> None:
        raise ValueError("shapes must be equal; received (2,) and (3,).")

    folder = tmp_path / "results" / "s"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    monkeypatch.setattr("tuning.report.page.write_report", fails)
    with pytest.raises(ValueError, match="shapes must be equal"):
        run_cli("report", "--study", "s")


@pytest.mark.parametrize(("reason", "n_lines"), [((), 1), (("paused",), 0)])
def test_interrupt_is_one_line_unless_the_search_has_said_it(
    reason: tuple[str, ...], n_lines: int, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt(*reason)

    monkeypatch.setattr("tuning.study.prepare.prepare_search", interrupted)
    ran = run_cli("data-card")
    assert ran.code == 130
    assert ran.err.count("Type the same command again") == len(ran.err.splitlines()) == n_lines


def test_interrupt_of_the_imports_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "tuning.cli.app", SimpleNamespace(main=interrupted))
    with pytest.raises(SystemExit, match="130"):
        run_program()
    assert "Type the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export-best", "report"])
def test_command_before_a_trial_is_complete_is_reported(
    command: str, run_cli: Run, run_tune: Run, tmp_path: Path
) -> None:
    run_tune("--timeout-seconds", 0.01)
    before = sorted(p.name for p in (tmp_path / "results" / "s").iterdir())
    check_refused(run_cli(command, "--study", "s"), "completed trial", "make tune")
    assert sorted(p.name for p in (tmp_path / "results" / "s").iterdir()) == before


@pytest.mark.usefixtures("copied_results")
def test_dashboard_prints_the_page_of_the_study(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(url: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuning.cli.studies.open_in_browser", interrupted)
    port = free_port()
    ran = run_cli("dashboard", "--port", port, "--study", "s")
    assert ran.code == 0
    assert re.search(f"http://127.0.0.1:{port}/dashboard/studies/[0-9]+ ", ran.out)


def test_tune_prints_lines_the_best_and_what_to_type_next(run_cli: Run, run_tune: Run) -> None:
    ran = run_tune("--n-trials", 2, "--epochs", 1)
    assert ran.code == 0
    for words in (
        "[0/2] trial 0 starts: vocab_size 30",
        "[2/2]",
        "folds of the",
        "The best of the search, of 2 finished trials",
        "baseline",
        "make dashboard",
        "make export-best STUDY=s",
    ):
        assert words in ran.out
    assert ran.err == ""
    status = run_cli("status", "--json")
    assert json.loads(status.out)["n_complete"] + json.loads(status.out)["n_pruned"] == 2
    assert "The best of the search, of 2" in run_cli("status").out


@pytest.mark.parametrize("command", ["status", "dashboard", "predict", "serve"])
def test_commands_find_the_results_below_the_user_s_home(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--text", "good"] if command == "predict" else []
    argv = ["tuning", command, "--study=none", "--results=~/found", *flags]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert f"{tmp_path}/found" in capfd.readouterr().err


def test_spaces_lists_the_number_of_starting_points(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_spaces").mkdir()
    points = "starting_points = [{'vocab_size': 20}, {}, {'lstm_units': 4}]\n"
    for name, text in (("mine", TINY_SPACE + points), ("tiny", TINY_SPACE)):
        (tmp_path / "search_spaces" / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    out = run_cli("spaces").out
    assert all(words in out for words in ("baseline_lstm", "2000 to 40000, log", "truncating"))
    assert "mine  2 starting points  /" in out
    assert "tiny  0 starting points  /" in out


def in_terminal(*command: object) -> str:
    """Return what a command shows in a pseudo-terminal, with a line for each state of a bar."""
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=child, stdout=child, stderr=child, env=env
    ) as process:
        os.close(child)
        seen = b""
        # The error comes when the terminal's other end is closed.
        with contextlib.suppress(OSError):
            while part := os.read(parent, 65536):
                seen += part
    os.close(parent)
    assert process.returncode == 0, seen
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).replace("\r", "\n")


@pytest.mark.slow
def test_terminal_shows_a_bar_and_the_incumbent(
    tmp_path: Path, reviews_csv: Path, tiny_space: Path
) -> None:
    flags = ("--n-trials", 2, "--epochs", 2, "--pruner", "none")
    seen = in_terminal(*tune_command(tiny_space, reviews_csv, tmp_path / "results", *flags))
    for words in ("1/2 trials, incumbent: trial 0, val_accuracy", "[1/2] trial 1 starts: "):
        assert words in seen


def test_predict_writes_rows_and_a_bar_to_a_terminal(onnx_export: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\n" + "a good film\n" * 3)
    command = (sys.executable, "-m", "tuning", "predict", "--json", "--export", onnx_export)
    seen = in_terminal(*command, "--file", tmp_path / "new.csv")
    assert "labeling new.csv" in seen
    rows = [json.loads(row) for row in re.findall(r"^{.*}\s*$", seen, re.MULTILINE)]
    assert [row["row"] for row in rows] == [1, 2, 3]


def test_warning_of_an_export_is_not_written_to_the_log(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a model is trained, standard error is the study's log."""
    shutil.copytree(RESULTS.path, tmp_path / "results")
    log = tmp_path / "results" / "stored" / "tuning.log"

    def is_logged() -> bool:
        return os.path.samestat(os.fstat(2), log.stat())

    def exported(*arguments: Any, warn: Callable[[str], None], **options: Any) -> Any:
        assert is_logged()
        warn("An ensemble adds nothing.")
        return EXPORT

    monkeypatch.setattr("tuning.export.export.export_best", exported)
    printed: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        "tuning.api.exports.warn", lambda message: printed.append((message, is_logged()))
    )
    done = run_cli("export-best", "--study", "stored", "--ensemble", "auto")
    assert done.code == 0
    assert printed == [("An ensemble adds nothing.", False)]


def test_predict_labels_a_text(run_cli: Run, onnx_export: Path) -> None:
    done = run_cli("predict", "--export", onnx_export, "--text", "good film")
    assert done.code == 0, done.err
    assert re.fullmatch(r"(negative|positive)  (0\.\d{4}|1\.0000)\n", done.out)
    line = json.loads(
        run_cli("predict", "--export", onnx_export, "--text", "good film", "--json").out
    )
    assert set(line) == {"label", "probability", "text"}
    unknown = ("predict", "--export", onnx_export, "--text", "una buena compra")
    assert "0 of 3 tokens are known" in run_cli(*unknown).err
    assert json.loads(run_cli(*unknown, "--json").out)["problem"] == "0 of 3 tokens are known"


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [(None, "4.427"), ((3.2512345, 5.6036449), "4.427  [3.251, 5.604]")],
)
def test_predicted_number_is_rounded_on_the_terminal(
    run_cli: Run,
    onnx_export: Path,
    monkeypatch: pytest.MonkeyPatch,
    bounds: tuple[float, float] | None,
    shown: str,
) -> None:
    number = Prediction("good film", "4.4274397", None, "", bounds)
    monkeypatch.setattr("tuning.cli.exports._labeled", lambda *_: iter([[(None, number)]]))
    arguments = ("predict", "--export", onnx_export, "--text", "good film")
    assert run_cli(*arguments).out == f"{shown}\n"
    assert json.loads(run_cli(*arguments, "--json").out)["label"] == 4.4274397


def test_predict_names_the_studies_that_have_an_export(
    run_cli: Run, onnx_export: Path, tmp_path: Path
) -> None:
    for name in ("exported", "new"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "study.json").touch()
    (tmp_path / "results" / "exported" / "best").symlink_to(onnx_export)
    done = run_cli("predict", "--study", "new", "--text", "good film")
    check_refused(done, "Study 'new' must have", "STUDY=new", "has one (study): exported.")


def test_predict_refuses_a_text_without_a_prediction(
    run_cli: Run, onnx_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tuning.inference.load.load_fastest",
        lambda *_: lambda texts: np.full((len(texts), 2), np.nan),
    )
    done = run_cli("predict", "--export", onnx_export, "--text", "…")
    check_refused(done, "NaN", "another text")


def test_predict_of_a_file_names_its_bad_rows_and_keeps_them(
    run_cli: Run, onnx_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_bytes(b'text,n\ngood film,1\n,2\n"a bad film"\n')
    done = run_cli("predict", "--export", onnx_export, "--file", "new.csv")
    assert done.code == 0, done.err
    assert "3 rows: 2 labeled" in done.out
    assert "Text column: text\n" in done.out
    assert "1 with a problem, the first: new.csv row 2 (no text)" in done.out
    rows = [line.split(",") for line in (tmp_path / "new.predictions.csv").read_text().splitlines()]
    assert [(row[1], row[2] != "", ",".join(row[4:])) for row in rows[1:]] == [
        ("1", True, ""),
        ("2", False, "no text"),
        ("3", True, ""),
    ]


def test_predict_of_a_broken_file_names_the_line_and_writes_nothing(
    run_cli: Run, onnx_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text("text,n\ngood film,1\nbad,4,4\n")
    check_refused(run_cli("predict", "--export", onnx_export, "--file", "new.csv"), "line 3, saw 3")
    assert not (tmp_path / "new.predictions.csv").exists()


def test_predict_of_a_large_file_prints_its_progress_without_a_terminal(
    run_cli: Run, onnx_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.csv").write_text("text\n" + "a good film\n" * 3)
    command = ("predict", "--json", "--export", onnx_export, "--file", tmp_path / "new.csv")
    assert "labeling" not in run_cli(*command).err
    monkeypatch.setattr("tuning.cli.exports.LINE_SECONDS", 0)
    assert "labeling new.csv: 100%\n" in run_cli(*command).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--text", "a" * 100_001), ["a text of 100,001 characters"]),
        (("--file", "new.csv", "--text-column", "body"), ["text_column", "id, words", "body"]),
        (("--file", "new.csv", "--text-column", "words", "--output", "new.csv"), ["output"]),
    ],
)
def test_predict_refuses(
    arguments: tuple[str, ...],
    words: list[str],
    run_cli: Run,
    onnx_export: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text("id,words\n1,good\n")
    check_refused(run_cli("predict", "--export", onnx_export, *arguments), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize(
    "command", [("predict", "--text", "good"), ("predict", "--file", "new.txt"), ("serve",)]
)
def test_changed_export_is_refused(
    command: tuple[str, ...],
    run_cli: Run,
    onnx_export: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.txt").write_text("good\n")
    shutil.copytree(onnx_export, tmp_path / "best")
    (tmp_path / "best" / "model.onnx").write_bytes(b"changed")
    port = ("--port", free_port()) if command[0] == "serve" else ()
    check_refused(run_cli(*command, "--export", tmp_path / "best", *port), "SHA-256")
    assert not (tmp_path / "new.predictions.csv").exists()


def test_serve_without_its_packages_names_the_command_to_type(
    run_cli: Run, onnx_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tuning.serving.app", raising=False)
    monkeypatch.delattr("tuning.serving.app", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    check_refused(run_cli("serve", "--export", onnx_export), "uvicorn", install("serve"))


@pytest.mark.parametrize(
    ("host", "is_warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_serve_for_other_machines_warns(
    host: str, is_warned: bool, run_cli: Run, onnx_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.serving.app.run", lambda app, listening: None)
    port = free_port()
    done = run_cli("serve", "--export", onnx_export, "--host", host, "--port", port)
    if host == "::1" and "Cannot assign" in done.err:
        pytest.skip("no IPv6 on this machine")
    assert done.code == 0, done.err
    assert f"{port}" in done.out
    assert ("no authentication" in done.err) is is_warned
