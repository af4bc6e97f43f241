"""The README of an export."""

from __future__ import annotations

from typing import Any

from tuning.looks import named_entries
from tuning.results import escape_markdown
from tuning.statistics import interval_text

README_SCORES = ("accuracy", "balanced_accuracy", "f1", "loss", "expected_calibration_error")


def folder_readme(manifest: dict[str, Any]) -> str:
    """The export's README: what it is, its scores, how to load each form."""
    lines = []
    for name, one in named_entries(manifest).items():
        cells = [interval_text(one["test"][score], *one["test_intervals"][score]) for score in README_SCORES]
        lines.append(f"| {' | '.join([name, *cells])} |")
    rows = "\n".join(lines)
    looks = len(manifest["test_looks"])
    again = "" if looks == 1 else f" This is look number {looks} at it: the more there are, the less its scores can be trusted."
    n_rows, names = manifest["n_rows"], ", ".join(escape_markdown(name) for name in manifest["class_names"])
    missing = "".join(f"\n`{name}` is not here: {reason}\n" for name, reason in manifest["left_out"].items())
    limits = "".join(f"\n{limit}\n" for limit in manifest["limits"])
    hyperparameters = "\n".join(f"- `{name}`: {value}" for name, value in sorted(manifest["hyperparameters"].items()))
    h5 = (
        "\n`model.h5` takes token ids, int32 (batch, length): `vocabulary.txt` holds the words of ids 2, 3, …; 0 is padding, 1 unknown.\n"
        if "model.h5" in manifest["forms"]
        else ""
    )
    return f"""# {manifest["study"]}: a text classifier

It sorts texts into {names}. Tuned on {escape_markdown(manifest["data"])} with the space `{manifest["space"]}`, then trained on its
train and validation splits ({n_rows["train"] + n_rows["validation"]:,} texts) with seed {manifest["seed"]}.
Scores on the test split ({n_rows["test"]:,} texts), which no other command reads, with 95 % intervals of the bootstrap over its
texts.{again}

| model | accuracy | balanced accuracy | F1 | loss | calibration error |
|---|---|---|---|---|---|
{rows}

## Hyperparameters
{hyperparameters}
- epochs: {manifest["epochs"]}

## Use
```python
import keras
import tensorflow as tf

model = keras.models.load_model("model.keras")
print(model.predict_on_batch(tf.constant(["I love it", "It broke after a day"])))
```
```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
print(model.signatures["serving_default"](text=tf.constant(["I love it"]))["probabilities"])
```
{h5}{missing}{limits}
`export.json` holds all scores with their intervals, comparisons, confusion matrices, versions and
fingerprints; it was written last, so where it is, the export is whole.
"""
