"""The container image of `deploy/`: its files exist, and it installs as the Makefile does."""

import re

from tests.paths import ROOT

IMAGE = ROOT / "deploy" / "Containerfile"


def test_image_copies_what_is_there_and_installs_as_the_makefile_does() -> None:
    text = IMAGE.read_text()
    copied = [
        word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()
    ]
    assert copied
    assert all((ROOT / word).exists() for word in copied)
    assert re.search(r"^FROM docker\.io/library/python:3\.11-slim$", text, re.MULTILINE)
    for package in ("psycopg[binary]>=3.2,<4", "ray>=2.60,<3"):
        assert package in text
        assert package in (ROOT / "pyproject.toml").read_text()
