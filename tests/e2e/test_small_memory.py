"""A pool or a limit that holds little: what nobody asked for is cut, what somebody did is refused with its reason."""

import re
import urllib.request

import openai
import pytest

from conftest import adapter_path, client_of
from weft_server import DEVICE

pytestmark = pytest.mark.skipif(DEVICE == "cuda", reason="one page of a GPU's pool holds more than this model's context")
ADAPTER = ["--lora-paths", f"r8={adapter_path('r8')}"]


@pytest.fixture(scope="module")
def small(start):
    return start("--kv-memory", "120KiB", *ADAPTER)  # The context has 256 tokens.


@pytest.fixture(scope="module")
def pool_tokens(small):
    return int(re.search(r"pool: .*\((\d+) tokens of KV", small.log.read_text())[1])


@pytest.fixture(scope="module")
def small_client(small):
    return client_of(small)


def fill(client, model):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}],
                                            extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    return answer.usage.total_tokens


def test_a_chat_that_names_no_number_gets_what_the_pool_holds(small_client, pool_tokens):
    assert pool_tokens < 256
    assert pool_tokens - 2 <= fill(small_client, small_client.models.list().data[0].id) < pool_tokens
    beside_adapter = fill(small_client, "r8")
    assert beside_adapter < pool_tokens - 2
    assert fill(small_client, "r8") == beside_adapter  # The first time its size was not known yet.


def test_a_number_that_does_not_fit_is_refused(small_client):
    with pytest.raises(openai.BadRequestError, match="the pool has .*; ask for fewer tokens"):
        small_client.completions.create(model="r8", prompt="hi", max_tokens=200)


def test_idle_adapters_do_not_count_as_running(small, small_client):
    small_client.completions.create(model="r8", prompt="hi", max_tokens=2)
    with urllib.request.urlopen(small.url + "/metrics") as reply:
        assert 'running_lora_adapters="",waiting_lora_adapters=""' in reply.read().decode()


def test_adapter_memory_below_a_page_holds_no_adapter(start):
    client = client_of(start("--lora-memory", "1KiB", *ADAPTER))
    with pytest.raises(openai.BadRequestError, match="start the server with more --lora-memory"):
        client.completions.create(model="r8", prompt="hi", max_tokens=2)
