"""The page of a comparison."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.comparisons import comparison_of, standing, standings, unconfirmed
from tuning.comparison.page import command, page, write_page
from tuning.comparison.standings import Standing
from tuning.config import DataConfig
from tuning.results import ResultsDir

LONG = "convolutions_over_characters_and_words_with_attention_pooling"
ATTACK = "<img src=x onerror=alert(1)>"


def page_of(space_standings: list[Standing]) -> str:
    return page(comparison_of(space_standings), space_standings, name="compare-reviews")


def text_of(html: str) -> str:
    """Return the text of a page before its figures."""
    body = html.split("</head>")[1].split("<div class=figures>", maxsplit=1)[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_page_begins_with_the_choice() -> None:
    text = text_of(page_of(standings()))
    assert text.index("Choose reviews: 1,204,882 parameters") < text.index("wide_deep has the best")
    assert "5 search spaces, 10 min each on amazon_reviews_*.csv.gz, seed 0" in text


def test_references_are_between_the_spaces() -> None:
    rows = re.findall(r"</span>([^<]+)</td>", page_of([*standings(), unconfirmed("none")]))
    assert rows == [
        "wide_deep",
        "reviews",
        "tuned n-grams + logistic regression",
        "TF-IDF + logistic regression",
        "cnn",
        "masked_lstm",
        "baseline_lstm",
        "none",
    ]


def test_failure_is_named_and_escaped() -> None:
    failed = unconfirmed("broken", failure=f"RuntimeError: {ATTACK}")
    html = page_of([*standings(), failed])
    assert ATTACK not in html
    assert "<b>broken</b> failed: RuntimeError: &lt;img src=x onerror=alert(1)&gt;" in html


def test_name_of_a_space_is_escaped_in_tables_and_figures() -> None:
    assert ATTACK not in page_of([standing(ATTACK, 0.9, [0.0, 0.1]), *standings()])


def test_page_loads_nothing_from_elsewhere() -> None:
    html = page_of(standings())
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=", html)
    assert html.count("plotly.js v") == 1


def test_page_is_written_before_any_space_is_finished(tmp_path: Path) -> None:
    space_standings = [unconfirmed("a"), unconfirmed("b")]
    folder = ResultsDir(tmp_path).study("compare-reviews")
    text = text_of(
        write_page(comparison_of(space_standings), space_standings, folder).read_text(
            encoding="utf-8"
        )
    )
    assert "No space has a confirmed best yet." in text
    assert "2 search spaces, 0 of them finished" in text


def test_command_makes_the_comparison_again() -> None:
    data = DataConfig(
        data="my reviews.csv", text_column="body", positive_from=4, drop_stars=(3, 2.5)
    )
    words = shlex.split(command(replace(comparison_of(standings()), data=data), name="c"))
    assert [*zip(words[4::2], words[5::2], strict=True)] == [
        ("--study", "c"),
        ("--spaces", "baseline_lstm masked_lstm cnn wide_deep reviews"),
        ("--minutes", "10"),
        ("--seed", "0"),
        ("--epochs", "5"),
        ("--data", "my reviews.csv"),
        ("--text-column", "body"),
        ("--positive-from", "4"),
        ("--drop-stars", "2.5"),
        ("--drop-stars", "3"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "media"), [(1280, "screen"), (400, "screen"), (400, "dark"), (720, "print")]
)
def test_page_fits_and_answers_on_the_first_screen(
    width: int, media: str, chromium: list[str], tmp_path: Path
) -> None:
    space_standings = [
        *standings(),
        standing(LONG, 0.86, [0.0, 0.001, -0.001], n_parameters=2**31, latency_ms=1234.5),
        unconfirmed("broken", failure="RuntimeError: no such layer " * 20),
    ]
    path = tmp_path / "page.html"
    path.write_text(page_of(space_standings), encoding="utf-8")
    with Browser(chromium) as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if media == "dark" else "light"}
        browser.call(
            "Emulation.setEmulatedMedia",
            media="print" if media == "print" else "",
            features=[scheme],
        )
        browser.open(path.as_uri())
        browser.wait_for("document.querySelectorAll('.main-svg').length >= 4")
        assert browser.run("document.documentElement.scrollWidth") <= width
        scrolls = "[...document.querySelectorAll('.scroll')]"
        assert not browser.run(f"{scrolls}.some(e => e.scrollWidth > e.clientWidth)")
        box = "document.querySelector('.answer').getBoundingClientRect()"
        assert browser.run(f"{box}.bottom") < 300
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(17, 17, 17)" if media == "dark" else "rgb(255, 255, 255)")
        browser.run("dispatchEvent(new Event('beforeprint'))")
        widths = "[...document.querySelectorAll('.plot .main-svg')].map(e => e.clientWidth)"
        assert set(browser.run(widths)) == {680}
        assert browser.problems == []
