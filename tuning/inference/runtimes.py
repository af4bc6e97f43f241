"""Functions that load each format of an export with its own runtime: ONNX needs no TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuning.commands import install, package_of, pip_install
from tuning.documents import unstructure
from tuning.errors import ExportError
from tuning.inputs.contract import ModelInput
from tuning.inputs.kinds import TOKENS, kinds_in, takes_raw_text
from tuning.inputs.tokenizer import encoded, make_encoders
from tuning.text import first_line

# Maximum difference of the probabilities of a pretrained encoder: padding changes how its sums are
# rounded. The difference of a tiny BERT between a text alone and in a batch was 1.3e-6.
ENCODER_TOLERANCE = 1e-4
RAW_TEXT, TOKEN_IDS = "raw text", "token ids"

Outputs = Callable[[Sequence[str]], Any]
"""A function from at least one text to the model's own output."""


@dataclass(frozen=True)
class Format:
    """A format of an exported model. `path` is its file or folder in the export; `tolerance` the
    maximum difference between its probabilities and the trained model's.
    """

    path: str
    takes: str
    needs: tuple[str, ...]
    tolerance: float


# float32 rounds differently in batches of other sizes, in Keras' own formats too: a CNN with
# n-grams, 15 outputs and high learning rates differed by 1.6e-6 on a processor with AVX-512.
TOLERANCE = 1e-5
FORMATS = {
    "keras": Format("model.keras", RAW_TEXT, ("tensorflow", "keras"), TOLERANCE),
    "saved_model": Format("saved_model", RAW_TEXT, ("tensorflow",), TOLERANCE),
    "h5": Format("model.h5", TOKEN_IDS, ("tensorflow", "keras"), TOLERANCE),
    "onnx": Format("model.onnx", TOKEN_IDS, ("onnxruntime",), TOLERANCE),
}


def format_of(format_name: str, inputs: ModelInput) -> Format:
    known = FORMATS[format_name]
    if not takes_raw_text(inputs):
        known = replace(known, takes=TOKEN_IDS)
    if not inputs.preset:
        return known
    needs = known.needs
    if not inputs.takes_texts:
        # Keras loads the encoder with KerasHub.
        keras_hub = ("keras_hub",) if "keras" in needs else ()
        needs = (*needs, *keras_hub, "tokenizers")
    return replace(known, needs=needs, tolerance=ENCODER_TOLERANCE)


def vocabularies(inputs: ModelInput) -> list[str]:
    return [kind.file for kind in kinds_in(inputs) if kind.file]


def load_format(folder: Path, format_name: str, *, inputs: ModelInput) -> Outputs:
    known, tokenizer = format_of(format_name, inputs), None
    path = folder / known.path
    if "tokenizers" in known.needs:
        _runtime("tokenizers")
    if known.takes == TOKEN_IDS:
        tokenizer = Tokenizer(folder, inputs)
    if format_name == "saved_model":
        return _load_saved_model(path, tokenizer)
    if tokenizer is None or format_name in ("keras", "h5"):
        return _load_keras(path, tokenizer, with_keras_hub="keras_hub" in known.needs)
    return _load_onnx(path, tokenizer)


class Tokenizer:
    """The tokenizer of an export, for batches of texts. `lengths` is the maximum number of tokens
    of a text for each input of the model that has one, by its name, and `fixed` that of the inputs
    that are always padded to it.
    """

    def __init__(self, folder: Path, inputs: ModelInput) -> None:
        self._encoders = _loaded(
            lambda: make_encoders(folder, **unstructure(inputs)), folder, content="the vocabulary"
        )
        self.lengths = {
            kind.name: inputs.sequence_length for kind in kinds_in(inputs) if kind.is_cut
        }
        # A model may read the padding of token ids. An encoder computes the padding, and takes
        # texts of any length.
        self.fixed = {name: n for name, n in self.lengths.items() if name != TOKENS.name}

    def batch(
        self, texts: Sequence[str], lengths: Mapping[str, int]
    ) -> dict[str, npt.NDArray[np.int32]]:
        """Return the ids of each input, int32 (n_texts, width), with a width of `lengths` or of the
        longest text.
        """
        rows = encoded(texts, self._encoders, lengths)
        return {name: np.array(of_input, dtype=np.int32) for name, of_input in rows.items()}


def _load_keras(path: Path, tokenizer: Tokenizer | None, *, with_keras_hub: bool) -> Outputs:
    keras, tf = _runtime("keras"), _runtime("tensorflow")
    if with_keras_hub:
        _runtime("keras_hub")  # The import registers the classes of the encoder.
    model = _loaded(lambda: keras.models.load_model(path, compile=False, safe_mode=True), path)

    def run(texts: Sequence[str]) -> Any:
        if tokenizer is None:
            return model.predict_on_batch(_strings(tf, texts))
        arrays = tokenizer.batch(texts, tokenizer.fixed)
        return model.predict_on_batch(arrays if len(arrays) > 1 else next(iter(arrays.values())))

    return run


def _strings(tf: Any, texts: Sequence[str]) -> Any:
    # TensorFlow accepts no lone surrogates.
    return tf.constant([text.encode("utf-8", "replace") for text in texts])


def _load_saved_model(path: Path, tokenizer: Tokenizer | None) -> Outputs:
    tf = _runtime("tensorflow")
    loaded = _loaded(lambda: tf.saved_model.load(str(path)), path)
    serve = _loaded(lambda: loaded.signatures["serving_default"], path)

    def run(texts: Sequence[str]) -> Any:
        if tokenizer is None:
            return _only(serve(text=_strings(tf, texts))).numpy()
        arrays = tokenizer.batch(texts, tokenizer.fixed)
        return _only(serve(**{name: tf.constant(ids) for name, ids in arrays.items()})).numpy()

    return run


def _load_onnx(path: Path, tokenizer: Tokenizer) -> Outputs:
    ort = _runtime("onnxruntime")
    options = ort.SessionOptions()
    options.inter_op_num_threads = 1
    session = _loaded(
        lambda: ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), path
    )
    # The dimension is a name if the padding does not change the output.
    shapes = {node.name: node.shape[1] for node in session.get_inputs()}
    lengths = {name: n for name, n in shapes.items() if isinstance(n, int)}
    return lambda texts: session.run(None, tokenizer.batch(texts, lengths))[0]


def _only(outputs: Mapping[str, Any]) -> Any:
    (output,) = outputs.values()
    return output


def _runtime(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package_of(module)
        is_extra = module in ("keras_hub", "tokenizers")
        command = install("pretrained") if is_extra else pip_install(package)
        raise ExportError(
            f"This format needs the package {package}; importing {module} gave: {error}. Type"
            f" `{command}`."
        ) from error


def _loaded(load_it: Callable[[], Any], path: Path, *, content: str = "a model") -> Any:
    try:
        return load_it()
    except Exception as error:  # The runtimes raise different errors; onnxruntime's is Exception.
        raise ExportError(
            f"{path} must be {content} of this export; loading {path.name} gave:"
            f" {first_line(error)}"
        ) from error
