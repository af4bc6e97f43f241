"""Plotly figures as parts of an HTML page that contains Plotly's script once."""

from __future__ import annotations

import plotly.graph_objects as go
import plotly.io
import plotly.offline
from markupsafe import Markup


def plotly_script() -> Markup:
    """Return Plotly's own JavaScript, about 5 MB."""
    return Markup(plotly.offline.get_plotlyjs())  # noqa: S704 (a file of the package plotly)


def plot_html(figure: go.Figure) -> Markup:
    """Return a figure as HTML, for a page that contains `plotly_script`."""
    html = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config={"responsive": True, "displaylogo": False},
    )
    return Markup(html)  # noqa: S704 (Plotly escapes the figure's text)
