"""The report's page and its tables."""

import csv
import html
import json
import re
import shlex
import shutil
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tests.browser import Browser
from tests.commands import Ran
from tests.comparisons import standing, unconfirmed
from tests.stored_documents import CARD, RECORD, TEST_SCORES
from tests.studies import MANY_SPACE, many_trials
from tuning.cli.app import INTERRUPTED
from tuning.config import MIN_TEXTS, DataConfig, StudyConfig, TrainConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.documents import write
from tuning.evaluation.predictions import Predictions, column_of
from tuning.evaluation.scores import Mistake
from tuning.fidelity import parts_per_epoch
from tuning.inputs.corpus import Corpus
from tuning.report.figures import report_figures, slices
from tuning.report.next_ranges import Advice, advise, declarations
from tuning.report.page import Measured, write_report
from tuning.report.page import page as page_of
from tuning.report.quality import Quality
from tuning.report.sentences import verdict
from tuning.report.tables import best_rows, record_rows, trial_rows, trials_table
from tuning.results import ResultsDir, StudyDir
from tuning.search.tune import Outcome
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.handle import StudyHandle
from tuning.study.importances import importances
from tuning.study.prepare import with_parts
from tuning.study.study import load_study
from tuning.study.summary import summarize
from tuning.targets.classes import Classes

TITLES = [
    "Baseline against best",
    "Optimization history",
    "Learning curves",
    "Importances",
    "Slices",
    "Parallel coordinates",
    "Contours",
    "Cost",
]
TOO_FEW = ["Importances", "Contours"]  # of eight trials neither says something


@pytest.fixture(scope="module")
def page(finished: tuple[ResultsDir, Outcome]) -> str:
    results, _ = finished
    path, _ = write_report(StudyHandle.of(results, "s"))
    return path.read_text(encoding="utf-8")


