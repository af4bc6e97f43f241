"""The model card of an export, `README.md`: Markdown with the fields of Hugging Face's model cards
in its front matter.
"""

from __future__ import annotations

import json
from pathlib import Path

from tuning.confirmation.rounds import MIN_ROUNDS
from tuning.evaluation.statistics import interval_text
from tuning.evaluation.test_split import BEST, named_entries
from tuning.export.manifest import FullManifest
from tuning.inference.runtimes import TOKEN_IDS
from tuning.results import escape_markdown
from tuning.spaces.hyperparameters import value_text

CARD_SCORES = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")
TAGS = {"model.keras": "keras", "model.onnx": "onnx", "model.tflite": "tflite"}

# How to load each form, run from the export's own folder.
SNIPPETS = {
    "keras": (
        """import keras
import tensorflow as tf

model = keras.models.load_model("model.keras")
print(model.predict_on_batch(tf.constant(["I love it", "It broke after a day"])))"""
    ),
    "saved_model": (
        """import tensorflow as tf

signatures = tf.saved_model.load("saved_model").signatures
print(signatures["serving_default"](text=tf.constant(["I love it"]))["probabilities"])
print(signatures["classify"](text=tf.constant(["I love it"])))  # label, probability"""
    ),
    "h5": (
        """import keras
import numpy as np
from tokenizer import load_tokenizer

tokenize, model = load_tokenizer("."), keras.models.load_model("model.h5", compile=False)
print(model.predict_on_batch(np.array(tokenize(["I love it", "It broke after a day"]), dtype=np.int32)))"""
    ),
    "onnx": (
        """import numpy as np
import onnxruntime
from tokenizer import load_tokenizer

tokenize, session = load_tokenizer("."), onnxruntime.InferenceSession("model.onnx")
ids = np.array(tokenize(["I love it", "It broke after a day"]), dtype=np.int32)
print(session.run(["probabilities"], {"ids": ids})[0])"""
    ),
    "litert": (
        """import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tokenizer import load_tokenizer

tokenize, classify = load_tokenizer("."), Interpreter("FILE").get_signature_runner("serving_default")
for row in tokenize(["I love it", "It broke after a day"]):  # one text at a time
    print(classify(ids=np.array([row], dtype=np.int32))["probabilities"])"""
    ),
}
PACKAGES = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "ai-edge-litert",
}


def model_card(manifest: FullManifest) -> str:
    """The card of an export from its manifest: what it is, how good, how it was found, how to load
    each form.
    """
    parts = [
        _front_matter(manifest),
        _head(manifest),
        _uses(manifest),
        _data(manifest),
        _evaluation(manifest),
        _search(manifest),
    ]
    return "\n".join([*parts, _forms(manifest), _loading(manifest), _end()])


def _front_matter(manifest: FullManifest) -> str:
    """YAML; strings are written as JSON, which YAML takes."""
    tags = [tag for name, tag in TAGS.items() if name in manifest.forms]
    best = manifest.scores[BEST].test
    metrics = [
        line
        for name in ("accuracy", "f1")
        if (value := best[name]) is not None
        for line in (
            f"    - type: {name}",
            f"      value: {value:.4f}",
            f"      name: {_quoted('Test ' + name)}",
        )
    ]
    lines = [
        "license: unknown  # that of the data and of this model is yours to fill in",
        "library_name: keras",
        "pipeline_tag: text-classification",
        f"tags: {json.dumps(['text-classification', *tags])}",
        "metrics: [accuracy, f1]",
        "model-index:",
        f"- name: {_quoted(manifest.study)}",
        "  results:",
        "  - task:",
        "      type: text-classification",
        "    dataset:",
        f"      name: {_quoted(_data_name(manifest))}",
        f"      type: {_quoted(_data_name(manifest))}",
        "      split: test",
        "    metrics:",
        *metrics,
    ]
    return "\n".join(["---", *lines, "---"])


