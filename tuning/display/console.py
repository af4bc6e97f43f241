"""The two consoles, and functions that make texts from the data safe to print."""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from tuning.errors import SpaceBug, SpaceError
from tuning.text import visible

# Columns of a file or a pipe: Rich's 80 columns cut a table of finalists to values such as "0…".
FILE_WIDTH = 160
NOTEBOOK_WIDTH = 110  # Columns of a console in a notebook.


class PlainConsole(Console):
    """A console that prints texts from the data unchanged: escape sequences have no effect, and
    `:words:` do not become emoji.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        # A script's own stream may have no such method, and a service may have no stream.
        is_terminal = getattr(stream, "isatty", lambda: False)()
        is_file = not is_terminal and "COLUMNS" not in os.environ
        width = FILE_WIDTH if is_file else None
        # A terminal breaks long lines itself, so Rich must not (`soft_wrap`).
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, width=width)
        # A notebook would show a long line with a scroll bar.
        if self.is_jupyter:
            self.soft_wrap, self.width = False, NOTEBOOK_WIDTH

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_visible_lines(text), **options)


def _visible_lines(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))


console = PlainConsole()
error_console = PlainConsole(stderr=True)


def end_script() -> None:
    """End the script whose call the user has interrupted, when the trainings are paused."""
    # The user of a notebook chooses the next cell.
    if not console.is_jupyter:
        # Python ends a script by SIGINT only for KeyboardInterrupt itself, not for a subclass.
        raise KeyboardInterrupt("the trainings are paused")


def print_texts(*texts: str, shown: Console = console) -> None:
    for text in texts:
        if shown.is_jupyter:
            # JupyterLab shows 50 outputs of a cell. Each text of Rich is an output, but all texts
            # on standard output are one.
            sys.stdout.write(f"{_visible_lines(text)}\n")
        else:
            shown.print(escape(text))


def warn(message: str) -> None:
    error_console.print(f"[bold yellow]warning:[/] {escape(message)}")


def print_traceback(error: SpaceError) -> None:
    """Print the traceback of a search space's own code, if the error has one."""
    if isinstance(error, SpaceBug) and error.traceback:
        error_console.print(escape(error.traceback.rstrip()), style="dim")


def printable(text: str, width: int) -> str:
    line = visible(text[: 4 * width])
    return line if len(line) <= width else f"{line[: width - 1]}…"


def duration(seconds: float) -> str:
    """Return a duration in words: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def open_in_browser(url: str) -> None:
    """Open a page in the user's browser, if there is a terminal and a graphical desktop."""
    # Without a desktop, Python would start a browser such as lynx, which takes over the terminal.
    is_desktop = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if sys.stdout.isatty() and is_desktop:
        webbrowser.open(url)


def server_url(host: str, port: int) -> str:
    # In a URL, an IPv6 address has brackets.
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
