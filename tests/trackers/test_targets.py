"""The value of log_to."""

import re

import pytest

from tuning.commands import install
from tuning.errors import ArgumentError, TrackerError
from tuning.trackers import targets
from tuning.trackers.targets import Target, parse_targets


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all packages count as installed, because these tests do not import them."""
    monkeypatch.setattr(targets, "find_spec", lambda name: name)


@pytest.mark.usefixtures("installed")
def test_several_trackers_are_taken_each_once() -> None:
    texts = ["mlflow:http://host:5000", "tensorboard:runs", "wandb:w", "tensorboard:runs"]
    assert parse_targets(texts) == [
        Target("mlflow", "http://host:5000"),
        Target("tensorboard", "runs"),
        Target("wandb", "w"),
    ]


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("mlflow", "received the kind 'mlflow' without a place."),
        ("neptune:http://me:secret@host", "received the kind 'neptune' with a place."),
    ],
)
def test_wrong_value_is_one_sentence_without_a_password(text: str, received: str) -> None:
    with pytest.raises(ArgumentError, match=f"^log_to must be [^;]*; {re.escape(received)}$"):
        parse_targets([text])


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    with pytest.raises(TrackerError, match=re.escape(install("wandb"))):
        parse_targets(["wandb:runs"])


@pytest.mark.parametrize(
    ("place", "shown", "plain"),
    [
        ("http://me:s3cret-word@host:1", "http://me:***@host:1", "s3cret-word"),
        ("http://me:a%20b%40c@host:1", "http://me:***@host:1", "a b@c"),
        ("http://me:p@host:1", "http://me:***@host:1", ""),
        ("x://host/db?user=me&password=s3cret%20w", "x://host/db?user=me&password=***", "s3cret w"),
        ("x://host/db?user=me&password=s3cret+w", "x://host/db?user=me&password=***", "s3cret w"),
        ("x://host/db?user=me&password=s3cret%2fw", "x://host/db?user=me&password=***", "s3cret/w"),
        ("x://host/db?user=me&password=s3cret%2Fw", "x://host/db?user=me&password=***", "s3cret/w"),
        ("x://host/db?password=abc&port=1", "x://host/db?password=***&port=1", ""),
        ("x://host/db?pwd=s3cret&port=1", "x://host/db?pwd=***&port=1", "s3cret"),
        ("x://host/db?sslpassword=a&port=1", "x://host/db?sslpassword=***&port=1", ""),
        *((p, p, "") for p in ("runs", "sqlite:///mlflow.db", "http://[::1", "http://host:5000")),
    ],
)
def test_password_of_a_place_is_hidden_in_names_and_messages(
    place: str, shown: str, plain: str
) -> None:
    """A short password may be a common word, so only the place hides it."""
    target = Target("mlflow", place)
    assert (str(target), repr(target)) == (f"mlflow:{shown}", f"Target('mlflow:{shown}')")
    assert target.hide(f"no access to {place}/api") == f"no access to {shown}/api"
    assert target.hide(f"no access with {plain}.") == f"no access with {'***' * bool(plain)}."