def _data_name(manifest: FullManifest) -> str:
    """What the data are called; of an absolute path the last part, since a card travels."""
    data = manifest.data
    return Path(data).name if Path(data).is_absolute() else data


def _quoted(text: str) -> str:
    return json.dumps("".join(c if c.isprintable() else "?" for c in text), ensure_ascii=False)


def _head(manifest: FullManifest) -> str:
    names = ", ".join(escape_markdown(name) for name in manifest.class_names)
    return f"""# {escape_markdown(manifest.study)}: a text classifier

It sorts texts into {names}. Export {manifest.export_number} of the study, of {manifest.created}: trial {manifest.trial} of
the search space `{manifest.space}`, trained again with seed {manifest.seed}. `export.json` holds all that is said here and more, with
the SHA-256 of each file; it was written last, so where it is, the export is whole.
"""


def _uses(manifest: FullManifest) -> str:
    inputs = manifest.input
    end = "beginning" if inputs.truncating == "pre" else "end"
    limits = [
        f"A text of more than {inputs.sequence_length} words loses its {end}.",
        (
            f"It knows {inputs.vocab_size - 2:,} words, those most frequent in the training"
            " split; all others are one unknown word to it."
        ),
        (
            "Words end at white space; case and punctuation of ASCII are dropped. A language that"
            " writes no spaces is one unknown word."
        ),
        (
            "Its probabilities are as well calibrated as the table below says, on texts like those"
            " it was trained on; elsewhere nobody knows."
        ),
        *(escape_markdown(limit) for limit in manifest.limits),
    ]
    listed = "\n".join(f"- {limit}" for limit in limits)
    return f"""## Intended use
To sort texts of the same kind and language as its training data, one label a text. It was not tested on others, nor for differences between
groups of writers, and should not decide about people by itself.

## Limits
{listed}
"""


def _data(manifest: FullManifest) -> str:
    n_rows, card = manifest.n_rows, manifest.data_card
    shares = " ".join(
        f"{escape_markdown(name)} {count:,},"
        for name, count in zip(manifest.class_names, card.class_counts["train"], strict=True)
    ).rstrip(",")
    lengths = card.length_percentiles
    return f"""## Data
{escape_markdown(_data_name(manifest))}, fingerprint `{manifest.data_fingerprint}`: {n_rows["train"]:,} texts for training,
{n_rows["validation"]:,} for validation, {n_rows["test"]:,} for the test; stratified, no text in two of them. The training texts: {shares}.
Half of all texts have {lengths["50"]} words or fewer, 95 % have {lengths["95"]} or fewer. The final model is trained on training and
validation texts together.

Licence of the data: not known to this program; fill it in before you pass the model on.
"""


def _evaluation(manifest: FullManifest) -> str:
    lines = []
    for name, one in named_entries(manifest).items():
        cells = [interval_text(*one.interval(score)) for score in CARD_SCORES]
        lines.append(f"| {' | '.join([name, *cells])} |")
    rows, looks = "\n".join(lines), len(manifest.test_looks)
    again = (
        ""
        if looks == 1
        else (
            f" This is look number {looks} at it: the more there are, the less its scores can be"
            " trusted."
        )
    )
    return f"""## Scores
On the test split, {manifest.n_rows["test"]:,} texts that no other command scores a model on, with 95 %
intervals of the bootstrap over them.{again}

| model | accuracy | balanced accuracy | F1 | AUC | loss | calibration error |
|---|---|---|---|---|---|---|
{rows}
"""


