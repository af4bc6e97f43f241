"""A live display in a Jupyter notebook: one output of a cell, which is replaced at each change."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

N_COLUMNS = 110  # Width of a console in a notebook.
# Minimum time between two changes of the output. Each change is a message to the browser.
UPDATE_SECONDS = 0.5


class NotebookLive:
    """The counterpart of `rich.live.Live` for one output of a cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = -UPDATE_SECONDS
        self._last: RenderableType | None = None

    def __enter__(self) -> NotebookLive:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._last is not None:
            self._show(self._last)

    def update(self, renderable: RenderableType) -> None:
        """Show a renderable, unless the last change was less than `UPDATE_SECONDS` ago. The last
        renderable is shown at the end of the block in any case.
        """
        self._last = renderable
        if time.monotonic() - self._shown >= UPDATE_SECONDS:
            self._show(renderable)

    def _show(self, renderable: RenderableType) -> None:
        from IPython import display as ipython

        page: Any = ipython.HTML(as_html(renderable))  # type: ignore[no-untyped-call]
        self._shown, self._last = time.monotonic(), None
        if self._handle is None:
            self._handle = ipython.display(page, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(page)


def as_html(renderable: RenderableType) -> str:
    """Return a renderable as HTML without style sheets; its text is escaped."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=N_COLUMNS,
        force_jupyter=False,
        emoji=False,
        highlight=False,
    )
    # A bar ends without a line break, and the next text would be on its line. A row of a grid has a
    # line of its own.
    lines = Table.grid()
    for part in renderable.renderables if isinstance(renderable, Group) else [renderable]:
        lines.add_row(part)
    console.print(lines)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
