"""Whatever comes in: a clear error, and the server goes on."""

import json
import socket

import pytest

from conftest import DATA

GENERATE = "POST /generate HTTP/1.1\r\nHost: x\r\n"


def raw(server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(4096):
            received += part
        return received


@pytest.mark.parametrize("data", [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/7.3\r\n\r\n",
    b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nContent-Length: many\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    bytes(range(256)) + b"\r\n\r\n",
])
def test_malformed_http(server, data):
    assert raw(server, data).startswith(b"HTTP/1.1 400 ")


def test_large_bodies_are_refused_unread(server):
    reply = raw(server, GENERATE.encode() + b"Content-Length: 99999999999\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"max-body-size" in reply


def test_large_headers_are_refused(server):
    reply = raw(server, b"GET /health HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 431 ")


BAD_BODIES = [
    (b"", "empty"),
    (b"{", "not valid JSON at line 1"),
    (b'{"text": "a",\n}', "line 2"),
    (b"[1, 2]", "JSON object"),
    (b'{"text": "\xff"}', "not valid JSON"),
    (b'{"text": "\\ud800"}', "not valid JSON"),
    (b'{"text": ' + b"[" * 50_000, "not valid JSON"),
    (b"{}", "text or input_ids"),
    (b'{"text": 5}', "text"),
    (b'{"text": ""}', "empty"),
    (b'{"input_ids": [0.5]}', "input_ids"),
    (b'{"input_ids": [1000000]}', "vocabulary"),
    (b'{"input_ids": []}', "empty"),
    (b'{"text": "a", "sampling_params": []}', "sampling_params"),
    (b'{"text": "a", "sampling_params": {"temperature": "hot"}}', "sampling_params.temperature"),
    (b'{"text": "a", "sampling_params": {"max_new_tokens": -1}}', "max_new_tokens"),
    (b'{"text": "a", "sampling_params": {"max_new_tokens": 1e99}}', "max_new_tokens"),
    (b'{"text": "a", "sampling_params": {"n": 1000}}', "n must be"),
    (b'{"text": "a", "sampling_params": {"logit_bias": {"x": 1}}}', "logit_bias"),
    (b'{"text": "a", "sampling_params": {"json_schema": "{}"}}', "constrained"),
    (json.dumps({"text": "a", "sampling_params": {"stop": ["x" * 9000, "y" * 9000]}}).encode(), "stop"),
    (b'{"text": ["a", "b"], "lora_path": ["r8"]}', "lora_path"),
    (b'{"text": "a", "lora_path": "nobody"}', "nobody"),
    (json.dumps({"text": "a " * 1000}).encode(), "maximum context length"),
]


def bad_post(server, body: bytes):
    return server.post("/generate", data=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("body, word", BAD_BODIES, ids=[b[:40].decode("latin-1") for b, _ in BAD_BODIES])
def test_bad_bodies_name_the_cause(server, body, word):
    reply = bad_post(server, body)
    assert reply.status_code == 400
    assert word in reply.json()["error"]["message"]


def test_unknown_paths_and_methods(server):
    assert server.get("/nothing/here").status_code == 404
    assert server.get("/generate").status_code == 405
    assert "POST" in server.get("/generate").headers["Allow"]


def refused_adapters():
    return sorted(path.name for path in (DATA / "adapters-refused").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", refused_adapters())
def test_bad_adapters_are_refused_with_a_reason(server, name):
    reply = server.post("/load_lora_adapter",
                        {"lora_name": "bad", "lora_path": str(DATA / "adapters-refused" / name)})
    assert reply.status_code == 400
    answer = reply.json()
    assert answer["success"] is False
    assert len(answer["error_message"]) > 20
    assert "bad" not in answer["loaded_adapters"]


def test_a_thousand_bad_requests_leave_nothing_behind(server):
    def round_of_bad(count):
        for i in range(count):
            body, _ = BAD_BODIES[i % len(BAD_BODIES)]
            if i % 10 == 9:
                raw(server, b"GARBAGE\r\n\r\n")
            elif i % 10 == 8:
                server.post("/load_lora_adapter", {"lora_name": "bad", "lora_path": "/nowhere"})
            else:
                bad_post(server, body)

    round_of_bad(200)  # Caches and pools have grown to their size.
    files, memory = server.open_files(), server.settled_resident_bytes()
    round_of_bad(1000)
    assert server.open_files() <= files + 8
    assert server.resident_bytes() <= memory + 16 * 2**20
    reply = server.post("/generate", {"text": "hello", "sampling_params": {"max_new_tokens": 2}})
    assert reply.status_code == 200
