"""The messages that users meet first, whole, as the commands print them."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import Ran
from tests.paths import ROOT
from tests.studies import copy_study
from tests.texts import make_reviews
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.spaces.files import list_spaces

# FOLDER is the working directory, and SPACES the names of the search spaces.
TUNE = ("tune", "--space", "tiny.py", "--data", "reviews.csv")
COMMANDS: dict[str, tuple[str, ...]] = {
    "No file": ("tune", "--data", "missing.csv"),
    "Unknown column": (*TUNE, "--label-column", "stars"),
    "One class": ("tune", "--space", "tiny.py", "--data", "one_class.csv"),
    "Unknown space": ("tune", "--space", "lstm", "--data", "reviews.csv"),
    "Unknown study": ("report", "--study", "other"),
    "Value out of range": (*TUNE, "--epochs", "0"),
    "Misspelled option": (*TUNE, "--epoch", "3"),
    "No finished trial": ("export-best", "--study", "s"),
    "Changed data": (
        *("tune", "--study", "s"),
        *("--space", "FOLDER/tiny.py", "--data", "FOLDER/reviews.csv"),
    ),
    "No export": ("predict", "--study", "s", "--text", "It works."),
}
GOLDEN = dict(
    re.findall(r"## (.*?)\n\n```\n(.*?)\n```\n", (ROOT / "tests" / "messages.md").read_text(), re.S)
)


@pytest.mark.parametrize("name", COMMANDS)
def test_message_is_the_golden_one(
    name: str,
    finished: tuple[ResultsDir, Outcome],
    run_cli: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy_study(finished[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv("reviews.csv")
    frame.assign(star_rating=5).to_csv("one_class.csv", index=False)
    if name == "Changed data":
        make_reviews(seed=1).to_csv("reviews.csv", index=False)
    if name == "No finished trial":
        with sqlite3.connect("results/optuna.db") as storage:
            storage.execute("UPDATE trials SET state = 'FAIL'")
    ran = run_cli(*(word.replace("FOLDER", str(tmp_path)) for word in COMMANDS[name]))
    words = re.sub("[╭╮╰╯│─]", "", ran.err.replace(str(tmp_path), "FOLDER")).split()
    message = " ".join(words).replace(", ".join(list_spaces()), "SPACES")
    assert message == " ".join(GOLDEN[name].split())
    assert ran.code == (2 if name == "Misspelled option" else 1)


def test_every_golden_message_has_a_command() -> None:
    assert GOLDEN.keys() == COMMANDS.keys()