def _search(manifest: FullManifest) -> str:
    search, counts = manifest.search, manifest.search.n_trials
    mean = search.corrected_mean
    confirmed = "It was not confirmed on fresh seeds: a single training's value may be luck."
    if mean:
        seeds = ", ".join(search.repeats)
        value = interval_text(mean.value, mean.low, mean.high)
        role = (
            "It is the confirmed best."
            if search.is_confirmed_best
            else "It is not the confirmed best."
        )
        if search.n_shared_seeds < MIN_ROUNDS:
            role = f"Nothing is confirmed with fewer than {MIN_ROUNDS} seeds."
        confirmed = (
            f"Trained again on fresh seeds ({seeds}) it had a corrected mean of {value}. {role}"
        )
    role = " It is the baseline: every hyperparameter at its default." if search.is_baseline else ""
    hyperparameters = "\n".join(
        f"- `{name}`: {value_text(value)}"
        for name, value in sorted(manifest.hyperparameters.items())
    )
    return f"""## How it was found
By a search with Optuna's sampler `{search.sampler}` and the pruner `{search.pruner}`, seed {manifest.seed};
of its trials {counts["complete"]} are complete, {counts["pruned"]} pruned, {counts["fail"]} failed.
Trial {manifest.trial} had {manifest.metric} {search.value:.4f}.{role} {confirmed}

{hyperparameters}
- epochs: {manifest.epochs}
"""


def _forms(manifest: FullManifest) -> str:
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in form_rows(manifest))
    missing = "".join(
        f"\n`{name}` is not here: {escape_markdown(reason)}\n"
        for name, reason in manifest.left_out.items()
    )
    int8 = manifest.forms.get("model_int8.tflite")
    rounded = ""
    if int8 and int8.accuracy:
        accuracy = int8.accuracy
        change = interval_text(accuracy.change, accuracy.change_low, accuracy.change_high)
        rounded = (
            f"\nWith int8 weights the accuracy changes by {change};"
            f" {accuracy.same_label_share:.2%} of the labels stay.\n"
        )
    return f"""## Forms
Each was loaded in a fresh process with only what it needs, and compared with the trained model on {manifest.n_parity_texts:,} texts:
held-out ones, and empty, very long, foreign and broken ones. Time and memory are those of the machine that exported it, for one text
at a time; `s to start` runs until the first answer, with the import of the runtime.

| {" | ".join(FORM_COLUMNS)} |
|{"---|" * len(FORM_COLUMNS)}
{rows}
{rounded}{missing}
TensorFlow Serving itself was not run; the SavedModel's signatures are `serving_default` and `classify`, over strings `text`.
"""


FORM_COLUMNS = (
    "form",
    "takes",
    "needs",
    "MB",
    "difference",
    "ms a text",
    "s to start",
    "memory MB",
)


def form_rows(manifest: FullManifest) -> list[list[str]]:
    """One row a form, for people: `FORM_COLUMNS`."""
    return [
        [
            name,
            one.takes,
            ", ".join(PACKAGES[module] for module in one.needs),
            f"{one.bytes / 1e6:.1f}",
            f"{one.max_difference:.1e}",
            f"{one.latency_ms:.2f}",
            f"{one.first_answer_seconds:.2f}",
            f"{one.memory_mb:.0f}",
        ]
        for name, one in manifest.forms.items()
    ]


def _loading(manifest: FullManifest) -> str:
    parts = ["## How to load each\nIn this folder:"]
    for name, one in manifest.forms.items():
        snippet = SNIPPETS[one.form.removesuffix("_int8")].replace("FILE", name)
        needs = " and ".join(
            f"{PACKAGES[module]} {manifest.versions[PACKAGES[module]]}" for module in one.needs
        )
        parts.append(f"`{name}`, proven with {needs}:\n```python\n{snippet}\n```")
    if any(one.takes == TOKEN_IDS for one in manifest.forms.values()):
        parts.append(
            "`tokenizer.py` needs Python alone. In `vocabulary.txt` stand the words of ids 2, 3, …;"
            " 0 is padding, 1 unknown."
        )
    return "\n\n".join(parts) + "\n"


def _end() -> str:
    return (
        "A single output column is the probability of the second class. Classes are in the order of"
        " `class_names` in `export.json`.\n"
    )
