"""The environment of child processes that import this package."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def python_path() -> str:
    """Return the value of `PYTHONPATH` with which a child process can import this package from
    every working directory.
    """
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with `PYTHONPATH` and further variables."""
    return {**os.environ, "PYTHONPATH": python_path(), **variables}
