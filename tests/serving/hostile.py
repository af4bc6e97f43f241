"""Requests that the server must refuse."""

import json

from tests.servers import HEAD
from tuning.data.stream import MAX_CHARACTERS
from tuning.serving.app import MAX_TEXTS

# Bodies of requests to `/predict`, and a part of the sentence that refuses them.
WRONG_BODIES = [
    (b"", "Field required"),
    (b"{", "JSON decode error"),
    (b'{"texts":["b\xe9"]}', "parsing the body"),
    (b"\xff\xfe\x00", "parsing the body"),
    (b'{"texts":["\\ud800"]}', "texts[0]"),
    (b"[" * 100_000, "parsing the body"),
    (b"[]", "dictionary"),
    (b"null", "dictionary"),
    (b"NaN", "dictionary"),
    (b"1" * 5_000, "parsing the body"),
    (b'"good"', "dictionary"),
    (b"{}", "texts: Field required"),
    (b'{"texts":["b"],"more":1}', "more: Extra inputs"),
    (b'{"texts":null}', "texts: Input should be a valid list"),
    (b'{"texts":[]}', "texts: List should have at least 1 item"),
    (b'{"texts":"good"}', "texts: Input should be a valid list"),
    (b'{"texts":["a",2]}', "texts[1]: Input should be a valid string"),
    (b'{"texts":["a",""]}', "texts[1]: String should have at least 1 character"),
    (b'{"texts":[' + b"1," * 10**6 + b"1]}", "texts[0]"),
    (json.dumps({"texts": ["a"] * (MAX_TEXTS + 1)}).encode(), "at most 1000 items"),
    (json.dumps({"texts": ["a" * (MAX_CHARACTERS + 1)]}).encode(), "at most 100000 characters"),
]

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /health HTTP/1.1\r\n"
HEALTH = GET + HOST + b"\r\n"
BODY = b'{"texts":["g"]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"f\r\n" + BODY + b"\r\n0\r\n\r\n"


def _get(path: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\n" % path + HOST + b"\r\n"


def _post(headers: bytes, body: bytes = BODY) -> bytes:
    return b"POST /predict HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


# The bytes of a client, and the status of the one answer.
HOSTILE = {
    # What is no HTTP/1.1.
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403),
    "every byte": (bytes(range(256)) * 4, 400),
    "zeros": (bytes(1000), 400),
    # Another host.
    "no host": (GET + b"\r\n", 400),
    "another host": (GET + b"Host: evil.example\r\n\r\n", 403),
    "user in the host": (GET + b"Host: 127.0.0.1@evil.example\r\n\r\n", 403),
    "another host second": (GET + HOST + b"Host: evil.example\r\n\r\n", 400),
    "another host first": (GET + b"Host: evil.example\r\n" + HOST + b"\r\n", 400),
    "another host, and ours as a trailer": (
        CHUNKED.replace(b"127.0.0.1", b"evil.example") + CHUNKS[:-2] + HOST + b"\r\n",
        403,
    ),
    "another host in the target": (
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        403,
    ),
    # Methods and paths.
    "CONNECT": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "DELETE": (b"DELETE /predict HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "preflight": (
        b"OPTIONS /predict HTTP/1.1\r\n" + HOST + b"Origin: http://evil.example\r\n\r\n",
        405,
    ),
    "GET of predict": (_get(b"/predict"), 405),
    "path ..": (_get(b"/../../etc/passwd"), 404),
    "path %2e%2e": (_get(b"/%2e%2e/%2e%2e/etc/passwd"), 404),
    "path //": (_get(b"//evil.example/%2f.."), 404),
    "path with backslashes": (_get(b"/..\\..\\etc\\passwd"), 404),
    "path with an escaped NUL": (_get(b"/health%00"), 404),
    "path with a NUL": (_get(b"/he\0alth"), 400),
    "path with a space": (_get(b"/he alth"), 400),
    "path in Latin-1": (_get(b"/\xff\xfe"), 400),
    "path with half an escape": (_get(b"/%zz"), 404),
    "long path": (_get(b"/" + b"a" * 70_000), 404),
    # Headers.
    "NUL in a header": (GET + HOST + b"X: a\0b\r\n\r\n", 400),
    "header without a colon": (GET + HOST + b"nonsense\r\n\r\n", 400),
    "large header": (GET + HOST + b"X: " + b"a" * 2**19 + b"\r\n\r\n", 400),
    "many headers": (GET + HOST + b"X: a\r\n" * 100_000 + b"\r\n", 400),
    # Two readings of where a request ends.
    "length and chunks": (
        _post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
        422,
    ),
    "chunks and length": (
        _post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", CHUNKS),
        422,
    ),
    "two lengths": (_post(LENGTH + b"Content-Length: 0\r\n", BODY + HEALTH), 400),
    "list of lengths": (_post(b"Content-Length: 15, 15\r\n"), 422),
    "length with a sign": (_post(b"Content-Length: +15\r\n"), 400),
    "negative length": (_post(b"Content-Length: -15\r\n"), 400),
    "length in words": (_post(b"Content-Length: minus one\r\n"), 400),
    "length that overflows": (_post(b"Content-Length: 18446744073709551631\r\n"), 413),
    "length with a space": (_post(b"Content-Length : 15\r\n"), 400),
    "unknown coding": (_post(b"Transfer-Encoding: xchunked\r\n", CHUNKS), 400),
    "two codings": (
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKS),
        400,
    ),
    "coding after chunks": (_post(b"Transfer-Encoding: chunked, gzip\r\n", CHUNKS), 400),
    "coding with a space": (_post(b"Transfer-Encoding : chunked\r\n", CHUNKS), 400),
    "chunk of no length": (CHUNKED + b"not a length\r\n", 400),
    "chunk of a negative length": (CHUNKED + b"-" + CHUNKS, 400),
    "chunk of a length in C": (CHUNKED + b"0x" + CHUNKS, 400),
    "chunk that is too long": (CHUNKED + CHUNKS.replace(b"}", b"}xx"), 400),
    # Bodies.
    "length of 100 GB": (_post(b"Content-Length: 99999999999\r\n", b""), 413),
    "request in a long body": (_post(b"Content-Length: 5000000\r\n", HEALTH), 413),
    "5 MiB in chunks": (
        CHUNKED + (b"100000\r\n" + b" " * 2**20 + b"\r\n") * 5 + b"0\r\n\r\n",
        413,
    ),
    "form": (_post(b"Content-Type: application/x-www-form-urlencoded\r\n" + LENGTH), 422),
    "content type in Latin-1": (_post(b"Content-Type: application/json\xff\r\n" + LENGTH), 422),
    "no JSON": (HEAD + b"Content-Length: 1\r\n\r\n{", 422),
}
