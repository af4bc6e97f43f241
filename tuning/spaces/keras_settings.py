"""The settings of Keras that hold for a whole process, such as the policy of
`keras.mixed_precision.set_global_policy`. The file of a search space may change them: its models
are built and trained with the settings of the file, and the rest of the process is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

KerasSettings = tuple[Any, ...]
ATTRIBUTE = "_keras_settings"  # attribute of a hypermodel from a file
# The settings that `keras.backend.clear_session` resets to Keras' defaults.
RESET = ("dtype_policy", "flash_attention")


def _accessors() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    from keras import config
    from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

    # `config.dtype_policy` would fix a policy that is not set, and then `set_floatx` changes none.
    return [
        *((partial(get_global_attribute, n), partial(set_global_attribute, n)) for n in RESET),
        (config.floatx, config.set_floatx),
        (config.epsilon, config.set_epsilon),
        (config.image_data_format, config.set_image_data_format),
    ]


def _read() -> KerasSettings:
    return tuple(read() for read, _ in _accessors())


def _write(settings: KerasSettings) -> None:
    for (_, write), value in zip(_accessors(), settings, strict=True):
        write(value)


@contextlib.contextmanager
def keras_settings_of(hypermodel: object | None) -> Iterator[None]:
    """Return a context in which Keras has the settings of a hypermodel's file; a hypermodel without
    such settings, or None, gets those after `clear_session`. Afterwards Keras has the settings that
    it had before.
    """
    before = _read()
    new = (None,) * len(RESET) + before[len(RESET) :]
    _write(getattr(hypermodel, ATTRIBUTE, new))
    try:
        yield
    finally:
        _write(before)


def record_keras_settings(hypermodel: object) -> None:
    vars(hypermodel)[ATTRIBUTE] = _read()  # A frozen dataclass refuses `setattr`.


def types_of_process() -> tuple[str, str | None]:
    """Return the float type and the name of the dtype policy that this process has set."""
    policy, _, floatx, *_ = _read()
    return floatx, None if policy is None else policy.name


def set_types(floatx: str = "float32", policy: str | None = None) -> None:
    from keras import config

    config.set_floatx(floatx)
    if policy is not None:
        config.set_dtype_policy(policy)


def clear_session() -> None:
    """Remove the state of Keras, as `keras.backend.clear_session` does, except for settings."""
    import keras

    # Keras' function also resets the policy that a file sets by `set_global_policy`: all trials of
    # the file would be trained in float32.
    settings = _read()
    keras.backend.clear_session()
    _write(settings)