class Checker(HTMLParser):
    """Collects what a page loads from other addresses, and its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings: list[str] = []
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_heading = tag == "h2"
        for name, value in attrs:
            if name in ("src", "href") and value:
                self.loaded.append(value)

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def test_page_loads_nothing_from_elsewhere(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    assert checker.loaded == []
    assert page.count("plotly.js v") == 1
    assert len(page) < 8_000_000


def test_page_has_every_plot(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    assert [h for h in checker.headings if h in TITLES] == TITLES
    without = [
        title
        for title in TITLES
        if re.search(
            f"<h2>{title}</h2>\\s*<p class=soft>This figure needs [0-9]+ completed trials, ", page
        )
    ]
    assert without == TOO_FEW
    # The figure of the first screen has no title.
    assert page.count("<div class=plot>") == 1 + len(TITLES) - len(TOO_FEW)


def test_figures_draw_what_the_study_holds(finished: tuple[ResultsDir, Outcome]) -> None:
    results, outcome = finished
    study = load_study(results, results.study("s"), storage_url=results.storage_url(None))
    figures = {
        title: figure for title, _, figure in report_figures(study, outcome.summary, outcome.space)
    }
    values = [t.value for t in outcome.summary.trials if t.value is not None]
    shown, of_each = figures["Optimization history"], figures["Slices"]
    assert shown is not None and of_each is not None
    assert sorted(shown.data[0].y) == sorted(values)
    assert len(of_each.data) == len(outcome.space.searched)


def test_trials_csv_has_a_row_a_trial(finished: tuple[ResultsDir, Outcome], page: str) -> None:
    results, outcome = finished
    with results.study("s").trials_csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [t.number for t in outcome.summary.trials]
    assert {
        "vocab_size",
        "sequence_length",
        "embedding_dim",
        "lstm_units",
        "value",
        "state",
        "train_seconds",
        "val_f1",
    } <= set(rows[0])


def test_text_that_looks_like_a_formula_is_none_in_the_table() -> None:
    study = optuna.create_study()
    kinds = CategoricalDistribution(["=1+1", "lstm"])
    for kind in kinds.choices:
        study.add_trial(
            create_trial(
                value=-0.5,
                params={"kind": kind},
                distributions={"kind": kinds},
                user_attrs={"note": "@SUM(A1)"},
            )
        )
    table = trials_table(summarize(study, metric="val_loss"))
    assert table["kind"].tolist() == ["'=1+1", "lstm"]
    assert table["note"].tolist() == ["'@SUM(A1)"] * 2
    assert table["value"].tolist() == [-0.5, -0.5]


def test_hyperparameter_with_the_name_of_a_metric_is_in_the_table() -> None:
    study = optuna.create_study()
    losses = CategoricalDistribution(["focal", "plain"])
    study.add_trial(
        create_trial(
            value=0.5,
            params={"loss": "focal"},
            distributions={"loss": losses},
            user_attrs={"loss": 0.123},
        )
    )
    table = trials_table(summarize(study, metric="val_loss"))
    assert table["loss"].tolist() == ["focal"]


def test_table_of_all_trials_has_the_values_of_names_with_several_ranges() -> None:
    kinds = Hyperparameter(name="kind", kind="choice", default="a", choices=("a", "b"))
    units = (
        Hyperparameter(
            name="units",
            kind="int",
            default=2,
            low=1,
            high=9,
            conditions=(("kind", (kind,)),),
        )
        for kind in "ab"
    )
    space = SearchSpace("x", (kinds, *units))
    study = optuna.create_study()
    for _ in range(2):
        suggest(study.ask(), space.hyperparameters)
    summary = summarize(study, metric="val_loss")
    header, rows = trial_rows(summary, space)
    assert header[3:5] == ["kind", "units"]
    assert all(row[4] for row in rows)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            0.8125,
            "The best of the search, of 2 finished trials, is trial 1 with val_accuracy 0.8125,"
            " against 0.8000 of the baseline (trial 0), a difference of +0.0125.",
        ),
        (
            0.80001,
            "The best of the search, of 2 finished trials, is trial 1 with val_accuracy 0.8000,"
            " which the baseline (trial 0) has too.",
        ),
        (
            0.75,
            "The best of the search, of 2 finished trials, is trial 0 with val_accuracy 0.8000: the"
            " baseline itself. Nothing that was tried is better.",
        ),
    ],
)
def test_verdict_compares_with_the_baseline(value: float, sentence: str) -> None:
    study = optuna.create_study(direction="maximize")
    for number, each in enumerate((0.8, value)):
        study.add_trial(create_trial(value=each, user_attrs={"baseline": number == 0}))
    assert verdict(summarize(study, metric="val_accuracy")).startswith(sentence)


def test_advice_names_the_end_and_the_range_to_search_next(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    _, outcome = finished
    assert outcome.summary.best is not None
    low = int(outcome.summary.best.params["vocab_size"])
    space = SearchSpace(
        "x",
        (
            Hyperparameter(
                name="vocab_size", kind="int", default=low, low=low, high=low + 1000, log=True
            ),
        ),
    )
    (advice,) = advise(outcome.summary, space, CARD)
    assert re.search("vocab_size .*lower bound", advice.sentence)
    assert (
        declarations([advice])
        == f'hp.Int("vocab_size", {round(low / 2)}, {low + 1000}, sampling="log", default={low})'
    )


def test_range_below_a_linear_bound_keeps_its_steps_and_ends_at_one(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    best = finished[1].summary.best
    assert best is not None
    at = int(best.params["sequence_length"])
    item = Hyperparameter(
        name="sequence_length", kind="int", default=at, low=at, high=at + 30, step=3
    )
    (advice,) = advise(finished[1].summary, SearchSpace("x", (item,)), CARD)
    assert 1 <= advice.low < at and (at - advice.low) % 3 == 0
    assert declarations([advice]).startswith(
        f'hp.Int("sequence_length", {advice.low:.0f}, {at + 30}, step=3, '
    )


def test_rate_of_dropout_is_not_raised_to_one() -> None:
    item = Hyperparameter(name="dropout", kind="float", default=0.2, low=0.0, high=0.5, step=0.05)
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        create_trial(
            value=1.0,
            params={"dropout": 0.5},
            distributions={"dropout": optuna.distributions.FloatDistribution(0, 0.5, step=0.05)},
        )
    )
    (advice,) = advise(summarize(study, metric="val_accuracy"), SearchSpace("x", (item,)), CARD)
    assert declarations([advice]) == 'hp.Float("dropout", 0, 0.9, step=0.05, default=0.2)'


@pytest.mark.parametrize("named", [{"baseline": True}, {"starting_point": 2}])
def test_values_that_no_search_has_led_to_are_no_advice_on_bounds(named: dict[str, Any]) -> None:
    item = Hyperparameter(name="units", kind="int", default=8, low=8, high=64)
    study = optuna.create_study(direction="maximize")
    for value, attributes in ((1.0, named), (0.5, {})):
        study.add_trial(
            create_trial(
                value=value,
                params={"units": 8},
                distributions={"units": optuna.distributions.IntDistribution(8, 64)},
                user_attrs=attributes,
            )
        )
    assert advise(summarize(study, metric="val_accuracy"), SearchSpace("x", (item,)), CARD) == []


def test_number_of_words_of_an_ngram_is_not_raised_above_three() -> None:
    item = Hyperparameter(name="ngrams", kind="int", default=3, low=1, high=3)
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        create_trial(
            value=1.0,
            params={"ngrams": 3},
            distributions={"ngrams": optuna.distributions.IntDistribution(1, 3)},
        )
    )
    assert advise(summarize(study, metric="val_accuracy"), SearchSpace("x", (item,)), CARD) == []


def test_bound_that_the_data_can_not_fill_is_not_raised() -> None:
    item = Hyperparameter(
        name="vocab_size", kind="int", default=9_000, low=1_000, high=20_000, log=True
    )
    study = optuna.create_study(direction="maximize")
    distribution = IntDistribution(1_000, 20_000, log=True)
    for number, value in enumerate((9_000, 20_000)):
        study.add_trial(
            create_trial(
                value=0.5 + number / 10,
                params={"vocab_size": value},
                distributions={"vocab_size": distribution},
                user_attrs={"baseline": number == 0},
            )
        )
    summary, space = summarize(study, metric="val_accuracy"), SearchSpace("x", (item,))
    (raised,) = advise(summary, space, replace(CARD, n_words=90_000))
    assert "raise it" in raised.sentence
    assert raised.high == 40_000
    (little,) = advise(summary, space, replace(CARD, n_words=20_500))
    assert little.high == 20_502
    assert advise(summary, space, replace(CARD, n_words=900)) == []


def test_ranges_of_one_name_are_declared_in_their_own_scopes() -> None:
    """The default on the steps of the first range is not on those of the second."""
    words = Hyperparameter(
        name="sequence_length",
        kind="int",
        default=256,
        low=64,
        high=512,
        step=32,
        conditions=(("architecture", ("cnn", "gru")),),
    )
    of_lstm = replace(
        words, default=100, low=40, high=200, step=10, conditions=(("architecture", ("lstm",)),)
    )
    lines = declarations([Advice(of_lstm, "", 40, 150), Advice(words, "", 64, 160)])
    assert lines.splitlines() == [
        "with hp.conditional_scope(\"architecture\", ['lstm']):",
        '    hp.Int("sequence_length", 40, 150, step=10, default=100)',
        "with hp.conditional_scope(\"architecture\", ['cnn', 'gru']):",
        '    hp.Int("sequence_length", 64, 160, step=32, default=160)',
    ]


@pytest.mark.parametrize(("preset", "high"), [([], 133), (["bert"], 240)])
def test_length_in_tokens_of_a_preset_is_not_compared_with_words(
    preset: list[str], high: int
) -> None:
    length = Hyperparameter(name="sequence_length", kind="int", default=64, low=16, high=128)
    items = [Hyperparameter(name="preset", kind="fixed", default=name) for name in preset]
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        create_trial(
            value=1.0,
            params={"sequence_length": 128},
            distributions={"sequence_length": IntDistribution(16, 128)},
        )
    )
    (advice,) = advise(
        summarize(study, metric="val_accuracy"),
        SearchSpace("x", (*items, length)),
        replace(CARD, length_percentiles={"99": 133}),
    )
    assert advice.high == high


@pytest.mark.slow
def test_page_of_500_trials_stays_below_8_megabytes(
    finished: tuple[ResultsDir, Outcome], tmp_path: Path
) -> None:
    study = many_trials(1_000)  # 500 complete
    card = next(Corpus(p) for p in (finished[0].path / "cache").iterdir() if p.is_dir()).card
    summary = summarize(study, metric="val_accuracy")
    folder = ResultsDir(tmp_path).study("many")
    text = page_of(
        study,
        summary,
        space=MANY_SPACE,
        folder=folder,
        record=replace(RECORD, config=StudyConfig(study="many")),
        card=card,
    )
    assert "of the 50 best trials" in text
    assert "Pruning saved up to" in text and "PRUNED=5 SHARE=1" in text
    assert len(text.encode()) < 8_000_000


@pytest.mark.slow
def test_importances_have_intervals_that_narrow_with_more_trials() -> None:
    few, many = (
        importances(summarize(many_trials(n, trade_off=False), metric="val_accuracy"))
        for n in (100, 400)
    )
    assert set(few) == set(many) == {item.name for item in MANY_SPACE.hyperparameters}
    assert [importance.value for importance in many.values()] == sorted(
        (importance.value for importance in many.values()), reverse=True
    )
    width = [
        statistics.mean(importance.high - importance.low for importance in importance_of.values())
        for importance_of in (few, many)
    ]
    assert width[1] < width[0]
    assert (
        next(iter(many)) == "learning_rate" and many["learning_rate"].low > many["vocab_size"].high
    )  # it decides; the vocabulary does not


def test_slices_show_the_confirmed_means() -> None:
    study = many_trials(40)
    summary = summarize(study, metric="val_accuracy")
    finalists = [
        Finalist(
            t.number,
            dict(t.params),
            t.value or 0.0,
            1.0,
            is_baseline=t.number == 1,
            repeats={1: 0.5, 2: 0.6},
        )
        for t in [*summary.ranked[:3], summary.trials[1]]
    ]
    confirmation = Confirmation(
        "val_accuracy", [1, 2], 100.0, 100.0, finalists, rounds=2, is_over=True
    )
    figure = slices(study, summary, confirmation, params=["lstm_units", "dropout"])
    confirmed = [trace for trace in figure.data if trace.name == "confirmed on fresh seeds"]
    assert [trace.xaxis for trace in confirmed] == ["x", "x2"]
    assert list(confirmed[1].x) == [
        finalist.values["lstm_units"] for finalist in finalists
    ]  # Optuna orders by name
    estimates = estimate(confirmation)
    assert estimates is not None
    assert list(confirmed[0].y) == [estimates.means[finalist.trial].value for finalist in finalists]
    assert all(up > 0 for up in confirmed[0].error_y.array)


def test_page_has_every_trial(page: str, finished: tuple[ResultsDir, Outcome]) -> None:
    rows = page.split('<table class="sortable rows">')[1].split("</table>", maxsplit=1)[0]
    assert rows.count("<tr>") == 1 + len(finished[1].summary.trials)


# This script runs in a frame. Once the plots are drawn, it sends the elements beyond the right edge
# of the page to the page around the frame.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const isBeyond = box => box.right > innerWidth + 1 && box.width > 0;
  const mayScroll = e => e.closest(".scroll, pre, script, .modebar");
  const wide = [...document.querySelectorAll("body *")].filter(
    e => !mayScroll(e) && isBeyond(e.getBoundingClientRect()));
  const texts = wide.map(
    e => e.tagName + "." + e.getAttribute("class") + " " + e.textContent.slice(0, 40));
  const page = document.documentElement.scrollWidth;
  parent.postMessage(JSON.stringify({texts, page, width: innerWidth}), "*");
}, 4000))</script>"""
FRAME = """<!doctype html><body style="margin:0">
<iframe src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>
<pre id=found></pre>
<script>onmessage = e => found.textContent = "FOUND" + e.data + "END"</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_of_the_page_is_cut_off(
    width: int, page: str, chromium: list[str], tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8"
    )
    (tmp_path / "frame.html").write_text(FRAME.format(width=width, height=9000))
    command = [*chromium, "--hide-scrollbars", "--window-size=1280,9000"]
    url = (tmp_path / "frame.html").as_uri()
    dom = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    pictures = Path("test-output")
    pictures.mkdir(exist_ok=True)
    shot = [
        *command,
        "--virtual-time-budget=20000",
        f"--screenshot={(pictures / f'report-{width}.png').absolute()}",
        url,
    ]
    subprocess.run(shot, capture_output=True, timeout=120, check=True)
    layout = json.loads(html.unescape(dom.split('id="found">FOUND')[1].split("END<")[0]))
    assert layout["texts"] == []
    assert layout["page"] <= layout["width"] == width


REVIEW = "It broke after a week, and nobody answers. " * 40  # 320 words
LONG_CHOICES = (
    "bidirectional_lstm_with_attention_pooling",
    "convolution_over_characters_and_words",
)
WIDE_SPACE = SearchSpace(
    "wide",
    (
        *(
            Hyperparameter(
                name=f"regularization_strength_of_layer_{n}",
                kind="float",
                default=0.1,
                low=0.0,
                high=1.0,
            )
            for n in range(12)
        ),
        *(
            Hyperparameter(
                name=f"encoder{n}", kind="choice", default=LONG_CHOICES[0], choices=LONG_CHOICES
            )
            for n in range(12)
        ),
        Hyperparameter(
            name="numberofunitsofthelastlayer", kind="int", default=8, low=8, high=2**31
        ),
    ),
)


def wide_study() -> optuna.Study:
    """Return a study of 25 hyperparameters with completed, pruned and failed trials."""
    study, drawn = optuna.create_study(direction="maximize"), optuna.create_study()
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    for number in range(16):
        trial = drawn.ask()
        suggest(trial, WIDE_SPACE.hyperparameters)
        attributes: dict[str, Any] = {
            "baseline": number == 0,
            "seconds": {"train": 1234.5},
            "n_epochs": 3,
            "best_epoch": 2,
        }
        if states[number % 4] == TrialState.FAIL:
            attributes["reason"] = "out of memory"
        value = 0.8 + number / 1000
        made = {
            "user_attrs": attributes,
            "params": trial.params,
            "distributions": trial.distributions,
        }
        state = states[number % 4]
        steps = {} if state == TrialState.FAIL else {1: 0.7, 2: value}
        study.add_trial(
            create_trial(
                state=state,
                value=None if state == TrialState.FAIL else value,
                intermediate_values=steps,
                **made,
            )
        )
    return study


def wide_page(
    finished: tuple[ResultsDir, Outcome], folder: StudyDir, measured: Measured | None = None
) -> str:
    """Return the page of that study after a confirmation on 20 seeds and evaluations of four models
    on long reviews.
    """
    summary = summarize(wide_study(), metric="val_balanced_accuracy")
    finalists = [
        Finalist(
            t.number,
            dict(t.params),
            0.81,
            1.0,
            repeats={s: 0.7 + s / 1000 + t.number / 999 for s in range(1, 21)},
            is_baseline=not n,
        )
        for n, t in enumerate(summary.ranked[:6])
    ]
    Confirmation(
        "val_balanced_accuracy", [*range(1, 21)], 100.0, 100.0, finalists, rounds=20, is_over=True
    ).save(folder)
    scores = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")
    intervals = dict.fromkeys(scores, (0.8012, 0.8234))
    wide = {"test": dict.fromkeys(scores, 0.8123), "test_intervals": intervals}
    mistake = Mistake(label="negative" * 10, predicted="positive", probability=0.99, text=REVIEW)
    assert TEST_SCORES  # for mypy: the stored study has them
    seen = replace(
        TEST_SCORES,
        scores={
            name: replace(model_scores, **wide) for name, model_scores in TEST_SCORES.scores.items()
        },
        references={
            name: replace(reference, **wide) for name, reference in TEST_SCORES.references.items()
        },
        comparisons={},
        mistakes=[
            mistake,
            replace(mistake, label="positive", predicted="negative", text="word" * 200),
        ],
    )
    write(folder.test_path, seen)
    card = next(Corpus(p) for p in (finished[0].path / "cache").iterdir() if p.is_dir()).card
    config = StudyConfig(study="wide", metric="val_balanced_accuracy")
    return page_of(
        wide_study(),
        summary,
        space=WIDE_SPACE,
        folder=folder,
        record=replace(RECORD, config=config),
        card=card,
        measured=measured or Measured(),
    )


def test_search_spaces_of_a_comparison_are_a_section(
    finished: tuple[ResultsDir, Outcome], tmp_path: Path
) -> None:
    spaces = [standing("<b>", 0.9), replace(standing("wide", 0.8), study="wide"), unconfirmed("c")]
    folder = ResultsDir(tmp_path).study("wide")
    text = wide_page(finished, folder, Measured(spaces=spaces))
    _, _, after = text.partition("<h2>Other search spaces on the same data</h2>")
    section = after.partition("<h2>")[0]
    assert "Choose &lt;b&gt;: no other search space" in section
    assert section.count("<tr>") == 4
    # A study of other data may have a name of the comparison.
    other = wide_page(finished, folder, Measured(spaces=[spaces[0], spaces[2]]))
    assert "Other search spaces" not in other


@pytest.mark.slow
def test_no_table_scrolls_sideways_at_1280_pixels(
    finished: tuple[ResultsDir, Outcome], chromium: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    spaces = [standing("a_long_name_of_a_space-3501b39e", 0.9, latency_ms=1.0), standing("b", 0.8)]
    spaces = [replace(entry, study="wide") for entry in spaces]
    page = wide_page(finished, ResultsDir(tmp_path).study("wide"), Measured(spaces=spaces))
    path.write_text(page, encoding="utf-8")
    tables = '[...document.querySelectorAll("table")]'
    with Browser(chromium) as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=1280,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        browser.open(path.as_uri())
        assert browser.run("innerWidth") == 1280
        assert browser.run(f"{tables}.length") == 8
        has_bar = "t.parentElement.scrollWidth > t.parentElement.clientWidth"
        wide = f"{tables}.filter(t => {has_bar}).map(t => t.rows[0].textContent.slice(0, 60))"
        assert browser.run(wide) == []
        assert browser.run("document.documentElement.scrollWidth") <= 1280
        hidden = 'document.querySelector(".texts details").innerText.length'
        folded = browser.run(hidden)
        browser.press_enter(".texts summary")
        assert folded < 300 < 1_600 < browser.run(hidden)
        assert browser.problems == []


def predictions_of_wide_names() -> Quality:
    """Return predictions of 600 texts of three classes, with a column of 25 long values."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    probabilities = rng.dirichlet(np.ones(3), 600) + np.eye(3)[labels]
    values = [f"{LONG_CHOICES[number % 2]}_{number % 25}" for number in range(600)]
    return Quality(
        Predictions(
            labels,
            rng.integers(1, 3_000, 600),
            probabilities / probabilities.sum(axis=1, keepdims=True),
            column=column_of("product_category_of_the_review", values),
            target=Classes(("negative", LONG_CHOICES[0], "positive" * 20)),
        ),
        "The exported model on the 600 texts of the test split",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "media"), [(1280, "screen"), (400, "screen"), (400, "dark"), (720, "print")]
)
def test_page_fits_and_answers_on_the_first_screen(
    width: int,
    media: str,
    finished: tuple[ResultsDir, Outcome],
    chromium: list[str],
    tmp_path: Path,
) -> None:
    path, folder = tmp_path / "page.html", ResultsDir(tmp_path).study("wide")
    measured = Measured(predictions=predictions_of_wide_names())
    path.write_text(wide_page(finished, folder, measured), encoding="utf-8")
    with Browser(chromium) as browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if media == "dark" else "light"}
        browser.call(
            "Emulation.setEmulatedMedia",
            media="print" if media == "print" else "",
            features=[scheme],
        )
        browser.open(path.as_uri())
        browser.wait_for("document.querySelectorAll('.figures .main-svg').length >= 10")
        if media == "print":
            browser.run("dispatchEvent(new Event('beforeprint'))")
            widths = "[...document.querySelectorAll('.figures .main-svg')].map(e => e.clientWidth)"
            browser.wait_for(f"{widths}.every(width => width === 320)")
        root = "document.documentElement"
        assert browser.run(f"{root}.scrollWidth <= {root}.clientWidth")
        if media != "print":
            tables = "[...document.querySelectorAll('.scroll')]"
            assert browser.run(f"{tables}.every(e => e.scrollWidth <= e.clientWidth)")
        assert browser.run("document.querySelector('.plot').getBoundingClientRect().bottom") < 900
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(17, 17, 17)" if media == "dark" else "rgb(255, 255, 255)")
        heights = "[...document.querySelectorAll('.figures .main-svg')].map(e => e.clientHeight)"
        assert min(browser.run(heights)) > 100
        assert browser.problems == []


