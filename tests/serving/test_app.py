"""The server: its contract over a fake model, its own OpenAPI schema, and the page in a browser."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import keras
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from tests.export.models import Reviews, spread, write_formats
from tests.servers import MANIFEST, address_of, connected, fake, served, serving
from tests.serving.hostile import HOSTILE, WRONG_BODIES
from tests.texts import make_reviews, splits_of
from tuning.documents import write
from tuning.errors import ServeError
from tuning.export.writers import Source
from tuning.inference.load import load_fastest
from tuning.inference.manifest import digests
from tuning.inputs.corpus import build_corpus
from tuning.serving import app, limits
from tuning.serving.limits import MAX_BODY
from tuning.targets.target import Array

N_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
CLASSES = ["negative", "positive"]


def detail(answer: httpx.Response) -> str:
    """Check that a refusal is one sentence without a traceback, and return its message."""
    sentence = answer.json()["detail"]
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return str(sentence)


@pytest.mark.parametrize(
    ("changes", "output", "expected"),
    [
        (
            {},
            [0.2, 0.8],
            {
                "label": "good",
                "probability": 0.8,
                "probabilities": {"<b>bad</b>": 0.2, "good": 0.8},
            },
        ),
        (
            {"predicts": "order", "class_names": ["1", "2", "3"]},
            [0.4, 0.3, 0.3],
            {"label": "2", "probability": 0.3, "probabilities": {"1": 0.4, "2": 0.3, "3": 0.3}},
        ),
        (
            {"predicts": "labels", "class_names": ["a", "b"], "thresholds": (0.3, 0.9)},
            [0.4, 0.8],
            {"label": "a", "probability": 0.08, "probabilities": {"a": 0.4, "b": 0.8}},
        ),
        (
            {"predicts": "number", "class_names": [], "margin": 2.5},
            [1_738_270.0],
            {
                "label": 1_738_270.0,
                "probability": None,
                "probabilities": {},
                "low": 1_738_267.5,
                "high": 1_738_272.5,
            },
        ),
    ],
    ids=["classes", "order", "labels", "number"],
)
def test_answer_is_that_of_the_kind_of_labels(
    changes: dict[str, Any], output: list[float], expected: dict[str, Any]
) -> None:
    def model(texts: Sequence[str]) -> Array:
        return np.tile(output, (len(texts), 1))

    manifest = replace(MANIFEST, **changes)
    made = app.make_app(model, manifest)
    with TestClient(made, base_url="http://localhost") as client:
        predicted = client.post("/predict", json={"texts": ["so good"]}).json()
    assert predicted == {
        "predictions": [{"low": None, "high": None} | expected],
        "export": {"study": "s", "created": "2026-01-01T00:00:00+00:00"},
    }


@pytest.mark.parametrize(("body", "sentence"), WRONG_BODIES)
def test_wrong_body_is_refused_in_one_sentence(
    body: bytes, sentence: str, client: TestClient
) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert sentence in detail(answer)
    assert len(answer.text) < 300
    assert client.post("/predict", json={"texts": ["good"]}).status_code == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_body_that_a_web_page_can_send_unasked_is_refused(
    kind: str | None, client: TestClient
) -> None:
    answer = client.post(
        "/predict", content=b'{"texts":["good"]}', headers={"Content-Type": kind} if kind else {}
    )
    assert answer.status_code == 422
    assert "body" in detail(answer)


def test_large_body_is_refused_by_its_length_or_before_it_is_whole(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 2**20

    headers = {"Content-Type": "application/json"}
    answer = client.post("/predict", content=b" " * (MAX_BODY + 1), headers=headers)
    assert answer.status_code == 413
    assert "at most 4,194,304 bytes" in detail(answer)
    answer = client.post("/predict", content=chunks(), headers=headers)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413


def sent_by(receive: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Return what the application sends for a request to /predict whose body comes as given."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await app.make_app(fake, MANIFEST)({**scope, "query_string": b""}, receive, send)

    asyncio.run(run())
    return sent


def test_body_that_ends_with_its_connection_is_not_used() -> None:
    whole = {"type": "http.request", "body": b"{", "more_body": True}
    messages = iter([whole, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    assert sent_by(receive) == []


def test_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"{", "more_body": True}

    assert sent_by(receive)[0]["status"] == 408


def test_half_sent_requests_leave_the_others_their_answers() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
    with served(app.make_app(fake, MANIFEST)) as address, contextlib.ExitStack() as stack:
        for n in range(300):
            stack.enter_context(connected(address)).sendall(head + b"\r\n{" * (n % 2))
        answers = [
            httpx.post(f"{address}/predict", json={"texts": ["good"]}, timeout=5) for _ in range(20)
        ]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("host", "alone", "opened"),
    [
        *((host, 403, 403) for host in ("evil.example:80", "127.0.0.1.example", "localhost.", "")),
        *((host, 403, 200) for host in ("my.name", "192.168.0.7:80", "[fe80::1]:80")),
        *((host, 200, 200) for host in ("LOCALHOST:8000", "127.0.1.1:8000", "[::1]", "[::1]:8000")),
    ],
)
def test_request_under_another_name_is_refused(
    host: str, alone: int, opened: int, client: TestClient
) -> None:
    """An open server takes all addresses and the names that it was given. A host name of this
    machine may resolve to any address of loopback.
    """
    names = {"localhost", "my.name"}
    of_all = TestClient(app.make_app(fake, MANIFEST, hosts=names, any_address=True))
    for path in ("/", "/health", "/openapi.json"):
        for server, status in ((client, alone), (of_all, opened)):
            answer = server.get(path, headers={"Host": host})
            assert answer.status_code == status
            assert status == 200 or "another host" in detail(answer)


def test_health_is_answered_while_the_model_has_as_many_texts_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "MAX_WAITING", 1)
    working, may_end = threading.Event(), threading.Event()

    def slow(texts: Sequence[str]) -> Array:
        working.set()
        assert may_end.wait(20)
        return fake(texts)

    async def ask() -> tuple[int, int, int]:
        transport = httpx.ASGITransport(app.make_app(slow, MANIFEST))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            request_task = asyncio.create_task(client.post("/predict", json={"texts": ["good"]}))
            await asyncio.to_thread(working.wait, 20)
            further = (await client.post("/predict", json={"texts": ["good"]})).status_code
            health = (await client.get("/health")).status_code
            may_end.set()
            return further, health, (await request_task).status_code

    assert asyncio.run(ask()) == (503, 200, 200)


def test_more_texts_than_may_wait_are_turned_away(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_WAITING", 2)
    answer = client.post("/predict", json={"texts": ["a"] * 3})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/predict", json={"texts": ["a"]}).status_code == 200


def test_text_for_which_the_model_gives_no_number_is_refused() -> None:
    def nan(texts: Sequence[str]) -> Array:
        return np.full((len(texts), 2), np.nan)

    with TestClient(app.make_app(nan, MANIFEST), base_url="http://localhost") as client:
        answer = client.post("/predict", json={"texts": ["!!"]})
    assert answer.status_code == 422
    assert "gives NaN" in detail(answer)


def test_model_that_fails_is_no_end_of_the_server() -> None:
    def broken(texts: Sequence[str]) -> Array:
        if "break" in texts:
            raise RuntimeError("of the model")
        return fake(texts)

    with TestClient(
        app.make_app(broken, MANIFEST), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        answer = client.post("/predict", json={"texts": ["break"]})
        assert answer.status_code == 500
        assert "of the model" not in answer.text
        assert client.post("/predict", json={"texts": ["good"]}).status_code == 200


def test_page_loads_nothing_and_is_locked(client: TestClient) -> None:
    answer = client.get("/")
    assert re.findall(r"<\w[^>]*\s(?:src|style|on\w+)=", answer.text) == []
    assert re.findall(r'<\w[^>]*\shref="(?!/)', answer.text) == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def api() -> schemathesis.BaseSchema:
    statuses = [400, 413, 422]  # 413: the examples may be very long
    checks = {"negative_data_rejection": {"expected-statuses": statuses}}
    config = schemathesis.Config.from_dict({"checks": checks})
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app.make_app(fake, MANIFEST, hosts={"testserver"}), config=config
    )


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("GET", "/health")])
def test_answers_are_those_of_the_schema(
    method: str, path: str, mode: GenerationMode, api: schemathesis.BaseSchema
) -> None:
    if (path, mode) == ("/health", GenerationMode.NEGATIVE):
        pytest.skip("it takes nothing that could be wrong")

    @given(api[path][method].as_strategy(mode))
    @settings(max_examples=N_EXAMPLES, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate()

    check()


def test_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServeError, match="port"):
            app.listen("127.0.0.1", taken.getsockname()[1])


@pytest.fixture(scope="module")
def process(onnx_export: Path) -> Iterator[subprocess.Popen[str]]:
    with serving(onnx_export) as started:
        yield started
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
        assert started.stderr and "Traceback" not in started.stderr.read()


@pytest.fixture(scope="module")
def address(process: subprocess.Popen[str]) -> str:
    return address_of(process)


def raw_answer(address: str, data: bytes) -> bytes:
    """Return the bytes that the server sends for these bytes, until it closes the connection or
    sends nothing more.
    """
    with connected(address) as connection:
        with contextlib.suppress(ConnectionError):  # it may hang up before it has read all
            connection.sendall(data)
        connection.settimeout(1)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        return answer


@pytest.mark.slow
@pytest.mark.parametrize(("data", "status"), HOSTILE.values(), ids=HOSTILE)
def test_process_refuses_a_hostile_request(
    data: bytes, status: int, process: subprocess.Popen[str], address: str
) -> None:
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", raw_answer(address, data))
    assert statuses == [b"%d" % status]
    assert httpx.post(f"{address}/predict", json={"texts": ["good film"]}).status_code == 200
    assert process.poll() is None


def model_of_texts() -> keras.Model:
    """Return an untrained model that takes texts, whose probabilities differ between texts."""
    vocabulary = ["good", "bad", "film"]
    words = keras.layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=6)
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            words,
            keras.layers.Embedding(5, 3),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    return spread(model)


def texts_of(number: int) -> list[str]:
    """Return the texts of a request; their number differs between requests."""
    return [f"a {('good', 'bad', 'fine')[n % 3]} film {number}!" for n in range(number % 7 + 1)]


@pytest.mark.journey
def test_process_serves_the_formats_of_a_model_that_takes_texts(tmp_path: Path) -> None:
    """The second server has the SavedModel alone, as an export of a model with own layers has."""
    texts = make_reviews(60)["review_body"].tolist()
    splits = splits_of(texts[:40], texts[40:50], texts[50:])
    corpus = build_corpus(tmp_path / splits.fingerprint, splits)
    folder = tmp_path / "best"
    folder.mkdir()
    source = Source(model_of_texts(), {}, corpus, corpus.target)
    written = write_formats(folder, source, Reviews(splits, corpus))
    assert [*written.forms] == ["model.keras", "saved_model"]
    for forms in (written.forms, {"saved_model": written.forms["saved_model"]}):
        manifest = replace(
            MANIFEST, class_names=CLASSES, input=source.inputs, forms=forms, files=digests(folder)
        )
        write(folder / "export.json", manifest, version=2)
        with serving(folder) as started:
            address = address_of(started)

            def ask(number: int, address: str = address) -> httpx.Response:
                body = {"texts": texts_of(number)}
                return httpx.post(f"{address}/predict", json=body, timeout=60)

            with ThreadPoolExecutor(8) as clients:
                predicted = [*clients.map(ask, range(40))]
            started.send_signal(signal.SIGTERM)
            assert started.wait(20) == 0
            assert started.stderr
            assert started.stderr.read() == ""
        probabilities = load_fastest(folder, manifest)
        for number, answer in enumerate(predicted):
            rows = [row["probabilities"] for row in answer.json()["predictions"]]
            values = [[row[name] for name in CLASSES] for row in rows]
            np.testing.assert_allclose(values, probabilities(texts_of(number)), atol=2e-6)
