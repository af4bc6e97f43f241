"""Fetch a preset of KerasHub, check that it is a text encoder, and write its tokenizer.

A child process does this work, because the coordinator must not run Keras. The child,
`python -m tuning.pretrained.preset PRESET FOLDER`, writes `tokenizer.json` and `encoder.json` into
the folder, and a JSON line with a `Failure` to standard output if the preset can't be used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning import documents
from tuning.commands import install
from tuning.errors import SpaceError
from tuning.pretrained.tokenizer import TOKENIZER, from_keras_hub, is_hugging_face
from tuning.processes import child_environment

ENCODER = "encoder.json"
# Packages that presets need, by the name of their module.
PACKAGES = {"keras_hub": "keras-hub", "tokenizers": "tokenizers"}
INPUTS = {"token_ids", "padding_mask", "segment_ids"}


@dataclass(frozen=True)
class Encoder:
    """The encoder of a preset: its class in KerasHub, and the maximum number of tokens of a text;
    None if the encoder takes any number.
    """

    kind: str
    max_length: int | None


@dataclass(frozen=True)
class Failure:
    """The reason why a preset can't be used, as the child process writes it."""

    error: str


def fetch_preset(preset: str, folder: Path) -> Encoder:
    """Write the tokenizer of a preset into a folder, and return its encoder. KerasHub downloads a
    preset that is not a folder, unless it has a copy.

    Raises:
        SpaceError: the preset does not exist, can't be fetched, is not a text encoder, or has a
            tokenizer of another kind; or the packages that presets need are not installed.
    """
    require_packages()
    command = [sys.executable, "-m", "tuning.pretrained.preset", preset, str(folder)]
    env = child_environment(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    lines = done.stdout.strip().splitlines()
    # Only the last line is written by this module: a library may print while it downloads.
    with contextlib.suppress(ValueError, IndexError):
        raise SpaceError(documents.structure(json.loads(lines[-1]), Failure).error)
    if done.returncode != 0:
        reason = [*done.stderr.strip().splitlines(), f"exit status {done.returncode}"][-1]
        raise SpaceError(f"preset must be a text encoder; loading {preset!r} gave: {reason}")
    return documents.read(
        folder / ENCODER, Encoder, error=SpaceError, remedy="Run the command again."
    )


def require_packages() -> None:
    """Check that the packages are installed that presets need.

    Raises:
        SpaceError: a package is missing.
    """
    for module, package in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise SpaceError(
                f"A preset needs the package {package}, which is not installed. Type"
                f" `{install('pretrained')}`."
            )


def main(preset: str, folder: str) -> None:
    """Run the child process."""
    try:
        encoder = _fetch(preset, Path(folder))
    except SpaceError as error:
        sys.stdout.write(json.dumps(documents.unstructure(Failure(str(error)))) + "\n")
        return
    documents.write(Path(folder) / ENCODER, encoder)


def _fetch(preset: str, folder: Path) -> Encoder:
    import keras_hub

    _require_known(preset, keras_hub)
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # Each source of presets raises errors of its own.
        raise SpaceError(_explained(preset, error)) from error
    _require_encoder(preset, backbone, keras_hub)
    _write_tokenizer(preset, folder, keras_hub)
    return Encoder(type(backbone).__name__, getattr(backbone, "max_sequence_length", None))


def _require_known(preset: str, keras_hub: Any) -> None:
    if Path(preset).is_dir() or "://" in preset or preset in keras_hub.models.Backbone.presets:
        return
    raise SpaceError(
        "preset must be a folder, an address such as hf://NAME/MODEL, or a name in KerasHub's"
        f" list such as bert_small_en_uncased; the folder {preset!r} does not exist, and the list"
        " does not contain this name."
    )


def _explained(preset: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if Path(preset).is_dir():
        return (
            "preset must be a model that KerasHub can load: a folder that `save_to_preset` wrote,"
            f" or a Hugging Face model's. Loading {preset!r} gave {type(error).__name__}: {first}"
        )
    return (
        f"The preset {preset!r} must be fetched, because this machine has no copy; fetching it gave"
        f" {type(error).__name__}: {first} Check the network and the name, or download the preset"
        " elsewhere and give its folder as preset."
    )


def _require_encoder(preset: str, backbone: Any, keras_hub: Any) -> None:
    """Refuse a model that is not a text encoder with a padding mask.

    Raises:
        SpaceError: the model has other inputs, or generates text.
    """
    kind = type(backbone)
    names = set(backbone.input) if isinstance(backbone.input, dict) else set()
    generates = any(
        inspect.isclass(task)
        and issubclass(task, keras_hub.models.CausalLM)
        and getattr(task, "backbone_cls", None) is kind
        for task in vars(keras_hub.models).values()
    )
    if {"token_ids", "padding_mask"} <= names <= INPUTS and not generates:
        return
    reason = (
        "it generates text from left to right"
        if generates
        else f"its inputs are {', '.join(sorted(names)) or 'not named'}"
    )
    raise SpaceError(
        "preset must be a text encoder whose inputs are token_ids and padding_mask, such as BERT"
        f" or RoBERTa; {preset!r} is a {kind.__name__}, and {reason}."
    )


def _write_tokenizer(preset: str, folder: Path, keras_hub: Any) -> None:
    # KerasHub has no public function that returns the path of a preset's file.
    from keras_hub.src.utils.preset_utils import get_file
    from tokenizers import Tokenizer

    path = None
    with contextlib.suppress(FileNotFoundError):
        path = Path(get_file(preset, TOKENIZER))
    if path and is_hugging_face(path):
        tokenizer = Tokenizer.from_file(str(path))
    else:
        try:
            of_keras_hub = keras_hub.tokenizers.Tokenizer.from_preset(preset)
        except Exception as error:  # The class of the error depends on the kind of tokenizer.
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SpaceError(
                f"A preset must contain its tokenizer; loading the tokenizer of {preset!r} gave"
                f" {type(error).__name__}: {first}"
            ) from error
        tokenizer = from_keras_hub(of_keras_hub, preset=preset)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / TOKENIZER))


if __name__ == "__main__":
    main(*sys.argv[1:])