@pytest.mark.slow
def test_mistakes_are_filtered_by_words_and_by_classes(
    finished: tuple[ResultsDir, Outcome], chromium: list[str], tmp_path: Path
) -> None:
    folder, path = ResultsDir(tmp_path).study("wide"), tmp_path / "page.html"
    path.write_text(wide_page(finished, folder), encoding="utf-8")
    shown = "[...document.querySelectorAll('.texts tbody tr')].filter(row => !row.hidden).length"
    with Browser(chromium) as browser:
        browser.open(path.as_uri())
        assert browser.run(shown) == 2
        # The whole review is searched, also where the page folds it.
        browser.type(".filter input", (" ".join(REVIEW.split()[:60])).upper())
        assert browser.run(shown) == 1
        assert browser.run("document.querySelector('.filter output').textContent") == "1 of 2"
        browser.run("document.querySelector('.filter input').value = ''")
        choose = (
            "{const s = document.querySelectorAll('.filter select')[%d]; s.selectedIndex = %d;"
            " s.dispatchEvent(new Event('change'))}"
        )
        # The places of the chosen true and predicted class → the number of mistakes.
        expected = {(1, 0): 1, (2, 0): 1, (0, 1): 1, (0, 2): 1, (1, 1): 0, (2, 1): 1, (0, 0): 2}
        for places, n_shown in expected.items():
            for column, place in enumerate(places):
                browser.run(choose % (column, place))
            assert browser.run(shown) == n_shown, places
        assert browser.problems == []


