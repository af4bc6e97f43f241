"""The page of the server, in a real browser: a text, the examples, and a file of texts."""

import base64
import csv
import io
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import Browser
from tests.servers import MANIFEST, fake, served
from tuning.serving import app, label_file
from tuning.targets.target import Array


@pytest.fixture
def browser(chromium: list[str]) -> Iterator[Browser]:
    with Browser(chromium) as opened:
        yield opened
        assert opened.problems == []


@pytest.mark.slow
def test_text_gets_label_probability_words_and_how_many_tokens_are_known(
    browser: Browser, tmp_path: Path
) -> None:
    def problem_of(text: str) -> str:
        return "0 of 1 tokens are known" if text == "malo" else ""

    with served(app.make_app(fake, MANIFEST, problem_of=problem_of)) as address:
        browser.open(f"{address}/")
        little = "0 of 1 tokens are known, so the label says little about this text."
        hostile = "Good <img src=x onerror=alert(1)> but bad"
        for text, sentence in (("malo", little), (hostile, "")):
            browser.run("document.querySelector('#review').value = ''")
            browser.type("#review", text)
            browser.press_enter("#send")
            few = f"document.querySelector('#few').textContent === '{sentence}'"
            browser.wait_for(f"!document.querySelector('#answer').hidden && {few}")
        shown = browser.run("document.body.innerText")
        assert "<b>bad</b> with probability 0.6000" in shown
        assert re.search(r"bad\s+1\s+\+0\.4000", shown)
        assert re.search(r"good\s+1\s+−0\.3000", shown)
        marked = "[...document.querySelectorAll('#text span')].map((span) => span.textContent)"
        assert browser.run(f"{marked}.join()") == "Good,bad"
        assert browser.run("document.images.length") == 0
        _, *rows = labeled(browser, tmp_path, b"text\nmalo\ngood\n")
        counts = browser.run("document.querySelector('#counts').textContent")
    assert [row[3] for row in rows] == ["0 of 1 tokens are known", ""]
    assert all(row[1] for row in rows)
    assert counts.endswith("rows: <b>bad</b> 1, good 1, 1 of them with few known tokens.")


DROP = """(() => {{
  const dropped = new DataTransfer();
  const bytes = Uint8Array.from(atob("{content}"), (letter) => letter.charCodeAt(0));
  dropped.items.add(new File([bytes], "new.csv"));
  document.querySelector("#drop").dispatchEvent(
    new DragEvent("drop", {{ dataTransfer: dropped, bubbles: true, cancelable: true }}));
}})()"""


def drop(browser: Browser, content: bytes) -> None:
    browser.run(DROP.format(content=base64.b64encode(content).decode()))


def labeled(browser: Browser, folder: Path, content: bytes) -> list[list[str]]:
    """Drop a file, label its rows, and return the rows of the file that the page gives for it."""
    drop(browser, content)
    browser.wait_for("!document.querySelector('#columns').hidden")
    browser.press_enter("#label-file")
    browser.wait_for("!document.querySelector('#file-answer').hidden")
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.press_enter("#download")
    path = folder / "new.predictions.csv"
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return [*csv.reader(io.StringIO(path.read_text()))]


