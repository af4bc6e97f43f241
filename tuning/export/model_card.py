"""The model card of an export, `README.md`: Markdown with the fields of Hugging Face's model cards
in its front matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tuning.commands import package_of
from tuning.config import weights_text
from tuning.confirmation.record import MIN_SEEDS
from tuning.evaluation.statistics import interval_text
from tuning.evaluation.test_split import (
    BEST,
    ensemble_sentences,
    interval_sentences,
    named_entries,
    threshold_sentences,
)
from tuning.export.manifest import FullManifest, MeasuredFormat
from tuning.inference.runtimes import FORMATS, TOKEN_IDS
from tuning.inputs.kinds import kinds_in, takes_raw_text
from tuning.metrics import metric_text
from tuning.spaces.ranges import value_text
from tuning.templates import render
from tuning.text import visible

TAGS = {"model.keras": "keras", "model.onnx": "onnx"}
HUB_METRICS = ("accuracy", "f1")  # Metrics whose names the Hugging Face Hub knows.
FORMAT_COLUMNS = (
    "format",
    "input",
    "needs",
    "MB",
    "difference",
    "ms per text",
    "start, s",
    "memory, MB",
)


def format_rows(manifest: FullManifest) -> list[list[str]]:
    return [
        [
            name,
            measured.takes,
            ", ".join(map(package_of, measured.needs)),
            f"{measured.bytes / 1e6:.1f}",
            f"{measured.max_difference:.1e}",
            f"{measured.latency_ms:.2f}",
            f"{measured.first_answer_seconds:.2f}",
            f"{measured.memory_mb:.0f}",
        ]
        for name, measured in manifest.forms.items()
    ]


def model_card(manifest: FullManifest) -> str:
    return render("tuning.export", "model_card.md", **_context(manifest))


def _context(manifest: FullManifest) -> dict[str, Any]:
    formats, metrics = manifest.forms, manifest.target.listed_metrics(manifest.metric)
    return {
        **vars(manifest),
        "target": manifest.target,
        "drawn": manifest.drawn,
        "front_matter": _front_matter(manifest),
        "data_name": _data_name(manifest),
        "weights": weights_text(manifest.weight_column, manifest.class_weight),
        "train_counts": list(
            zip(manifest.class_names, manifest.data_card.class_counts["train"], strict=True)
        ),
        "metrics": [metric.label for metric in metrics],
        "score_rows": [
            [name, *(interval_text(*entry.interval(m.name)) for m in metrics)]
            for name, entry in named_entries(manifest).items()
        ],
        "min_seeds": MIN_SEEDS,
        "interval_text": interval_text,
        "metric_text": metric_text,
        "value_text": lambda value: value_text(_without_folders(value)),
        "format_columns": FORMAT_COLUMNS,
        "format_rows": format_rows(manifest),
        "loading": [
            (
                name,
                _snippet(measured),
                # The versions are those of the parity check.
                [f"{each} {manifest.versions[each]}" for each in map(package_of, measured.needs)],
            )
            for name, measured in formats.items()
        ],
        "takes_raw_text": takes_raw_text(manifest.input),
        "input_names": [kind.name for kind in kinds_in(manifest.input)],
        "ensemble_sentences": ensemble_sentences(manifest),
        "threshold_sentences": threshold_sentences(manifest),
        "interval_sentences": interval_sentences(manifest),
        "has_token_ids": any(measured.takes == TOKEN_IDS for measured in formats.values()),
    }


def _front_matter(manifest: FullManifest) -> str:
    """Return the front matter as YAML, without the license, which has a comment."""
    test = manifest.scores[BEST].test
    data_name = visible(_data_name(manifest))
    metrics = [
        {"type": name, "value": round(value, 4), "name": f"Test {name}"}
        for name in HUB_METRICS
        if (value := test.get(name)) is not None
    ]
    result = {
        "task": {"type": "text-classification"},
        "dataset": {"name": data_name, "type": data_name, "split": "test"},
        "metrics": metrics,
    }
    tags = [tag for name, tag in TAGS.items() if name in manifest.forms]
    fields = {
        "library_name": "keras",
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", *tags],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": visible(manifest.study), "results": [result]}],
    }
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _data_name(manifest: FullManifest) -> str:
    return str(_without_folders(manifest.data))


def _without_folders(value: object) -> object:
    # An absolute path names folders of this machine, and cards are copied.
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _snippet(measured: MeasuredFormat) -> str:
    """Return the name of the code that loads a format."""
    name = measured.form
    return name if measured.takes == FORMATS[measured.form].takes else f"{name}_of_ids"