def test_page_folds_the_most_confident_mistakes(
    finished: tuple[ResultsDir, Outcome], tmp_path: Path
) -> None:
    text = (
        wide_page(finished, ResultsDir(tmp_path).study("wide"))
        .split("The most confident mistakes</h2>")[1]
        .split("</table>", maxsplit=1)[0]
    )
    assert text.count("<details>") == 2
    assert text.count("It broke after a week") == 40


@pytest.mark.journey
def test_page_in_chromium_draws_its_plots(
    finished: tuple[ResultsDir, Outcome], page: str, chromium: list[str]
) -> None:
    url = finished[0].study("s").report_path.absolute().as_uri()
    command = [*chromium, "--virtual-time-budget=20000", "--dump-dom", url]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert dom.count('class="main-svg"') >= len(TITLES) - len(TOO_FEW)


def test_hyperparameter_under_two_conditions_stands_in_the_table() -> None:
    space = SearchSpace(
        "x",
        (
            Hyperparameter(name="cell", kind="choice", default="a", choices=("a", "b")),
            Hyperparameter(
                name="units", kind="int", default=4, low=4, high=9, conditions=(("cell", ("a",)),)
            ),
            Hyperparameter(
                name="units",
                kind="int",
                default=40,
                low=40,
                high=90,
                conditions=(("cell", ("b",)),),
            ),
        ),
    )
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    assert suggest(trial, space.hyperparameters)
    study.tell(trial, 0.5)
    header, (row,) = best_rows(summarize(study, metric="val_accuracy"), space)
    assert row[header.index("units")] == str(
        next(v for k, v in study.trials[0].params.items() if k.startswith("units"))
    )


