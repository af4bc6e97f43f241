"""The routes to which the page sends a file: the rows that come back, the limits, and what is left
of a file.
"""

import csv
import io
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from tests.servers import MANIFEST, connected, fake, served
from tuning.data.tables import KNOWN_COLUMNS
from tuning.serving import app, connections, label_file, microbatch
from tuning.targets.target import Array

BYTES, OTHER = ({"Content-Type": kind} for kind in ("application/octet-stream", "text/plain"))
ROW = b"text\ngood\n"
DIALECTS = [
    (b"text;id\ngood;1\n", "csv", ";"),
    (b"text\tid\ngood\t1", "csv", "\t"),
    ("\ufefftext,id\ngood,1".encode(), "csv", ","),
    (b"text,id\rgood,1\r", "csv", ","),
    (b'"text","id;;;"\n\ngood,1\n\n', "csv", ","),
    (b"sep=;\ntext;id\ngood;1\n", "csv", ";"),
    (b"text\tid\ngood\t1\n", "tsv", "\t"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def sent(
    client: TestClient,
    content: bytes,
    path: str = "/label",
    *,
    headers: dict[str, str] = BYTES,
    **settings: Any,
) -> Any:
    settings = {"format": "csv", "column": "text", "first": 0, **settings}
    return client.post(path, content=content, headers=headers, params=settings)


def parts_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(("content", "ending", "delimiter"), DIALECTS)
def test_rows_come_back_in_the_dialect_of_the_file(
    content: bytes, ending: str, delimiter: str, client: TestClient, folder: Path
) -> None:
    (part,) = parts_of(sent(client, content, format=ending))
    header, row = csv.reader(io.StringIO(part["lines"]), delimiter=delimiter)
    assert header == ["text", header[1], *label_file.ADDED]
    assert row == ["good", "1", "good", "0.800000", ""]
    assert list(folder.iterdir()) == []


def test_quotes_of_a_tsv_file_have_no_meaning(client: TestClient) -> None:
    content = b'id\ttext\n1\t"Good" one\n2\t"bad\n3\tgood"\n'
    (part,) = parts_of(sent(client, content, format="tsv"))
    assert [line.split("\t")[:3] for line in part["lines"].splitlines()[1:]] == [
        ["1", '"Good" one', "good"],
        ["2", '"bad', "<b>bad</b>"],
        ["3", 'good"', "good"],
    ]


def test_row_of_too_many_fields_stays_in_the_columns_of_a_tsv_file(client: TestClient) -> None:
    (part,) = parts_of(sent(client, b"text\tid\ngood\tb\tc\n", format="tsv"))
    header, row = (line.split("\t") for line in part["lines"].splitlines())
    assert len(row) == len(header)
    assert row[:2] == ["good", "b c"] and row[-1] == "line 2: 3 fields, not 2"


def test_answer_goes_on_after_the_first_rows(client: TestClient) -> None:
    content = b"text\n" + b"good\n" * 1_500 + b"bad\n"
    whole = parts_of(sent(client, content))
    assert [part["n_rows"] for part in whole] == [1_000, 501]
    assert whole[-1]["share"] == 1
    (rest,) = parts_of(sent(client, content, first=1_000))
    assert rest == whole[1]
    assert rest["labels"] == {"good": 500, "<b>bad</b>": 1}


def test_labels_that_are_formulas_get_an_apostrophe() -> None:
    application = app.make_app(fake, replace(MANIFEST, class_names=["=1+1", "-1"]))
    with TestClient(application, base_url="http://127.0.0.1") as client:
        (part,) = parts_of(sent(client, b"text\nbad\ngood\n"))
    assert [line.split(",")[1] for line in part["lines"].splitlines()[1:]] == ["'=1+1", "-1"]


@pytest.mark.parametrize(
    ("path", "content", "settings", "status", "named"),
    [
        ("/columns", ROW, {"headers": OTHER}, 415, "application/octet-stream"),
        ("/columns", ROW, {"format": "parquet"}, 422, "format must be csv or tsv."),
        ("/label", ROW, {"headers": OTHER}, 415, "application/octet-stream"),
        ("/label", ROW, {"format": "../../etc/x"}, 422, "format must be csv or tsv."),
        ("/label", ROW, {"column": ""}, 422, "column"),
        *(("/label", ROW, {"first": first}, 422, "first") for first in ("-1", "²", "9" * 10)),
        ("/columns", b"", {}, 422, "The file must be comma-separated with a header line"),
        ("/columns", b"text\n", {}, 422, "The file must have a header and at least one row."),
        ("/columns", b"\xff\n1\n", {}, 422, "The file must be UTF-8"),
    ],
)
def test_wrong_request_is_refused_and_leaves_no_file(
    path: str,
    content: bytes,
    settings: dict[str, Any],
    status: int,
    named: str,
    client: TestClient,
    folder: Path,
) -> None:
    answer = sent(client, content, path, **settings)
    assert (answer.status_code, named in answer.json()["detail"]) == (status, True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("trained_on", "header", "column", "absent"),
    [
        ("my body", b"id,text,my body", "my body", ""),
        ("my body", b"my body ,text", "my body ", ""),
        ("my body", b"id,text", None, "my body"),
        (None, b"id,id,text", "text", ""),
        (None, b"id,other", None, " or ".join(KNOWN_COLUMNS["text"])),
    ],
)
def test_column_of_the_training_data_is_chosen(
    trained_on: str | None, header: bytes, column: str | None, absent: str
) -> None:
    application = app.make_app(fake, replace(MANIFEST, text_column=trained_on))
    with TestClient(application, base_url="http://127.0.0.1") as client:
        answer = sent(client, header + b"\n1,2\n", "/columns").json()
    assert (answer["column"], absent in answer["problem"]) == (column, True)


def test_column_that_the_file_lacks_is_one_sentence(client: TestClient) -> None:
    (part,) = parts_of(sent(client, b"id,text\n1,good\n", column="body"))
    assert part == {"detail": "column must be one of id, text; received 'body'."}


def test_column_that_the_file_has_twice_is_one_sentence(client: TestClient) -> None:
    (part,) = parts_of(sent(client, b"text,text\n1,good\n"))
    assert part["detail"].startswith("The file must name each column once; 'text' occurs")


def test_large_file_is_refused_and_removed(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_file, "MAX_FILE", 1_000)
    answer = sent(client, b"text\n" + b"good\n" * 900)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert "1,000 bytes" in answer.json()["detail"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("place", ["missing", "full"])
def test_file_that_can_not_be_stored_is_a_sentence(
    place: str, client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(suffix: str) -> IO[bytes]:
        return Path("/dev/full").open("wb")

    if place == "missing":
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    else:
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    for _ in range(label_file.MAX_FILES + 1):
        answer = sent(client, ROW)
        assert (answer.status_code, answer.headers["connection"]) == (507, "close")
        assert answer.json()["detail"].startswith("The server could not store the file: No s")


def test_file_may_be_larger_than_another_body(client: TestClient) -> None:
    content = b"text\n" + b'"' + b" " * 5_000_000 + b'"\ngood\n'
    parts = parts_of(sent(client, content))
    assert sum(part["labels"].get("good", 0) for part in parts) == 1


def test_rows_wait_while_too_many_texts_wait(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_file, "SECONDS_UNTIL_AGAIN", 0.05)
    monkeypatch.setattr(microbatch, "MAX_REQUESTS", 0)
    timer = threading.Timer(0.3, lambda: monkeypatch.setattr(microbatch, "MAX_REQUESTS", 9))
    timer.start()
    (part,) = parts_of(sent(client, ROW))
    timer.join()
    assert part["labels"] == {"good": 1}


def head(length: int) -> bytes:
    return (
        b"POST /label?format=csv&column=text&first=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % length
    )


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_files_beyond_the_limit_are_refused_until_a_client_leaves(folder: Path) -> None:
    """A client that leaves while it sends leaves no file, and its place is free again."""
    with served(app.make_app(fake, MANIFEST)) as address:
        senders = [connected(address) for _ in range(label_file.MAX_FILES)]
        for sender in senders:
            sender.sendall(head(100) + b"text\n")
        assert until(lambda: len(list(folder.iterdir())) == label_file.MAX_FILES)
        url = f"{address}/label?format=csv&column=text&first=0"
        answer = httpx.post(url, content=ROW, headers=BYTES)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        for sender in senders:
            sender.close()
        assert until(lambda: not list(folder.iterdir()))
        assert httpx.post(url, content=ROW, headers=BYTES).status_code == 200


def test_labeling_ends_when_the_client_reads_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(connections, "READ_SECONDS", 0.5)
    content = b"text,note\n" + (b"good," + "é".encode() * 100_000 + b"\n") * 40
    with served(app.make_app(fake, MANIFEST)) as address, connected(address) as reader:
        reader.sendall(head(len(content)) + content)
        assert until(lambda: bool(list(folder.iterdir())))
        assert until(lambda: not list(folder.iterdir()))


def test_labeling_ends_when_the_client_leaves(folder: Path) -> None:
    sizes: list[int] = []
    is_gone = threading.Event()

    def slow(texts: Sequence[str]) -> Array:
        sizes.append(len(texts))
        if len(sizes) == 2:
            is_gone.wait(20)
        return fake(texts)

    content = b"text\n" + b"good\n" * 20_000
    with served(app.make_app(slow, MANIFEST)) as address:
        with connected(address) as reader:
            reader.sendall(head(len(content)) + content)
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
            assert until(lambda: len(sizes) == 2)
        is_gone.set()
        assert until(lambda: not list(folder.iterdir()))
        assert httpx.get(f"{address}/health").status_code == 200
    assert len(sizes) <= 3
