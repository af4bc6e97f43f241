"""The console: when a page is opened in a browser, and texts that are printed."""

from types import SimpleNamespace

import pytest

from tuning.display.console import duration, open_in_browser, printable


@pytest.mark.parametrize(
    ("is_terminal", "display", "n_opened"),
    [(True, ":9", 1), (True, "", 0), (False, ":9", 0)],
    ids=["desktop", "no desktop", "no terminal"],
)
def test_page_is_opened_in_the_terminal_of_a_desktop_alone(
    is_terminal: bool, display: str, n_opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: is_terminal))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    open_in_browser("http://127.0.0.1:1/a")
    assert opened == ["http://127.0.0.1:1/a"] * n_opened


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")]
)
def test_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_printable_takes_control_characters_out() -> None:
    assert printable("a\x1b[31mred\x07\nb" + "c" * 100, 12) == "a [31mred  …"