def test_report_names_the_trials_of_starting_points() -> None:
    study = many_trials(8)
    numbered = [
        create_trial(
            value=None if trial.state == TrialState.PRUNED else 0.95,
            state=trial.state,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, "baseline": False, "starting_point": number},
            intermediate_values=trial.intermediate_values,
        )
        for number, trial in enumerate(study.trials[2:4], start=1)
    ]
    study.add_trials(numbered)
    summary = summarize(study, metric="val_accuracy")
    labels = [row[0] for row in best_rows(summary, MANY_SPACE)[1]]
    assert labels[0] == "9 (starting point 2)"
    states = [row[1] for row in trial_rows(summary, MANY_SPACE)[1]]
    assert states[7:] == [
        "complete",
        "pruned after epoch 1 (starting point 1)",
        "complete (starting point 2)",
    ]
    assert "is trial 9 (starting point 2) with val_accuracy 0.9500" in verdict(summary)
    rows = trials_table(summary).to_csv(index=False).splitlines()
    column = rows[0].split(",").index("starting_point")
    cells = [row.split(",")[column] for row in rows[1:]]
    assert cells == [*[""] * 8, "1", "2"]


def test_report_builds_the_cache_again(
    finished: tuple[ResultsDir, Outcome], tmp_path: Path
) -> None:
    shutil.copytree(finished[0].path, tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "cache")
    results = ResultsDir(tmp_path / "results")
    page, _ = write_report(StudyHandle.of(results, "s"))
    assert page.exists()


