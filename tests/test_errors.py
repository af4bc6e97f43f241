"""The tree of errors in the module's docstring equals the tree of the classes."""

import inspect
import re

import pytest

from tuning import errors
from tuning.errors import SpaceBug, TuningError

CLASSES = {
    name: c
    for name, c in inspect.getmembers(errors, inspect.isclass)
    if c.__module__ == errors.__name__
}


def drawn() -> dict[str, str]:
    """Return the parent of each class in the tree that the module's docstring draws. The parent of
    the top class is Exception.
    """
    parents: dict[str, str] = {}
    path: list[str] = []
    block = (errors.__doc__ or "").split("```")[1]
    for line in block.strip().splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match, line
        depth = len(match[1]) // 4
        path = [*path[:depth], match[2]]
        parents[match[2]] = path[depth - 1] if depth else "Exception"
    return parents


def test_drawn_tree_is_that_of_the_classes() -> None:
    assert drawn() == {name: c.__bases__[0].__name__ for name, c in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error_is_a_tuning_error_and_only_a_wrong_argument_is_a_value_error(name: str) -> None:
    assert issubclass(CLASSES[name], TuningError)
    assert issubclass(CLASSES[name], ValueError | TypeError) == (name == "ArgumentError")


def test_message_of_keras_loses_its_bold_text() -> None:
    bug = SpaceBug("\x1b[1mNo layer\x1b[0m", traceback="ValueError: \x1b[1mNo layer\x1b[0m\n")
    assert [str(bug), bug.traceback] == ["No layer", "ValueError: No layer\n"]
    assert bug.__notes__ == [bug.traceback]
