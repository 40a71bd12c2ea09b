"""With --deterministic an answer has the same bits whatever the policy, alone or among others, cold or warm.

On a GPU that leaves out the kernels that only steps without it use: test_devices_agree.py has those."""

import concurrent.futures
import itertools

import pytest

from conftest import ADAPTER_FLAGS, ADAPTERS, MODEL, expected

REQUESTS = 24

TURNS = "turns"
POLICIES = {
    "blocking": ["--lora-load-policy", "blocking"],
    "overlapped": ["--lora-load-policy", "overlapped"],
    "two places": ["--lora-load-policy", "overlapped", "--max-loras-per-batch", "2"],
    TURNS: ["--lora-load-policy", "overlapped", "--max-loras-per-batch", "1", "--lora-turn-patience", "0.001"],
    "short chunks": ["--lora-load-policy", "overlapped", "--chunked-prefill-size", "16", "--disable-radix-cache"],
}


def requests_to_send():
    """Prompts, adapters and samplings, none like another."""
    prompts = itertools.cycle(entry["ids"] for entry in expected(MODEL))
    for i, prompt in zip(range(REQUESTS), prompts):
        yield {"input_ids": prompt + [5 + i], "lora_path": (None, *ADAPTERS)[i % (1 + len(ADAPTERS))],
               "return_logprob": True,
               "sampling_params": {"temperature": 0.0 if i % 3 == 0 else 0.9, "seed": i, "max_new_tokens": 8 + i,
                                   "ignore_eos": True}}


def ask(server, request):
    """The tokens of the answer with their log-probabilities."""
    reply = server.post("/generate", request)
    assert reply.status_code == 200, reply.text
    return [(entry[0], entry[1]) for entry in reply.json()["meta_info"]["output_token_logprobs"]]


def ask_all_at_once(server):
    with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda request: ask(server, request), requests_to_send()))


@pytest.fixture(scope="module")
def alone(start):
    """Each request on a server that has nothing else to do."""
    server = start("--deterministic", "--lora-paths", *ADAPTER_FLAGS)
    answers = [ask(server, request) for request in requests_to_send()]
    assert len({tuple(answer) for answer in answers}) == REQUESTS  # They could differ.
    return answers


@pytest.mark.parametrize("policy", POLICIES)
def test_answers_do_not_depend_on_policy_batch_or_caches(start, alone, policy):
    server = start("--deterministic", *POLICIES[policy], "--lora-paths", *ADAPTER_FLAGS)
    try:
        for run in ("cold", "warm"):
            for i, (answer, right) in enumerate(zip(ask_all_at_once(server), alone, strict=True)):
                assert answer == right, (run, i)
        if policy == TURNS:
            assert server.metric("weft:pauses_total") > 0
    finally:
        server.stop()
