"""Valid files, from which the fuzzers derive other files."""

import gzip

from tests.texts import make_reviews

CONFIRMATION = {
    "metric": "val_accuracy",
    "seeds": [1, 2],
    "search_seconds": 9.0,
    "budget_seconds": 3.0,
    "finalists": [
        {
            "trial": 1,
            "values": {"a": 1},
            "search_value": 0.5,
            "seconds": 1.0,
            "repeats": {"1": 0.5},
            "failures": {},
        }
    ],
}


def samples() -> dict[str, bytes]:
    """Return a valid file of each format but Parquet, of which pyarrow reads every byte."""
    frame, folder = make_reviews(12), {}
    folder["csv"] = frame.to_csv(index=False).encode()
    folder["tsv"] = frame.to_csv(index=False, sep="\t").encode()
    folder["jsonl"] = frame.to_json(orient="records", lines=True).encode()
    return {**folder, "csv.gz": gzip.compress(folder["csv"], mtime=0)}


GOOD = samples()