@pytest.mark.journey
def test_dropped_file_comes_back_with_labels(browser: Browser, tmp_path: Path) -> None:
    content = (
        b"id,text,note\r\n"
        b'1,"so good, really",\r\n'
        b'2,"very ""bad""\nand late",=1+1\r\n'
        b"3,,x\r\n"
        b"4,good\r\n"
        b"5,good,x,y\r\n"
        b'6,"so" bad,\r\n'
    )
    with served(app.make_app(fake, MANIFEST)) as address:
        browser.open(f"{address}/")
        header, *rows = labeled(browser, tmp_path, content)
        shown = browser.run("document.body.innerText")
    assert header == ["id", "text", "note", *label_file.ADDED]
    assert rows == [
        ["1", "so good, really", "", "good", "0.800000", ""],
        ["2", 'very "bad"\nand late', "=1+1", "<b>bad</b>", "0.900000", ""],
        ["3", "", "x", "", "", "no text"],
        ["4", "good", "", "good", "0.800000", ""],
        ["5", "good", "x,y", "", "", "line 7: 4 fields, not 3"],
        ["6", "so bad", "", "<b>bad</b>", "0.900000", ""],
    ]
    assert "new.csv, column text, 6 rows: <b>bad</b> 2, good 2, 2 with a problem." in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "outputs", "answer", "effect", "cells", "counts"),
    [
        (
            {"predicts": "order", "class_names": ["1", "2", "3"]},
            ([0.1, 0.2, 0.7], [0.6, 0.3, 0.1]),
            "3 with probability 0.7000 2 0.2000, 1 0.1000",
            "+0.6000",
            (["3", "0.700000", ""], ["1", "0.600000", ""]),
            "1 1, 3 1",
        ),
        (
            {"predicts": "labels", "class_names": ["a", "b"]},
            ([0.2, 0.3], [0.9, 0.6]),
            "no label with probability 0.5600 b 0.3000, a 0.2000",
            "+0.5200",
            (["", "0.560000", ""], ["a;b", "0.540000", ""]),
            "a;b 1, no label 1",
        ),
        (
            {"predicts": "number", "class_names": [], "margin": 2.5},
            ([1_738_270.0], [-2.5]),
            "1738270, between 1738268 and 1738273",
            "+1738272.5000",
            (["1738270", "", "", "1738267.5", "1738272.5"], ["-2.5", "", "", "-5", "0"]),
            "number 2",
        ),
    ],
    ids=["order", "labels", "number"],
)
def test_each_kind_of_prediction_is_shown(
    changes: dict[str, Any],
    outputs: tuple[list[float], list[float]],
    answer: str,
    effect: str,
    cells: tuple[list[str], list[str]],
    counts: str,
    browser: Browser,
    tmp_path: Path,
) -> None:
    def model(texts: Sequence[str]) -> Array:
        return np.array([outputs[0 if "good" in text else 1] for text in texts])

    with served(app.make_app(model, replace(MANIFEST, **changes))) as address:
        browser.open(f"{address}/")
        browser.type("#review", "so good")
        browser.press_enter("#send")
        browser.wait_for("!document.querySelector('#answer').hidden")
        shown = browser.run("document.querySelector('#answer').innerText")
        header, *rows = labeled(browser, tmp_path, b"text\nso good\nbad\n")
        said = browser.run("document.querySelector('#counts').textContent")
    assert " ".join(shown.split()).startswith(f"Answer {answer} Words that changed")
    assert re.search(rf"good\s+1\s+{re.escape(effect)}", shown)
    bounds = ["predicted_low", "predicted_high"] if "margin" in changes else []
    assert header == ["text", *label_file.ADDED, *bounds]
    assert rows == [["so good", *cells[0]], ["bad", *cells[1]]]
    assert said == f"new.csv, column text, 2 rows: {counts}."


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["The server does not answer.", "You stopped the labeling."])
def test_labels_are_kept_if_the_labeling_ends_early(
    ending: str, browser: Browser, tmp_path: Path
) -> None:
    sizes: list[int] = []
    is_stopped = threading.Event()

    def counted(texts: Sequence[str]) -> Array:
        sizes.append(len(texts))
        if len(sizes) == 2:
            if "server" in ending:
                raise RuntimeError("the second call fails")
            is_stopped.wait(20)
        return fake(texts)

    with served(app.make_app(counted, MANIFEST)) as address:
        browser.open(f"{address}/")
        drop(browser, b"text\n" + b"good\n" * 1_500)
        browser.wait_for("!document.querySelector('#columns').hidden")
        browser.press_enter("#label-file")
        browser.wait_for("document.querySelector('#progress').value > 0")
        if "stopped" in ending:
            browser.press_enter("#stop")
        problem = browser.wait_for("document.querySelector('#file-problem').textContent")
        assert problem == f"{ending} The labels so far are kept; click again to go on."
        is_stopped.set()
        browser.press_enter("#label-file")
        browser.wait_for("!document.querySelector('#file-answer').hidden")
        counts = browser.run("document.querySelector('#counts').textContent")
    assert counts.endswith("1,500 rows: good 1,500.")
    assert sizes == [1_000, 500, 500]
    browser.problems.clear()  # Chromium logs the answer that ended early.


@pytest.mark.slow
def test_file_without_the_column_is_labeled_after_the_user_has_chosen(browser: Browser) -> None:
    with served(app.make_app(fake, replace(MANIFEST, text_column="my body"))) as address:
        browser.open(f"{address}/")
        drop(browser, b"id,text\n1,good\n")
        problem = browser.wait_for("document.querySelector('#file-problem').textContent")
        assert problem == "The file has no column my body; choose the column of the texts."
        browser.press_enter("#label-file")
        assert browser.run("document.querySelector('#file-answer').hidden")
        browser.run("document.querySelector('#column').selectedIndex = 2")
        browser.press_enter("#label-file")
        browser.wait_for("!document.querySelector('#file-answer').hidden")
        shown = browser.run("document.querySelector('#counts').textContent")
        assert shown == "new.csv, column text, 1 rows: good 1."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file must be comma-separated with a header line; it is empty."),
        (b"text\ngood\n", "The server could not answer."),
    ],
)
def test_refusal_and_error_of_the_server_are_one_sentence(
    content: bytes, sentence: str, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    if content:
        monkeypatch.setattr(label_file, "_columns", fail)
    with served(app.make_app(fake, MANIFEST)) as address:
        browser.open(f"{address}/")
        drop(browser, content)
        problem = browser.wait_for("document.querySelector('#file-problem').textContent")
    assert problem == sentence
    assert browser.run("document.querySelector('#columns').hidden")
    browser.problems.clear()  # Chromium logs an answer of status 422 or 500.


@pytest.mark.slow
def test_page_fits_a_narrow_screen(browser: Browser) -> None:
    with served(app.make_app(fake, MANIFEST)) as address:
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=400,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        browser.open(f"{address}/")
        drop(browser, f"{'long name ' * 30},text\n1,good\n".encode())
        browser.wait_for("!document.querySelector('#columns').hidden")
        assert browser.run("document.documentElement.scrollWidth") <= 400
