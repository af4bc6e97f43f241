"""Text from data is shown as text in every output, never as markup, a formula or a terminal
command.
"""

import csv
import io
import logging
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from rich.markup import escape
from rich.table import Table

from tests.stored_documents import CARD, RECORD, TEST_SCORES
from tuning.config import DataConfig, StudyConfig
from tuning.display.console import PlainConsole, printable
from tuning.display.logs import logging_to
from tuning.evaluation.predictions import Predictions, column_of
from tuning.evaluation.scores import Mistake, PastEvaluation
from tuning.report.page import Measured, page
from tuning.report.tables import trials_table
from tuning.results import StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.summary import summarize
from tuning.targets.classes import Classes
from tuning.text import escape_markdown, visible

NASTY = [
    "=HYPERLINK(1)",
    "@SUM(A1)",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "</td></table><b onclick=x>",
    "&lt;b&gt;",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "a\nb\r\x00c",
    "[bold]x[/bold]",
    "[/]",
    ":heart:",
    "|[x](javascript:y)`*_~#$z$",
    "![i](http://x)",
    "\u202egnp.exe",
    "\\",
    "'\"",
    "\ud800",
]
texts = (
    st.sampled_from(NASTY)
    | st.text(max_size=30)
    | st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join)
)
nasty = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@nasty
@given(texts)
@example("[" * 3 + "\\")
def test_terminal(text: str) -> None:
    console = PlainConsole()
    table = Table(show_header=False, box=None, padding=0)
    table.add_row(escape(printable(text, 400)))
    with console.capture() as captured:
        console.print(escape(text))
        console.print(table, width=500)
    out = captured.get()
    assert all(c.isprintable() or c == "\n" for c in out)
    lines = zip(out.split("\n"), text.split("\n"), strict=False)
    # rich doubles a backslash at the end of a line.
    assert all(shown.rstrip("\\") == visible(line).rstrip("\\") for shown, line in lines)


HOSTILE = "</title></pre></script><script>alert(1)</script><img src=x onerror='alert(\"2\")'>&amp;"


class _Page(HTMLParser):
    """The texts of a page, and its tags except the tag for possible line breaks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.tags.append((tag, [name for name, _ in attrs if name != "class"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def report_page(name: str) -> str:
    """Return the report of a study in which the study, its data, its space, a class, a choice, a
    reason and a text have this name.
    """
    study = optuna.create_study(study_name=name, direction="maximize")
    kinds = CategoricalDistribution([name, "b"])
    for value in (0.5, 0.6):
        study.add_trial(
            create_trial(
                value=value,
                params={"kind": name},
                distributions={"kind": kinds},
                intermediate_values={1: value},
                user_attrs={"n_epochs": 1, "best_epoch": 1},
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": name}))
    test = replace(
        TEST_SCORES,
        scores={"best": replace(TEST_SCORES.scores["best"], trial=1)},
        references={name: TEST_SCORES.references["majority class"]},
        comparisons={},
        test_looks=[PastEvaluation(when=name, trials={})],
        mistakes=[Mistake(label=name, predicted=name, probability=0.9, text=name)],
    )
    card = replace(CARD, data=name, text_column=name, label_column=name, class_names=[name, "b"])
    config = StudyConfig(study="s", data=DataConfig(data=name))
    record = replace(RECORD, config=config, versions={name: name}, created=name)
    space = SearchSpace(
        name, (Hyperparameter(name="kind", kind="choice", default="b", choices=(name, "b")),)
    )
    labels = np.array([0, 1, 1])
    predictions = Predictions(
        labels,
        labels + 1,
        np.eye(2)[[0, 1, 0]],
        column=column_of(name, [name, name, "b"]),
        target=Classes((name, "b")),
    )
    seen = predictions, name
    return page(
        study,
        summarize(study, metric="val_accuracy"),
        space=space,
        record=record,
        card=card,
        measured=Measured(test=test, predictions=seen),
    )


def test_hostile_names_are_text_in_the_report() -> None:
    hostile, harmless = _Page(report_page(HOSTILE)), _Page(report_page("harmless"))
    assert hostile.tags == harmless.tags
    assert hostile.text.count(HOSTILE) >= 18


@nasty
# No storage accepts a lone surrogate.
@given(texts.filter(lambda text: "\ud800" not in text))
def test_cells_and_columns_of_trials_csv(text: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.add_trial(
        optuna.trial.create_trial(value=0.5, user_attrs={"reason": text, f"{text}.": 1})
    )
    table = (
        trials_table(summarize(study, metric="val_loss"))
        .to_csv(index=False, lineterminator="\n")
        .encode(errors="replace")
        .decode()
    )
    rows = list(csv.reader(io.StringIO(table, newline="")))
    assert len(rows) == 2
    assert not [
        cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    ]
    assert any(
        cell.lstrip("'") == text.lstrip("'").encode(errors="replace").decode() for cell in rows[1]
    )


@nasty
@given(texts)
def test_notes_and_the_export_s_readme(text: str) -> None:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    opening, inline, closing = markdown.parse(f"x {escape_markdown(text)} x")
    assert [opening.type, inline.type, closing.type] == [
        "paragraph_open",
        "inline",
        "paragraph_close",
    ]
    assert {token.type for token in inline.children or ()} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children or ()) == f"x {visible(text)} x"
    assert "$" not in escape_markdown(text).replace("\\$", "")


def test_log_has_a_line_a_message(tmp_path: Path) -> None:
    folder = StudyDir(tmp_path)
    with logging_to(folder):
        for text in NASTY:
            logging.getLogger("tuning.test").info(
                "left out: %s", text.encode(errors="replace").decode()
            )
    lines = folder.log_path.read_text().splitlines()
    assert len(lines) == len(NASTY)
    assert all(line.isprintable() for line in lines)
