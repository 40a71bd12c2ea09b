"""vLLM's administration and tokenizer routes."""

from conftest import adapter_path


def load(server, name, path, **more):
    return server.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path} | more)


def test_load_replace_unload(server, client):
    reply = load(server, "swap", adapter_path("r1"))
    assert reply.status_code == 200, reply.text
    assert reply.text == "Success: LoRA adapter 'swap' added successfully."

    def answer():
        return client.completions.create(model="swap", prompt="hello", max_tokens=12, temperature=0,
                                         extra_body={"ignore_eos": True}).choices[0].text

    first = answer()
    taken = load(server, "swap", adapter_path("r8"))
    assert taken.status_code == 400
    assert taken.json()["error"]["type"] == "InvalidUserInput"
    assert load(server, "swap", adapter_path("r8"), load_inplace=True).status_code == 200
    assert answer() == client.completions.create(
        model="r8", prompt="hello", max_tokens=12, temperature=0,
        extra_body={"ignore_eos": True}).choices[0].text
    assert answer() != first
    reply = server.post("/v1/unload_lora_adapter", {"lora_name": "swap"})
    assert reply.status_code == 200
    assert reply.text == "Success: LoRA adapter 'swap' removed successfully."
    assert server.post("/v1/unload_lora_adapter", {"lora_name": "swap"}).status_code == 404


def test_missing_fields_and_paths(server):
    reply = server.post("/v1/load_lora_adapter", {"lora_name": "x"})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "InvalidUserInput"
    assert load(server, "x", "/nowhere/at/all").status_code == 404
    assert server.post("/v1/unload_lora_adapter", {}).status_code == 400


def test_tokenize_and_back(server):
    reply = server.post("/tokenize", {"prompt": "héllo wörld"}).json()
    assert reply["count"] == len(reply["tokens"])
    assert reply["max_model_len"] == 256
    assert server.post("/detokenize", {"tokens": reply["tokens"]}).json()["prompt"] == "héllo wörld"
    chat = server.post("/tokenize", {"messages": [{"role": "user", "content": "hello"}]}).json()
    text = server.post("/detokenize", {"tokens": chat["tokens"]}).json()["prompt"]
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_version_and_ping(server):
    assert server.get("/version").json()["version"]
    assert server.get("/ping").status_code == 200
    assert server.post("/ping").status_code == 200


def test_metrics_have_the_gateways_names(server, client):
    client.completions.create(model="r8", prompt="hello", max_tokens=2)
    text = server.get("/metrics").text
    for name in ("vllm:num_requests_waiting", "vllm:num_requests_running",
                 "vllm:kv_cache_usage_perc", "vllm:cache_config_info", "vllm:lora_requests_info",
                 "weft:ttft_seconds_bucket", "weft:itl_seconds_bucket", "weft:e2e_seconds_bucket",
                 "weft:prompt_tokens_total", "weft:generated_tokens_total",
                 "weft:adapter_loads_total", "weft:pages", "weft:copy_link_utilisation"):
        assert name in text, name
    current = [line for line in text.splitlines() if line.startswith("vllm:lora_requests_info{")]
    assert len(current) == 1
    assert server.metric("weft:generated_tokens_total") > 0
