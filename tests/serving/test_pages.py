"""The page of the server, in a real browser."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.browser import Browser
from tests.servers import MANIFEST, fake, served
from tuning.serving import app
from tuning.targets.target import Array


@pytest.fixture
def browser(chromium: list[str]) -> Iterator[Browser]:
    with Browser(chromium) as opened:
        yield opened
        assert opened.problems == []


@pytest.mark.slow
def test_example_and_text_get_their_label_as_text(browser: Browser) -> None:
    with served(app.make_app(fake, MANIFEST)) as address:
        browser.open(f"{address}/")
        browser.press_enter("#examples button")
        browser.wait_for("!document.querySelector('#answer').hidden")
        browser.run("document.querySelector('#review').value = ''")
        browser.type("#review", "bad <img src=x onerror=alert(1)>")
        browser.press_enter("#send")
        browser.wait_for("document.querySelector('#answer').innerText.includes('0.9000')")
        shown = browser.run("document.body.innerText")
        assert "<b>bad</b> with probability 0.9000" in shown
        assert browser.run("document.images.length") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "output", "answer"),
    [
        (
            {"predicts": "order", "class_names": ["1", "2", "3"]},
            [0.1, 0.2, 0.7],
            "3 with probability 0.7000 2 0.2000, 1 0.1000",
        ),
        (
            {"predicts": "labels", "class_names": ["a", "b"]},
            [0.2, 0.3],
            "no label with probability 0.5600 b 0.3000, a 0.2000",
        ),
        (
            {"predicts": "number", "class_names": [], "margin": 2.5},
            [1_738_270.0],
            "1738270, between 1738268 and 1738273",
        ),
    ],
    ids=["order", "labels", "number"],
)
def test_each_kind_of_prediction_is_shown(
    changes: dict[str, Any], output: list[float], answer: str, browser: Browser
) -> None:
    def model(texts: Sequence[str]) -> Array:
        return np.tile(output, (len(texts), 1))

    with served(app.make_app(model, replace(MANIFEST, **changes))) as address:
        browser.open(f"{address}/")
        browser.type("#review", "so good")
        browser.press_enter("#send")
        browser.wait_for("!document.querySelector('#answer').hidden")
        shown = browser.run("document.querySelector('#answer').innerText")
    assert " ".join(shown.split()) == f"Answer {answer}"


@pytest.mark.slow
def test_error_of_the_server_is_one_sentence(browser: Browser) -> None:
    def broken(texts: Sequence[str]) -> Array:
        raise RuntimeError("a bug")

    with served(app.make_app(broken, MANIFEST)) as address:
        browser.open(f"{address}/")
        browser.type("#review", "so good")
        browser.press_enter("#send")
        problem = browser.wait_for("document.querySelector('#problem').textContent")
    assert problem == "The server could not answer."
    browser.problems.clear()  # Chromium logs an answer of status 500.
