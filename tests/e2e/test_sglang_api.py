"""SGLang's native forms."""

import json
import threading

import pytest

from conftest import ADAPTERS, DATA, MODEL, adapter_path, expected, float32
from weft_server import wait_for

GREEDY = {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True}
# Work that a GPU too has for a while: 512 sequences, of which 64 at a time are in a step.
LONG = {"text": ["hello"] * 4, "sampling_params": GREEDY | {"max_new_tokens": 200, "n": 128}}
LEAD = 0.05  # Greedy choices nearer than this to the next best are not compared.


def frames(response):
    """The server-sent events of a streamed reply; [DONE] must be the last."""
    lines = [line for line in response.iter_lines(decode_unicode=True) if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def generate(server, **body):
    reply = server.post("/generate", {"sampling_params": GREEDY} | body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def stream(server, **body):
    body = {"sampling_params": GREEDY, "stream": True} | body
    with server.post("/generate", body, stream=True) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        return frames(reply)


def test_generate(server):
    reply = generate(server, text="hello", rid="mine")
    meta = reply["meta_info"]
    assert meta["id"] == "mine"
    assert meta["finish_reason"] == {"type": "length", "length": 8}
    assert meta["completion_tokens"] == len(reply["output_ids"]) == 8
    assert meta["e2e_latency"] > 0


def test_stream_is_cumulative(server):
    whole = generate(server, text="hello")
    seen = stream(server, text="hello")
    for before, after in zip(seen, seen[1:]):
        assert after["text"].startswith(before["text"])
    assert seen[-1]["text"] == whole["text"]
    assert seen[-1]["output_ids"] == whole["output_ids"]
    assert [frame["meta_info"]["finish_reason"] for frame in seen[:-1]] == [None] * (len(seen) - 1)


def test_batch_of_adapters_equals_one_by_one(server):
    names = [None, *ADAPTERS]
    together = generate(server, text=["hello"] * len(names), lora_path=names)
    for name, reply in zip(names, together):
        alone = generate(server, text="hello", lora_path=name)
        assert reply["output_ids"] == alone["output_ids"], name
    streamed = stream(server, text=["hello"] * len(names), lora_path=names)
    assert {frame["index"] for frame in streamed} == set(range(len(names)))


@float32
@pytest.mark.parametrize("folder, adapter",
                         [(MODEL, None)] + [(DATA / "adapters" / a, a) for a in ADAPTERS])
def test_greedy_tokens_equal_the_references(server, folder, adapter):
    for entry in expected(folder):
        if entry["greedy_lead"] < LEAD:
            continue
        reply = generate(server, input_ids=entry["ids"], lora_path=adapter,
                         sampling_params=GREEDY | {"max_new_tokens": len(entry["greedy"])})
        assert reply["output_ids"] == entry["greedy"]


def test_logprobs(server):
    reply = generate(server, text="hello", return_logprob=True, logprob_start_len=0,
                     top_logprobs_num=2, return_text_in_logprobs=True)
    meta = reply["meta_info"]
    assert len(meta["input_token_logprobs"]) == meta["prompt_tokens"]
    assert meta["input_token_logprobs"][0][0] is None
    assert [entry[1] for entry in meta["output_token_logprobs"]] == reply["output_ids"]
    assert all(len(top) == 2 for top in meta["output_top_logprobs"])
    assert meta["output_top_logprobs"][0][0][1] == reply["output_ids"][0]


def test_n(server):
    replies = generate(server, text="hello", sampling_params=GREEDY | {"n": 3})
    assert len(replies) == 3
    assert len({reply["meta_info"]["id"] for reply in replies}) == 3


def test_stop_string_counts_tokens_up_to_its_end(server):
    whole = generate(server, text="hello", sampling_params=GREEDY | {"max_new_tokens": 24})
    stop = whole["text"][6:8]
    reply = generate(server, text="hello",
                     sampling_params=GREEDY | {"max_new_tokens": 24, "stop": [stop]})
    assert reply["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert reply["text"] == whole["text"][:whole["text"].index(stop)]
    assert reply["output_ids"] == whole["output_ids"][:len(reply["output_ids"])]
    assert len(reply["output_ids"]) < 24


def test_stop_token(server):
    whole = generate(server, text="hello", return_logprob=True)
    stop = whole["output_ids"][2]
    reply = generate(server, text="hello", return_logprob=True,
                     sampling_params=GREEDY | {"stop_token_ids": [stop]})
    meta = reply["meta_info"]
    assert meta["finish_reason"] == {"type": "stop", "matched": stop}
    tokens = meta["completion_tokens"]
    assert reply["output_ids"] == whole["output_ids"][:tokens]
    assert meta["output_token_logprobs"] == whole["meta_info"]["output_token_logprobs"][:tokens]


def test_prefix_is_found_again(server):
    prompt = "a prompt that is long enough to fill some pages of the cache " * 2
    generate(server, text=prompt)
    assert generate(server, text=prompt)["meta_info"]["cached_tokens"] > 0
    assert server.post("/flush_cache").status_code == 200
    assert generate(server, text=prompt)["meta_info"]["cached_tokens"] == 0


def test_abort_by_rid(server):
    replies = []
    rids = [f"to-abort-{i}" for i in range(len(LONG["text"]))]
    thread = threading.Thread(target=lambda: replies.append(generate(server, rid=rids, **LONG)))
    thread.start()
    wait_for(lambda: server.metric("vllm:num_requests_running") > 0, what="the request's start")
    for rid in rids:
        assert server.post("/abort_request", {"rid": rid}).status_code == 200
    thread.join(timeout=30)
    assert "abort" in {reply["meta_info"]["finish_reason"]["type"] for reply in replies[0]}


def test_hang_up_ends_the_request(server):
    aborted = server.metric("weft:requests_total", finish_reason="abort")
    with server.post("/generate", LONG | {"stream": True}, stream=True) as reply:
        next(reply.iter_lines())
    # The gauge alone may be of a time before the request began to run.
    wait_for(lambda: server.metric("weft:requests_total", finish_reason="abort") > aborted, what="the request's abort")
    wait_for(lambda: server.metric("vllm:num_requests_running") == 0, what="an idle engine")


def test_load_and_unload(server):
    path = adapter_path("q-v-r16")
    reply = server.post("/load_lora_adapter", {"lora_name": "extra", "lora_path": path}).json()
    assert reply["success"], reply
    assert reply["loaded_adapters"]["extra"] == path
    generate(server, text="hello", lora_path="extra")
    again = server.post("/load_lora_adapter", {"lora_name": "extra", "lora_path": path})
    assert again.status_code == 400
    assert not again.json()["success"]
    reply = server.post("/unload_lora_adapter", {"lora_name": "extra"}).json()
    assert reply["success"] and "extra" not in reply["loaded_adapters"]
    reply = server.post("/generate", {"text": "hello", "lora_path": "extra"})
    assert reply.status_code == 400
    assert "extra" in reply.json()["error"]["message"]


def test_info_and_health(server):
    assert server.get("/health").status_code == 200
    assert server.get("/health_generate").status_code == 200
    assert server.get("/get_model_info").json()["is_generation"] is True
    assert server.get("/model_info").json() == server.get("/get_model_info").json()
    info = server.get("/get_server_info").json()
    assert info["version"]
    assert info["internal_states"]
    assert {a["lora_name"] for a in info["lora_adapters"]} >= set(ADAPTERS)
