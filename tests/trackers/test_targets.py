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


@pytest.mark.parametrize("password", ["s3cret-word", "p", "a%20b%40c"])
def test_password_is_hidden_in_names_and_messages(password: str) -> None:
    uri = f"http://me:{password}@host:5000"
    target = Target("mlflow", uri)
    for text in (str(target), repr(target), target.hide(f"no answer from {uri}/api")):
        assert f":{password}@" not in text
        assert "http://me:***@host:5000" in text


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("s3cret%20word", "s3cret word"),
        ("s3cret+word", "s3cret word"),
        ("s3cret%2fword", "s3cret/word"),
        ("s3cret%2Fword", "s3cret/word"),
    ],
)
def test_password_in_the_query_of_a_uri_is_hidden(typed: str, plain: str) -> None:
    target = Target("mlflow", f"postgresql://host/db?user=me&password={typed}")
    assert str(target) == "mlflow:postgresql://host/db?user=me&password=***"
    assert target.hide(f"no access with {plain}") == "no access with ***"


@pytest.mark.parametrize("parameter", ["password=abc", "pwd=s3cret", "sslpassword=a"])
def test_short_password_and_odbc_s_are_hidden_in_the_uri(parameter: str) -> None:
    name = parameter.partition("=")[0]
    target = Target("mlflow", f"postgresql://host/db?user=me&{parameter}&port=1")
    assert str(target) == f"mlflow:postgresql://host/db?user=me&{name}=***&port=1"


def test_unquoted_password_is_hidden_too() -> None:
    target = Target("mlflow", "http://me:a%20b%40c@host:5000")
    assert target.hide("user me, password a b@c") == "user me, password ***"


def test_place_without_a_password_is_shown() -> None:
    for place in ("runs", "sqlite:///mlflow.db", "http://[::1", "http://host:5000"):
        assert str(Target("mlflow", place)) == f"mlflow:{place}"
