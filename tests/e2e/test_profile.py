"""`--profile`: where steps spend their time, live and at exit."""

import subprocess

import pytest

from weft_server import DEVICE

cpu_only = pytest.mark.skipif(DEVICE == "cuda", reason="--profile measures and times processors")


@pytest.fixture(scope="module")
def server(start):
    return start("--profile")


def generate(server, prompt: str, tokens: int):
    body = {"text": prompt, "sampling_params": {"max_new_tokens": tokens, "ignore_eos": True}}
    assert server.post("/generate", body).status_code == 200


def profile(server) -> dict:
    reply = server.get("/profile", headers={"Accept": "application/json"})
    assert reply.status_code == 200
    return reply.json()


@cpu_only
def test_profile_counts_what_a_request_computed(server):
    before = profile(server)["steps"]
    generate(server, "the quick brown fox", 9)
    after = profile(server)["steps"]
    assert after["prefill"]["count"] - before["prefill"]["count"] == 1
    # The first of nine tokens comes with the prompt's step.
    assert after["decode"]["count"] - before["decode"]["count"] == 8
    assert after["decode"]["rows"] - before["decode"]["rows"] == 8
    parts = after["decode"]["parts"]
    assert parts["qkv"]["bytes"]["weights"] > 0
    assert parts["attention"]["bytes"]["kv"] > 0
    assert all(0 < parts[name]["seconds"] < after["decode"]["seconds"]
               for name in ("qkv", "attention", "gate-up", "down", "logits", "sample", "plan"))


@cpu_only
def test_profile_is_a_table_for_people(server):
    generate(server, "the", 2)
    reply = server.get("/profile")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert "decode steps: " in reply.text
    assert all(part in reply.text for part in ("attention", "gate-up", "idle"))


def test_without_the_flag_it_says_how(start):
    reply = start().get("/profile")
    assert reply.status_code == 404
    assert "--profile" in reply.text


@cpu_only
def test_the_table_is_printed_at_exit(start):
    server = start("--profile")
    generate(server, "the", 4)
    assert server.stop() == 0
    assert "decode steps: 3, 1.0 rows" in server.log.read_text()


@pytest.mark.skipif(DEVICE != "cuda", reason="refused on GPUs alone")
def test_profile_on_a_gpu_is_a_clear_error(binary, model_dir):
    done = subprocess.run([binary, "serve", "--model-path", str(model_dir), "--device", "cuda", "--profile",
                           "--kv-memory", "1GiB", "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--profile" in done.stderr and "--trace" in done.stderr
