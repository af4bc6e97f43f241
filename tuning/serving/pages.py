"""The pages of `make serve`: a page to try the model, and a page that describes the HTTP interface.

The pages load nothing from other servers. FastAPI's own page of the interface is not used, because
it loads its script from a network that may not be available.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection
from functools import partial
from typing import Any

from tuning.data.records import HEADER_BYTES
from tuning.data.stream import MAX_CHARACTERS
from tuning.serving.label_file import MAX_FILE
from tuning.templates import render

PACKAGE = "tuning.serving"
# Example texts on the page: a positive, a negative and a mixed text.
EXAMPLES = (
    "It works as described, and the battery lasts for days.",
    "It broke after a week, and nobody answers my mails.",
    "A nice case, but the buttons are hard to press.",
)


def try_page() -> str:
    return render(
        PACKAGE,
        "try.html",
        examples=EXAMPLES,
        max_characters=MAX_CHARACTERS,
        max_file=MAX_FILE,
        header_bytes=HEADER_BYTES,
    )


def docs_page(schema: dict[str, Any]) -> str:
    return render(
        PACKAGE,
        "docs.html",
        info=schema["info"],
        paths=schema["paths"],
        schemas=schema["components"]["schemas"],
        to_json=partial(json.dumps, indent=2, ensure_ascii=False),
    )


def policy(pages: Collection[str]) -> str:
    """Return the Content-Security-Policy of some pages, which allows the scripts and styles that
    they contain, by their hashes, and requests to this server.
    """
    scripts, styles = (
        [text for page in pages for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)]
        for tag in ("script", "style")
    )
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
