"""The pages of `make serve`: one to try the model with, one that says how programs ask it. Nothing
in them comes from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_STYLE = """
body { margin: 0 auto; max-width: 900px; padding: 24px; font: 16px/1.5 system-ui, sans-serif; color: #1d2733; background: #fff; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 32px 0 4px; font-size: 19px; } h3 { margin: 16px 0 4px; font-size: 16px; }
pre { padding: 8px 12px; overflow-x: auto; background: #f3f5f8; } td { padding: 2px 16px 2px 0; vertical-align: top; }
"""


@cache
def try_page() -> str:
    """The page to paste a review into."""
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def policy() -> str:
    """The Content-Security-Policy: the scripts and styles of these two pages by their hashes,
    requests to this server, and nothing else.
    """
    scripts, styles = (
        re.findall(rf"<{tag}>(.*?)</{tag}>", try_page(), re.DOTALL) for tag in ("script", "style")
    )
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, [*styles, _STYLE]))}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def docs_page(schema: dict[str, Any]) -> str:
    """What programs can ask, out of the OpenAPI schema: FastAPI's own page loads its script from a
    network that may not be there.
    """
    parts = [
        _operation(method.upper(), path, one)
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
    ]
    models = "".join(
        f"<h3>{html.escape(name)}</h3>{_code(model)}"
        for name, model in schema["components"]["schemas"].items()
    )
    title, about = (html.escape(schema["info"][name]) for name in ("title", "description"))
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport"
        " content='width=device-width,"
        f" initial-scale=1'><title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><p>{about}</p><p>For"
        " programs: <a href=/openapi.json>openapi.json</a>. For people: <a href=/>the page to try"
        f" it with</a>.</p>{''.join(parts)}<h2>Models</h2>{models}</body></html>\n"
    )


def _operation(method: str, path: str, one: dict[str, Any]) -> str:
    body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
    asked = (
        f"<h3>Body, an example</h3>{_code(body['example'])}<h3>Its"
        f" schema</h3>{_code(body['schema'])}"
        if body
        else ""
    )
    answers = "".join(
        f"<tr><td>{html.escape(status)}</td><td>{html.escape(answer['description'])}</td></tr>"
        for status, answer in one["responses"].items()
    )
    return (
        f"<h2>{method}"
        f" {html.escape(path)}</h2><p>{html.escape(one['description'])}</p>{asked}<h3>Answers</h3><table>{answers}</table>"
    )


def _code(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
