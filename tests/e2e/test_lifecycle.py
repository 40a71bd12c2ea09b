"""Start and stop."""

import json
import os
import pathlib
import socket
import subprocess
import threading
import time

import pytest

from weft_server import DEVICE, WeftServer, on_device, wait_for

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def test_sigterm_ends_streams_properly(start):
    server = start()
    lines = []

    def read():
        body = {"text": "hello", "stream": True,
                "sampling_params": {"max_new_tokens": 200, "ignore_eos": True, "n": 16}}
        with server.post("/generate", body, stream=True) as reply:
            lines.extend(line for line in reply.iter_lines(decode_unicode=True) if line)

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: lines or server.metric("vllm:num_requests_running") > 0, what="the stream")
    begun = time.monotonic()
    assert server.stop(seconds=30) == 0
    reader.join(timeout=5)
    assert time.monotonic() - begun < 30
    assert lines[-1] == "data: [DONE]"
    finishes = [json.loads(line[6:])["meta_info"]["finish_reason"] for line in lines[:-1]]
    assert sum(finish is not None for finish in finishes) == 16


def test_sigterm_answers_a_load_that_is_under_way(start):
    server = start("--lora-read-bandwidth", "1KiB")
    replies = []
    body = {"lora_name": "slow", "lora_path": str(DATA / "adapters/r8")}
    loader = threading.Thread(target=lambda: replies.append(server.post("/v1/load_lora_adapter", body)))
    loader.start()
    time.sleep(1)
    begun = time.monotonic()
    assert server.stop(seconds=30) == 0
    loader.join(timeout=5)
    assert time.monotonic() - begun < 10
    assert replies[0].status_code == 503
    assert "shutting down" in replies[0].text


def test_a_server_without_requests_says_what_it_has(start):
    server = start()
    [state] = server.get("/get_server_info").json()["internal_states"]
    assert state["page_bytes"] > 0
    assert 'num_gpu_blocks="0"' not in server.get("/metrics").text


def test_port_in_use_is_a_clear_error(binary, model_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = on_device(DEVICE, None, ["--port", str(port)])
        done = subprocess.run([binary, "serve", "--model-path", str(model_dir), *flags],
                              capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert "of weights" not in done.stdout + done.stderr, "found before the weights are loaded"


def test_cuda_without_a_gpu_is_a_clear_error(binary, model_dir):
    done = subprocess.run([binary, "serve", "--model-path", str(model_dir), "--device", "cuda", "--port", "0"],
                          capture_output=True, text=True, timeout=60, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 1
    assert "--device cuda" in done.stderr and "--device cpu" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(DEVICE != "cuda", reason="asks for more than a GPU has")
def test_more_kv_memory_than_the_gpu_has_is_a_clear_error(binary, model_dir):
    done = subprocess.run([binary, "serve", "--model-path", str(model_dir), "--device", "cuda", "--kv-memory", "2TiB",
                           "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--kv-memory" in done.stderr


def test_many_streams_at_once(server):
    results = []

    def one(i):
        body = {"text": f"hello {i}", "stream": True, "lora_path": [None, "r8", "r3"][i % 3],
                "sampling_params": {"max_new_tokens": 8, "ignore_eos": True, "temperature": 0}}
        with server.post("/generate", body, stream=True) as reply:
            results.append([line for line in reply.iter_lines(decode_unicode=True) if line][-1])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == ["data: [DONE]"] * 60


def test_two_servers_do_not_disturb_each_other(start, server):
    other: WeftServer = start()
    assert other.post("/generate", {"text": "x", "sampling_params": {"max_new_tokens": 1}}).ok
    assert server.get("/health").status_code == 200