def test_command_of_the_report_makes_the_study_again() -> None:
    data = DataConfig(data="my reviews/*.csv", text_column="body", drop_stars=(3,))
    record = replace(RECORD, config=StudyConfig(study="s", data=data))
    command = shlex.split(dict(record_rows(record, CARD, n_trials=7))["command"])
    flags = dict(zip(command[4::2], command[5::2], strict=True))
    assert (flags["--data"], flags["--text-column"], flags["--drop-stars"]) == (
        "my reviews/*.csv",
        "body",
        "3",
    )
    assert flags["--n-trials"] == "7"


DEFAULT = StudyConfig(study="s")
# The settings of a study, without those that the command line can't set.
SETTINGS = {*vars(DEFAULT), *vars(DEFAULT.data), *vars(DEFAULT.train)}
SETTINGS -= {"train", "batch_size", "patience", "predicts"}
# Values that are not the defaults.
OTHER_VALUES: dict[str, Any] = {
    "study": "other",
    "space": "cnn",
    "metric": "val_loss",
    "costs": ("n_params", "latency_ms"),
    "max_parameters": 1000,
    "max_latency_ms": 2.5,
    "sampler": "random",
    "pruner": "median",
    "seed": 3,
    "preset": "hf://name/model",
    "vocab_size": 500,
    "sequence_length": 40,
    "data": "my reviews/*.csv",
    "text_column": "the text",
    "label_column": "label's",
    "data_dir": "data sets",
    "positive_from": 0.0,
    "drop_stars": (2.5, 3.0),
    "epochs": 9,
    "parts_per_epoch": 4,
}


