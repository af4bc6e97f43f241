"""The environment of child processes that import this package."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The first lines of many examples, and some shells, choose another backend.
BACKEND = {"KERAS_BACKEND": "tensorflow"}


def python_path() -> str:
    """Return the value of `PYTHONPATH` with which a child process can import this package from
    every working directory.
    """
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with `PYTHONPATH`, TensorFlow as the backend of Keras,
    and further variables.
    """
    return {**os.environ, **BACKEND, "PYTHONPATH": python_path(), **variables}
