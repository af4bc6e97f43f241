"""The value of log_to: the kind of a tracker and its place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from tuning.commands import install
from tuning.errors import ArgumentError, TrackerError

# A kind is the name of the package and of its extra.
KINDS = ("mlflow", "tensorboard", "wandb")
# Environment variables of the command line, unless the user has set them: the packages send usage
# statistics or errors to their makers, and MLflow writes lines on the terminal.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "WANDB_ERROR_REPORTING": "false",
}
HIDDEN = "***"
# Names of the parameters in which drivers take passwords, such as `sslpassword` and ODBC's `PWD`.
IS_PASSWORD = re.compile(r"password|^pwd$", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """A tracker and its place: the URI of MLflow's store, which may contain a password, or a
    folder.
    """

    kind: str
    place: str

    def __str__(self) -> str:
        return self.hide(f"{self.kind}:{self.place}")

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"

    def hide(self, text: str) -> str:
        """Return a text, such as a message of MLflow, without the password of the place."""
        passwords = set[str]()
        with contextlib.suppress(ValueError):  # The URI can't be parsed.
            uri = urlsplit(self.place)
            # A driver may get passwords as parameters, such as `?password=`.
            pairs = (pair.partition("=") for pair in uri.query.split("&"))
            in_query = (value for name, _, value in pairs if IS_PASSWORD.search(name))
            passwords = {uri.password or "", *in_query}
        plain = {*map(unquote, passwords), *map(unquote_plus, passwords)}
        # An error of `requests` has the URI with other characters quoted.
        for secret in filter(None, passwords | plain | {*map(quote, passwords | plain)}):
            # A short password may be a common word, so it is replaced only inside the URI.
            text = text.replace(f":{secret}@", f":{HIDDEN}@").replace(f"={secret}", f"={HIDDEN}")
            if len(secret) > 3:
                text = text.replace(secret, HIDDEN)
        return text


def parse_targets(texts: Iterable[str]) -> list[Target]:
    targets = list(dict.fromkeys(_parse(text) for text in texts))
    for target in targets:
        if find_spec(target.kind) is None:
            raise TrackerError(
                f"log_to {target.kind} needs the package of the extra {target.kind}, which is"
                f" not installed. Type `{install(target.kind)}`."
            )
    return targets


def _parse(text: str) -> Target:
    kind, _, place = text.partition(":")
    if kind not in KINDS or not place:
        # The place may contain a password.
        raise ArgumentError(
            f"log_to must be mlflow:URI, tensorboard:DIR or wandb:DIR; received the kind {kind!r}"
            f" {'with' if place else 'without'} a place."
        )
    return Target(kind, place)