def config_with(name: str) -> StudyConfig:
    """Return a configuration in which one setting has its value of `OTHER_VALUES`."""
    changed = {name: OTHER_VALUES[name]}
    if name == "costs":
        changed["pruner"] = "none"  # A study of several objectives prunes no trial.
    for part in ("data", "train"):
        values = getattr(DEFAULT, part)
        if name in vars(values):
            return replace(DEFAULT, **{part: replace(values, **changed)})
    return replace(DEFAULT, **changed)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_command_of_the_report_has_every_setting(
    name: str, run_cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line reads the command, and gives a search the same settings."""
    config = config_with(name)
    assert config != DEFAULT
    rows = record_rows(replace(RECORD, config=config), CARD, n_trials=7)
    words = shlex.split(dict(rows)["command"])
    assert words[:4] == ["python", "-m", "tuning", "tune"]
    calls: list[Any] = []

    def search(run: Any, *_: object, **__: object) -> bool:
        calls.append(run)
        return False

    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    monkeypatch.setattr("tuning.api.search.search", search)
    assert run_cli("tune", *words[4:]).code == INTERRUPTED
    ((again, root),) = [run.args for run in calls]
    budget = calls[0].keywords["budget"]
    corpus = cast("Corpus", SimpleNamespace(card=CARD))
    folder = root.study(again.study)
    assert with_parts(again, folder, corpus=corpus, min_texts=budget.min_texts) == config
    assert budget.n_trials == 7


@pytest.mark.parametrize(("parts", "min_texts"), [(4, None), (1, 100_001), (8, 12_500)])
def test_command_of_the_report_divides_an_epoch_as_the_study(
    parts: int, min_texts: int | None
) -> None:
    """100,001 training texts are divided into 4 parts by default."""
    config = replace(DEFAULT, train=TrainConfig(parts_per_epoch=parts))
    card = replace(CARD, n_rows={**CARD.n_rows, "train": 100_001})
    command = dict(record_rows(replace(RECORD, config=config), card, n_trials=7))["command"]
    expected = [] if min_texts is None else [str(min_texts)]
    assert re.findall("--min-texts ([0-9]+)", command) == expected
    assert parts_per_epoch(100_001, min_texts=min_texts or MIN_TEXTS) == parts
