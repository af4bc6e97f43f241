"""The console: when a page is opened in a browser."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

OPEN = "from tuning.display.console import open_in_browser; open_in_browser('http://127.0.0.1:1/a')"


@pytest.mark.parametrize(
    ("is_terminal", "display", "is_opened"),
    [(True, ":9", True), (True, "", False), (False, ":9", False)],
    ids=["desktop", "no desktop", "no terminal"],
)
def test_page_is_opened_in_the_terminal_of_a_desktop_alone(
    is_terminal: bool, display: str, is_opened: bool, tmp_path: Path
) -> None:
    """The browser is a script that writes the address to a file."""
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)
    others = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    controller, terminal = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", OPEN],
            cwd=ROOT,
            env={**others, "DISPLAY": display, "BROWSER": f"{browser} %s"},
            stdout=terminal if is_terminal else subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert (opened.read_text() if opened.exists() else None) == (
        "http://127.0.0.1:1/a" if is_opened else None
    )
