"""API and admin keys."""

import openai
import pytest


@pytest.fixture(scope="module")
def server(start):
    return start("--api-key", "user-key", "--admin-api-key", "admin-key")


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_user_routes_need_a_key(server):
    body = {"text": "hello", "sampling_params": {"max_new_tokens": 1}}
    assert server.post("/generate", body).status_code == 401
    assert server.post("/generate", body, headers=bearer("wrong")).status_code == 401
    assert server.post("/generate", body, headers=bearer("user-key")).status_code == 200
    wrong = openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()
    right = openai.OpenAI(base_url=server.url + "/v1", api_key="user-key", max_retries=0)
    assert [card.id for card in right.models.list()] == ["tiny"]


@pytest.mark.parametrize("path", ["/flush_cache", "/abort_request", "/load_lora_adapter",
                                  "/unload_lora_adapter", "/v1/load_lora_adapter",
                                  "/v1/unload_lora_adapter"])
def test_admin_routes_need_the_admin_key(server, path):
    assert server.post(path, {}).status_code == 401
    assert server.post(path, {}, headers=bearer("user-key")).status_code == 401
    assert server.post(path, {}, headers=bearer("admin-key")).status_code != 401


@pytest.mark.parametrize("path", ["/health", "/metrics", "/ping"])
def test_probes_need_none(server, path):
    assert server.get(path).status_code == 200
